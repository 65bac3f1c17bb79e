"""The rows of PostgreSQL and Redis: Inkstone against pgbench, which runs the statements that Inkstone
itself sends for the same request, prepared, with as many clients, on the same two cores in the same run;
against a minimal axum + sqlx server; with Redis between; and on one, two and three nodes.

What is sent is read from the server's own log of one request, so that it cannot be another. Of a
transaction pgbench gets the statements and, for a create, `begin` and `commit`: no lock, no time limits,
no savepoints. Nothing is pinned here, since the database is most of the work: requests a second are those
of both cores, load generator included on both sides. The column per CPU-second counts everything but
wrk: Inkstone and PostgreSQL on one side, pgbench and PostgreSQL on the other.
"""
import http.client, json, os, pathlib, re, subprocess, time, urllib.parse

from measure import CONNECTIONS, ROOT, TICKS, Server, free_port, get, load, median, sh

ENTRY = re.compile(r"^\d{4}-\d\d-\d\d [^\n]*? (LOG|DETAIL|ERROR|STATEMENT|FATAL|WARNING|HINT|CONTEXT):  ", re.M)
# What belongs to the transaction and not to the work.
FRAME = re.compile(r"^(begin|set local|rollback|commit|savepoint|release|select pg_advisory)", re.I)


# How Inkstone has its statements planned (crates/store, db/postgres/options.rs): pgbench gets the same plans.
PLANS = "-c plan_cache_mode=force_generic_plan -c jit=off -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off"

# What the server asks by itself now and then.
BESIDE = re.compile(r"^select change_seq, |\boutbox_cursors\b|\bleases\b|\bclock_timestamp\b", re.I)


class Services:
    """PostgreSQL and Redis, started by the tests' own kit, gone when this is closed."""

    def __init__(self):
        command = [ROOT / "target/debug/examples/services", "--fsync", "postgres", "redis"]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the services did not start")
        said = json.loads(line)
        self.url, self.redis = said["postgres"]["url"], said["redis"]["url"]
        self.home, self.port = pathlib.Path(said["postgres"]["home"]), said["postgres"]["port"]
        self.pids = [said["postgres"]["pid"], said["redis"]["pid"]]
        self.database = urllib.parse.urlparse(self.url).path.strip("/")

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)

    def cpu_seconds(self, which=0):
        """Of PostgreSQL (0) or Redis (1), with their children, the dead ones too."""
        parent = self.pids[which]
        ticks = 0
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(stat.parent.name) == parent:
                ticks += sum(map(int, fields[11:15]))
            elif int(fields[1]) == parent:
                ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS

    def sql(self, text):
        tool = ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", self.url, "-c", text]
        return subprocess.run(tool, check=True, capture_output=True, text=True).stdout.strip()

    def log(self):
        return "".join(path.read_text(errors="replace") for path in sorted(self.home.glob("log-*")))

    def sent_by(self, request):
        """The statements of one request, in order: their text and the values of their parameters."""
        self.sql("alter system set log_statement = 'all'")
        self.sql("select pg_reload_conf()")
        time.sleep(0.3)
        start = len(self.log())
        request()
        # The answer may come before the last line.
        time.sleep(0.3)
        text = self.log()[start:]
        self.sql("alter system reset log_statement")
        self.sql("select pg_reload_conf()")
        pieces = ENTRY.split(text)[1:]
        statements = []
        for kind, body in zip(pieces[::2], pieces[1::2]):
            body = body.rstrip("\n").replace("\n\t", "\n")
            if kind == "LOG" and (found := re.match(r"(?:execute [^:]*|statement): (.*)", body, re.S)):
                # psql's own, that turns the log on and off, begins with a capital nowhere: it is known by its words.
                if "pg_reload_conf" not in found[1] and "alter system" not in found[1]:
                    statements.append([found[1], []])
            elif kind == "DETAIL" and body.lower().startswith("parameters: ") and statements:
                values = re.findall(r"\$\d+ = (NULL|'(?:[^']|'')*')", body, re.S)
                statements[-1][1] = [None if value == "NULL" else value[1:-1].replace("''", "'") for value in values]
        return [(text, values) for text, values in statements if not FRAME.match(text) and not BESIDE.search(text)]


def script(statements, variables, made=None):
    """A pgbench script of these statements. `variables` says what stands for which value; `made` is the
    value that the first `returning id` gives. Long texts are handed over as variables, as a program would."""
    lines, long = [], {}

    def operand(value):
        if value is None:
            return "null"
        if made is not None and value == made:
            return ":made_id"
        for known, variable in variables:
            if value == known:
                return variable
        if len(value) > 200:
            return ":" + long.setdefault(value, f"text{len(long)}")
        for known, variable in variables:
            if len(known) > 8 and known in value:
                before, after = value.split(known, 1)
                return f"({quoted(before)} || {variable} || {quoted(after)})"
        if made is not None and made in value and not value.isdigit():
            before, after = value.split(made, 1)
            return f"({quoted(before)} || cast(:made_id as bigint) || {quoted(after)})"
        return quoted(value)

    for text, values in statements:
        text = re.sub(r"\$(\d+)", lambda found: operand(values[int(found[1]) - 1]), text)
        text = " ".join(text.split())
        if made is not None and text.startswith("insert into posts ") and "returning id" in text:
            lines.append(f"{text} \\gset made_")
        else:
            lines.append(f"{text};")
    return lines, {name: value for value, name in long.items()}


def quoted(text):
    return "'" + text.replace("'", "''") + "'"


def pgbench(services, path, seconds, long):
    """One burst: transactions a second, and per CPU-second of pgbench and PostgreSQL."""
    command = ["pgbench", "-n", "-M", "prepared", "-c", str(CONNECTIONS), "-j", "1", "-T", str(seconds), "-f", str(path)]
    for name, value in long.items():
        command += ["-D", f"{name}={value}"]
    command.append(services.url)
    before = services.cpu_seconds()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PGOPTIONS": PLANS})
    text, complaints = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    done = re.search(r"number of transactions actually processed: (\d+)", text)
    failed = re.search(r"number of failed transactions: (\d+)", text)
    if status or not done or (failed and int(failed[1])):
        raise SystemExit(f"pgbench {path} failed:\n{text}\n{complaints[-3000:]}")
    cpu = services.cpu_seconds() - before + usage.ru_utime + usage.ru_stime
    latency = re.search(r"latency average = ([\d.]+) ms", text)
    return {"rps": float(re.search(r"tps = ([\d.]+)", text)[1]), "per_cpu": int(done[1]) / cpu, "p50_ms": float(latency[1])}


def burst(services, servers, path, seconds, lua=None):
    """One burst of wrk at these servers, from wherever the machine has room; per CPU-second of all of them and the database."""
    def cpu():
        return services.cpu_seconds(0) + services.cpu_seconds(1)
    before = cpu()
    row = load(servers, path, seconds, lua, pinned=False)
    ours = row["requests"] / row["per_cpu"] if row["per_cpu"] else 0
    row["per_cpu"] = row["requests"] / (ours + cpu() - before)
    return row


def at_half(reference, home, server, row, requests, args):
    """Half of what a row reached, sent at that rate whatever becomes of it: what those wait who don't all ask at once."""
    rate = round(row["rps"] / 2)
    whole = home / "fixed-rate"
    whole.write_bytes(b"".join(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n\0".encode() for path in requests))
    address = server.url.removeprefix("http://")
    command = [reference / "open_loop", address, str(rate), str(args.seconds), "256", whole]
    found = median([json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(args.rounds)])
    missed = sum(found[key] for key in ("refused", "late", "other", "unsent"))
    return {"offered": rate, "per_second": found["per_second"], "p50_ms": found["p50_ms"], "p99_ms": found["p99_ms"], "missed": round(missed)}


def rows(inkstone, reference, home, posts, args):
    """All rows by their names, and further figures."""
    services = Services()
    try:
        return measured(services, inkstone, reference, home, posts, args)
    finally:
        services.close()


def measured(services, inkstone, reference, home, posts, args):
    database = f"INKSTONE__STORE__URL={services.url}"
    environment = os.environ | {"INKSTONE__STORE__URL": services.url}
    started = time.monotonic()
    sh(inkstone, "import", "markdown", posts, env=environment, stdout=subprocess.DEVNULL)
    figures = {"postgres_import_seconds": round(time.monotonic() - started, 1)}
    sh(inkstone, "user", "add", "bench", "--role", "author", "--email", "bench@example.org", "--password-stdin",
       env=environment, input=b"the quick measure of all things\n", stdout=subprocess.DEVNULL)
    token = json.loads(sh(inkstone, "token", "create", "--user", "bench", "--name", "bench", "--scopes", "read posts:write tags:write",
                          "--json", env=environment, capture_output=True).stdout)["token"]
    services.sql("vacuum analyze")

    def serve(name, *env):
        port = free_port()
        command = ["env", database, "INKSTONE__HTTP__RATE_LIMITS__WRITES__REQUESTS=1000000000", *env]
        return Server(name, [*command, inkstone, "serve", "--listen", f"127.0.0.1:{port}", "--operations-listen", ""], f"http://127.0.0.1:{port}", "/livez", pinned=False)

    uncached = serve("postgres-uncached", "INKSTONE__CACHE__MAX_BYTES=0")
    oldest, newest = map(int, services.sql("select min(id), max(id) from posts").split("|"))
    middle = (oldest + newest) // 2
    one, listed = f"/api/v2/posts/{middle}", "/api/v2/posts?limit=10"

    # What one request of each kind sends, twice: the first prepares statements and notes the use of the token.
    title, unique = "A measured post", "7777777777777"
    body = {"content": {"markdown": "Words that last. " * 180}, "status": "published", "tags": ["Topic 1", "Topic 2", "Topic 3"]}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    made = {}

    def create(mark):
        answer = get(uncached.url + "/api/v2/posts", headers, "POST", json.dumps({"title": f"{title} {mark}", **body}).encode())[2]
        made.update(json.loads(answer))
    get(uncached.url + one), get(uncached.url + listed), create("first")
    point = services.sent_by(lambda: get(uncached.url + one))
    page = services.sent_by(lambda: get(uncached.url + listed))
    write = services.sent_by(lambda: create(unique))
    identity = [statement for statement in write if "personal_tokens" in statement[0]]
    write = [statement for statement in write if "personal_tokens" not in statement[0]]
    figures |= {"statements_point": len(point), "statements_list": len(page), "statements_create": len(write) + len(identity)}

    def kept(name, lines):
        path = home / f"{name}.sql"
        path.write_text("\n".join(lines) + "\n")
        return path
    lines, _ = script(point, [(str(middle), ":id")])
    point_script = kept("point", [f"\\set id random({oldest}, {newest})", *lines])
    lines, _ = script(page, [])
    page_script = kept("list", lines)
    event = next(values[0] for text, values in write if text.startswith("insert into outbox"))
    mark = "cast(:mark as bigint)"
    lines, long = script(write, [(unique, mark), (event, f"('bench-' || {mark})")], str(made["id"]))
    asked, _ = script(identity, [])
    create_script = kept("create", ["\\set mark random(1, 9000000000000000000)", *asked, "begin;", *lines, "commit;"])

    lua = home / "pg-random.lua"
    lua.write_text(f'math.randomseed(7)\nrequest = function() return wrk.format("GET", "/api/v2/posts/" .. math.random({oldest}, {newest})) end\n')
    creating = home / "pg-create.lua"
    text = json.dumps({"title": f"{title} MARK", **body})
    creating.write_text(f'local body = [==[{text}]==]\nlocal number = 0\nlocal self\ninit = function() self = tostring({{}}):gsub("[^%w]", "") end\nrequest = function()\n  number = number + 1\n'
                        f'  return wrk.format("POST", "/api/v2/posts", {{["Content-Type"]="application/json", ["Authorization"]="Bearer {token}"}}, (body:gsub("MARK", self .. number .. "x" .. os.time(), 1)))\nend\n')

    port = free_port()
    sqlx = Server("minimal-sqlx", [reference / "minimal_sqlx", f"127.0.0.1:{port}", services.url], f"http://127.0.0.1:{port}", "/posts?limit=1", pinned=False)
    plain = home / "sqlx-random.lua"
    plain.write_text(f'math.randomseed(7)\nrequest = function() return wrk.format("GET", "/posts/" .. math.random({oldest}, {newest})) end\n')

    results = {}

    def against_pgbench(name, path, script_path, lua=None, long={}):
        ours, theirs = [], []
        for _ in range(args.rounds):
            ours.append(burst(services, [uncached], path, args.seconds, lua))
            theirs.append(pgbench(services, script_path, args.seconds, long))
        row, limit = median(ours), median(theirs)
        row |= {"limit_rps": limit["rps"], "limit_per_cpu": limit["per_cpu"], "ratio": row["rps"] / limit["rps"],
                "ratio_per_cpu": row["per_cpu"] / limit["per_cpu"], "against": "pgbench, same SQL"}
        results[name] = row

    def against_sqlx(name, path, other_path, lua=None, other_lua=None):
        ours, theirs = [], []
        for _ in range(args.rounds):
            ours.append(burst(services, [uncached], path, args.seconds, lua))
            theirs.append(burst(services, [sqlx], other_path, args.seconds, other_lua))
        row, limit = median(ours), median(theirs)
        row |= {"limit_rps": limit["rps"], "limit_per_cpu": limit["per_cpu"], "ratio": row["per_cpu"] / limit["per_cpu"],
                "ratio_per_cpu": row["per_cpu"] / limit["per_cpu"], "against": "minimal axum + sqlx"}
        results[name] = row

    against_pgbench("PostgreSQL: post, uncached", "/", point_script, lua)
    against_pgbench("PostgreSQL: 10 recent, uncached", listed, page_script)
    some = [f"/api/v2/posts/{oldest + number * 37 % args.posts}" for number in range(1000)]
    figures["at_half"] = {name: at_half(reference, home, uncached, results[f"PostgreSQL: {name}, uncached"], paths, args)
                          for name, paths in (("post", some), ("10 recent", [listed]))}
    against_pgbench("PostgreSQL: create", "/", create_script, creating, long)
    against_sqlx("PostgreSQL: post, uncached, per CPU", "/", "/", lua, plain)
    against_sqlx("PostgreSQL: 10 recent, uncached, per CPU", listed, "/posts?limit=10")
    sqlx.stop()

    shared = f"INKSTONE__CACHE__SHARED__URL={services.redis}"
    cached = serve("postgres-cached", shared)
    get(cached.url + one), get(cached.url + one)
    results["PostgreSQL: post, cached"] = median([burst(services, [cached], one, args.seconds) for _ in range(args.rounds)])
    # Another node that keeps next to nothing itself: each read finds what the first one left in Redis.
    connection = http.client.HTTPConnection(*cached.url.removeprefix("http://").split(":"))
    for number in range(oldest, newest + 1):
        connection.request("GET", f"/api/v2/posts/{number}")
        connection.getresponse().read()
    far = serve("postgres-redis", shared, "INKSTONE__CACHE__MAX_BYTES=64 KiB")
    row = median([burst(services, [far], "/", args.seconds, lua) for _ in range(args.rounds)])
    plain_row = results["PostgreSQL: post, uncached"]
    row |= {"limit_rps": plain_row["rps"], "limit_per_cpu": plain_row["per_cpu"], "ratio": row["per_cpu"] / plain_row["per_cpu"], "against": "the same from PostgreSQL"}
    results["Redis: post, out of the shared cache"] = row
    cached.stop(), far.stop(), uncached.stop()

    nodes = [serve(f"node-{number}", shared) for number in range(3)]
    figures["nodes"] = {}
    for count in (1, 2, 3):
        some = nodes[:count]
        figures["nodes"][count] = {
            "cached_rps": round(median([burst(services, some, one, args.seconds) for _ in range(args.rounds)])["rps"]),
            "random_rps": round(median([burst(services, some, "/", args.seconds, lua) for _ in range(args.rounds)])["rps"]),
            "create_rps": round(median([burst(services, some, "/", args.seconds, creating) for _ in range(args.rounds)])["rps"]),
        }
    for node in nodes:
        node.stop()
    return results, figures
