# What the commands of this directory share. Sourced, never run.
# shellcheck shell=bash
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PROGRAM=$(basename "$0")
if [ "$(id -u)" = 0 ]; then default_dir=/var/lib/inkstone-cluster; else default_dir=$HOME/inkstone-cluster; fi

die() {
    echo "$PROGRAM: $*" >&2
    exit 1
}

# Everything that the cluster has is in here. Servers work elsewhere, so they are told from the root on.
DIR=$(realpath -m -- "${CLUSTER_DIR:-$default_dir}")
# Where the balancer listens. All other ports are counted from it: see `port`.
PORT=${CLUSTER_PORT:-8080}
# A cluster that is there keeps the port that it was made with.
if [ -e "$DIR/port" ]; then PORT=$(<"$DIR/port"); fi
# Up to this one there are 39 more after it.
LAST_PORT=65496
[[ $PORT =~ ^[1-9][0-9]{0,4}$ ]] && [ "$PORT" -le $LAST_PORT ] || die "CLUSTER_PORT is a number from 1 to $LAST_PORT, not $PORT"
# How many seconds anything may take to start or to stop: longer than server.drain.notice and server.drain.deadline.
PATIENCE=${CLUSTER_PATIENCE:-60}
[[ $PATIENCE =~ ^[1-9][0-9]{0,4}$ ]] || die "CLUSTER_PATIENCE is a number of seconds, not $PATIENCE"
# How many seconds a server that runs may take to say how it is; one that hangs says nothing.
ANSWER=3

PATH=$(printf '%s:' /usr/lib/postgresql/*/bin | sed 's/:$//'):$PATH:/usr/sbin:/sbin
export PATH

need() {
    command -v "$1" >/dev/null || die "$1 is missing: apt-get install --no-install-recommends $2"
}

port() { # balancer | statistics | postgres | redis | node N | operations N
    case $1 in
        balancer) echo "$PORT" ;;
        statistics) echo $((PORT + 1)) ;;
        postgres) echo $((PORT + 2)) ;;
        redis) echo $((PORT + 3)) ;;
        node) echo $((PORT + 10 + $2)) ;;
        operations) echo $((PORT + 30 + $2)) ;;
    esac
}

# The numbers of the nodes that there are, in order.
nodes() {
    local place
    for place in "$DIR"/nodes/*; do
        [ ! -d "$place" ] || basename "$place"
    done | sort -n
}

# Servers do not run as root: as nobody, where root starts them. What stands before their command. What root reads, writes
# or believes (logs, secrets, numbers of processes) lies where nobody cannot change it.
as_service=()
if [ "$(id -u)" = 0 ]; then as_service=(setpriv --reuid=nobody --regid=nogroup --clear-groups --); fi

# own DIRECTORY…: makes directories that belong to the servers' user, and that only it can look into.
own() {
    install -d -m 700 "$@"
    [ "$(id -u)" != 0 ] || chown nobody:nogroup "$@"
}

# keep FILE: writes what it is given on stdin; the servers' user can read it, and only its owner change it.
keep() {
    rm -f "$1"
    (umask 077; cat >"$1")
    [ "$(id -u)" != 0 ] || { chown root:nogroup "$1"; chmod 640 "$1"; }
}

secret() {
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

# launch NAME COMMAND…: starts a server that outlives this shell. Its log is what it says on stderr; on
# stdout a node says how the first administrator comes in, which is for nobody's log.
launch() {
    local name=$1 said=/dev/null
    shift
    [[ $name == node-* ]] || said=$DIR/log/$name.log
    (
        cd "$DIR"
        # Without the terminal, its signals, and the descriptors of whoever called.
        "${as_service[@]}" setsid "$@" 2>>"$DIR/log/$name.log" >>"$said" </dev/null &
        echo "$! $(began $!)" >"$DIR/run/$name.pid"
    )
}

# When a process began, in ticks since the machine did: with its number that means no other, also after the machine started anew.
began() {
    local fields
    # What stands in brackets is its name, which may hold anything.
    { fields=$(<"/proc/$1/stat"); } 2>/dev/null || return 0
    fields=(${fields##*) })
    [ "${fields[0]}" = Z ] || echo "${fields[19]} $(</proc/sys/kernel/random/boot_id)"
}

# The number of a server's process, if it runs.
pid_of() {
    local pid since
    read -r pid since 2>/dev/null <"$DIR/run/$1.pid" || return 0
    [[ $pid =~ ^[1-9][0-9]*$ ]] && [ -n "$since" ] && [ "$(began "$pid")" = "$since" ] && echo "$pid" || true
}

runs() {
    [ -n "$(pid_of "$1")" ]
}

# stop NAME SIGNAL: sends the signal and waits for the end.
stop() {
    tell "$1" "$2"
    ended "$1" $((SECONDS + PATIENCE))
}

# ended NAME WHEN: waits for the end of what was told to stop, and tells it nothing more: a second TERM would mean at once. When
# it has not ended by then (in seconds of this shell) it hangs, and is killed. Nothing acknowledged is lost by that.
ended() {
    until stopped "$1"; do
        if [ $SECONDS -ge "$2" ]; then
            echo "$PROGRAM: $1 does not stop: it is killed" >&2
            tell "$1" KILL
            until_true "$1 is gone" stopped "$1"
            break
        fi
        sleep 0.1
    done
    rm -f "$DIR/run/$1.pid"
}

stopped() {
    ! runs "$1"
}

# tell NAME SIGNAL: sends the signal, if it runs.
tell() {
    local pid
    pid=$(pid_of "$1")
    [ -z "$pid" ] || kill "-$2" "$pid" 2>/dev/null || true
}

# until_true WHAT COMMAND…: asks again and again until the command succeeds.
until_true() {
    local what=$1 end=$((SECONDS + PATIENCE))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || die "waited in vain: $what. See $DIR/log"
        sleep 0.1
    done
}

is_taken() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# readiness N [OPTION…]: what a node says about whether it is ready; it fails where the node says nothing.
readiness() {
    curl -s --max-time $ANSWER "${@:2}" "http://127.0.0.1:$(port operations "$1")/readyz"
}

is_ready() { # N
    runs "node-$1" || die "node $1 has ended: see $DIR/log/node-$1.log"
    readiness "$1" -f -o /dev/null
}

is_serving() { # N
    runs "node-$1" && readiness "$1" -f -o /dev/null
}

# A node that is stopped now comes back: another one is ready, so the database is there. Where none runs, nothing can be lost.
require_somebody_ready() {
    local node running=
    for node in $(nodes); do
        runs "node-$node" || continue
        running=yes
        ! is_serving "$node" || return 0
    done
    [ -z "$running" ] || die "no node is ready, so one that is stopped would not come back: see $HERE/status"
}

# Whether the balancer sends requests to node N.
is_balanced() { # N
    curl -sf --max-time $ANSWER "http://127.0.0.1:$(port statistics)/;csv" | awk -F, -v node="node-$1" \
        '$1 == "inkstone" && $2 == node && $18 ~ /^UP/ { found = 1 } END { exit !found }'
}

# Installs the program that all nodes run.
install_program() {
    local program=${1:-}
    if [ -z "$program" ]; then
        for program in "${INKSTONE:-}" "$HERE"/../../target/{release,debug}/inkstone "$(command -v inkstone || true)"; do
            [ ! -x "$program" ] || break
        done
    fi
    [ -x "$program" ] || die "there is no inkstone: build it (cargo build --release -p inkstone) or name it with INKSTONE="
    program=$(realpath -- "$program")
    [[ $("$program" --version 2>/dev/null) == "inkstone "* ]] || die "$program is no inkstone: it does not say so when asked for its --version"
    # Not over the file that runs: under a new name.
    install -m 755 "$program" "$DIR/bin/inkstone.new"
    mv "$DIR/bin/inkstone.new" "$DIR/bin/inkstone"
}

# The program with the cluster's configuration: the same for each node and for every command.
ink() {
    "${as_service[@]}" env INKSTONE__STORE__URL_FILE="$DIR/secrets/database" \
        INKSTONE__CACHE__SHARED__URL_FILE="$DIR/secrets/cache" \
        "$DIR/bin/inkstone" --config "$DIR/inkstone.toml" --data-dir "$DIR/none" "$@"
}

start_node() { # N
    local listen=127.0.0.1:$(port node "$1") operations=127.0.0.1:$(port operations "$1")
    mkdir -p "$DIR/nodes/$1"
    launch "node-$1" env INKSTONE__STORE__URL_FILE="$DIR/secrets/database" \
        INKSTONE__CACHE__SHARED__URL_FILE="$DIR/secrets/cache" \
        "$DIR/bin/inkstone" --config "$DIR/inkstone.toml" --data-dir "$DIR/none" \
        serve --listen "$listen" --operations-listen "$operations"
}

# The balancer's configuration for the nodes that there are.
configure_balancer() {
    local lines='' node config
    for node in $(nodes); do
        lines+="    server node-$node 127.0.0.1:$(port node "$node") check port $(port operations "$node")"$'\n'
    done
    config=$(<"$HERE/haproxy.cfg")
    config=${config//@BALANCER@/"$(port balancer)"}
    config=${config//@STATISTICS@/"$(port statistics)"}
    config=${config//@DIR@/"$DIR"}
    config=${config//@NODES@/"$lines"}
    keep "$DIR/haproxy.cfg.new" <<<"$config"
    haproxy -c -q -f "$DIR/haproxy.cfg.new" || die "the balancer's configuration is not valid: $DIR/haproxy.cfg.new"
    mv "$DIR/haproxy.cfg.new" "$DIR/haproxy.cfg"
}

# A new process takes the sockets over and reads the configuration; the old one finishes what it has.
reload_balancer() {
    tell haproxy USR2
}

require_running() {
    [ -e "$DIR/port" ] && runs haproxy || die "there is no cluster running in $DIR: start one with $HERE/up"
}
