//! The sections of the configuration: which settings there are, of which type, within which range.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use inkstone_http::server::{Limits, Network};
use inkstone_http::settings::Settings as HttpSettings;
use inkstone_identity::IdentitySettings;
use inkstone_store::Retention;
use inkstone_store::db::{BadAddress, PostgresAddress, ServerAddress};

use super::read::Reader;
use super::units;

mod http;
mod identity;
mod shared_cache;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_mins(1);
pub(super) const HOUR: Duration = Duration::from_hours(1);
pub(super) const DAY: Duration = Duration::from_hours(24);
pub(super) const YEAR: Duration = Duration::from_hours(24 * 366);
/// A connection that may wait for a day is as good as one without a limit.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=DAY;
/// What `store.url` is for the file in the data directory, where it has to be said.
const SQLITE: &str = "sqlite:";
/// How often the changes of other processes may be looked for.
const POLL: RangeInclusive<Duration> = Duration::from_millis(10)..=MINUTE;
pub(super) const KIB: u64 = 1024;
pub(super) const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

/// Everything that the operator decides.
#[derive(Debug, Clone)]
pub struct Config {
    /// Listeners, limits of connections, the end.
    pub server: Server,
    /// The store.
    pub store: Store,
    /// The cache of finished answers.
    pub cache: Cache,
    /// The edge.
    pub http: HttpSettings,
    /// Accounts, keys, tokens.
    pub identity: IdentitySettings,
    /// What happens beside the requests.
    pub worker: Worker,
    /// Logs.
    pub log: Log,
}

/// Listeners, limits of connections, the end.
#[derive(Debug, Clone)]
pub struct Server {
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Where probes and metrics listen, if anywhere.
    pub operations_listen: Option<SocketAddr>,
    /// Threads that answer requests; 0 for one each processor.
    pub threads: usize,
    /// Certificate and key, if HTTPS is spoken here.
    pub tls: Option<Tls>,
    /// What clients may take.
    pub limits: Limits,
    /// How long readiness is denied before the listener closes.
    pub drain_notice: Duration,
}

/// Certificate and key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The chain, PEM.
    pub certificate: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

/// The store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// Where everything is kept, if no other database is named.
    pub data_dir: PathBuf,
    /// A database server's database instead.
    pub url: Option<ServerAddress>,
    /// Replicas of that database, from which what is public may be read.
    pub replicas: Vec<PostgresAddress>,
    /// A replica that is further behind is not read.
    pub max_lag: Duration,
    /// Whether there is a pooler before it that gives each transaction another connection.
    pub pooler: bool,
    /// How long it may take to do what one request asks of it.
    pub timeout: Duration,
    /// How long a connection to it may take to be made.
    pub connect_timeout: Duration,
    /// The longest that a write to it may take once it has begun.
    pub write_timeout: Duration,
    /// Threads that read, or connections; 0 for as many as the processors make sense of.
    pub readers: usize,
    /// Reads that may wait.
    pub read_queue: usize,
    /// Writes that may wait.
    pub write_queue: usize,
    /// Writes that share one flush to disk, at most.
    pub write_group: usize,
    /// MiB of the database that each reader maps into memory.
    pub mmap_mib: u32,
    /// KiB of pages that each connection keeps.
    pub page_cache_kib: u32,
    /// How long to wait for another process that holds the lock.
    pub busy_timeout: Duration,
    /// How long what grows with every write is kept.
    pub retention: Retention,
}

/// The cache of finished answers.
#[derive(Debug, Clone)]
pub struct Cache {
    /// What the answers may weigh.
    pub max_bytes: u64,
    /// The pause between attempts to make a stale answer anew.
    pub retry: Duration,
    /// How long after a change by another node an old answer may be given.
    pub max_lag: Duration,
    /// The one that several processes share, if there is one.
    pub shared: Option<SharedCache>,
}

/// The cache that several processes share.
#[derive(Debug, Clone)]
pub struct SharedCache {
    /// Where it is.
    pub address: inkstone_cache::Address,
    /// How long it may take to answer.
    pub timeout: Duration,
}

/// What happens beside the requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// How often the changes of other processes are looked for.
    pub poll: Duration,
    /// How often what has expired is removed.
    pub housekeeping: Duration,
    /// How long work that one node does for all is left to it when it hangs or dies.
    pub lease: Duration,
}

/// Logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// For whom.
    pub format: LogFormat,
    /// What, as a list of `target=level`.
    pub filter: String,
}

/// For whom the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// People on a terminal, programs otherwise.
    Auto,
    /// People.
    Human,
    /// Programs: one JSON object a line.
    Json,
}

/// Reads every section. Where something is wrong, `reader` knows, and the result is of no use.
pub(super) fn read(reader: &mut Reader) -> Config {
    let server = server(reader);
    let base_url = format!("{}://{}", if server.tls.is_some() { "https" } else { "http" }, server.listen);
    let http = http::read(reader, server.limits.max_uri_bytes);
    let public_url = http.public_url.as_ref().map_or(base_url, |url| url.as_str().trim_end_matches('/').to_owned());
    Config {
        store: store(reader),
        cache: cache(reader),
        identity: identity::read(reader, &public_url),
        worker: worker(reader),
        log: log(reader),
        http,
        server,
    }
}

fn server(reader: &mut Reader) -> Server {
    let listen = reader.address("server.listen");
    if listen.is_none() && reader.text("server.listen").is_empty() {
        reader.fault("server.listen", "must not be empty");
    }
    let listen = listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080)));
    let operations_listen = reader.address("server.operations_listen");
    if operations_listen == Some(listen) && listen.port() != 0 {
        reader.fault("server.operations_listen", format!("must not be the address of server.listen, {listen}"));
    }
    Server {
        listen,
        operations_listen,
        threads: reader.integer("server.threads", 0..=1024),
        tls: tls(reader),
        limits: limits(reader),
        drain_notice: reader.duration("server.drain.notice", Duration::ZERO..=HOUR),
    }
}

fn tls(reader: &mut Reader) -> Option<Tls> {
    match (reader.path("server.tls.certificate"), reader.path("server.tls.key")) {
        (Some(certificate), Some(key)) => Some(Tls { certificate, key }),
        (None, None) => None,
        (Some(_), None) => {
            reader.fault("server.tls.key", "must be set as well, since server.tls.certificate is");
            None
        }
        (None, Some(_)) => {
            reader.fault("server.tls.certificate", "must be set as well, since server.tls.key is");
            None
        }
    }
}

fn limits(reader: &mut Reader) -> Limits {
    Limits {
        max_connections: reader.integer("server.limits.connections", 1..=1_000_000),
        max_connections_per_address: reader.integer("server.limits.connections_per_address", 1..=1_000_000),
        uncapped_networks: uncapped_networks(reader),
        backlog: reader.integer("server.limits.backlog", 1..=65_535),
        first_byte_timeout: reader.duration("server.limits.first_byte", TIMEOUT),
        tls_handshake_timeout: reader.duration("server.limits.tls_handshake", TIMEOUT),
        header_read_timeout: reader.duration("server.limits.header", TIMEOUT),
        max_header_bytes: bytes_u32(reader.size("server.limits.header_bytes", 4 * KIB..=MIB)),
        max_headers: reader.integer("server.limits.headers", 16..=100),
        max_uri_bytes: reader.size("server.limits.uri_bytes", KIB..=64 * KIB),
        body_idle_timeout: reader.duration("server.limits.body_idle", TIMEOUT),
        body_total_timeout: reader.duration("server.limits.body_total", TIMEOUT),
        request_timeout: reader.duration("server.limits.request", TIMEOUT),
        write_progress_timeout: reader.duration("server.limits.write_progress", TIMEOUT),
        keep_alive_timeout: reader.duration("server.limits.keep_alive", TIMEOUT),
        max_requests_per_connection: reader.integer("server.limits.requests_per_connection", 1..=u32::MAX),
        http2_max_concurrent_streams: reader.integer("server.limits.http2_streams", 1..=10_000),
        http2_max_pending_accept_reset_streams: reader.integer("server.limits.http2_pending_resets", 1..=10_000),
        http2_max_local_error_reset_streams: reader.integer("server.limits.http2_error_resets", 1..=10_000),
        http2_max_control_bytes: reader.size("server.limits.http2_control_bytes", 16 * KIB..=GIB) as u64,
        http2_keep_alive_interval: reader.duration("server.limits.http2_ping_interval", SECOND..=HOUR),
        http2_keep_alive_timeout: reader.duration("server.limits.http2_ping_timeout", SECOND..=HOUR),
        http2_max_send_buffer_bytes: bytes_u32(reader.size("server.limits.http2_send_buffer", 16 * KIB..=16 * MIB)),
        max_bytes_in_flight: reader.size("server.limits.bytes_in_flight", MIB..=64 * GIB),
        linger_timeout: reader.duration("server.limits.linger", Duration::from_millis(10)..=MINUTE),
        drain_timeout: reader.duration("server.drain.deadline", Duration::ZERO..=HOUR),
    }
}

/// Behind a trusted proxy all clients have one address, so its connections are not counted as one
/// client's. What is wrong with the list of proxies is said where it is read as such.
fn uncapped_networks(reader: &mut Reader) -> Vec<Network> {
    let mut networks: Vec<Network> = reader.parsed_list("server.limits.uncapped_networks");
    networks.extend(reader.list("http.trusted_proxies").iter().filter_map(|network| network.parse::<Network>().ok()));
    networks
}

/// Sizes whose range fits.
fn bytes_u32(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn store(reader: &mut Reader) -> Store {
    Store {
        data_dir: PathBuf::from(reader.required_text("store.data_dir")),
        url: address_of_database(reader),
        replicas: addresses_of_replicas(reader),
        max_lag: reader.duration("store.max_lag", Duration::from_millis(100)..=HOUR),
        pooler: reader.flag("store.pooler"),
        timeout: reader.duration("store.timeout", Duration::from_millis(100)..=HOUR),
        connect_timeout: reader.duration("store.connect_timeout", TIMEOUT),
        write_timeout: reader.duration("store.write_timeout", SECOND..=HOUR),
        readers: reader.integer("store.readers", 0..=256),
        read_queue: reader.integer("store.read_queue", 1..=1_000_000),
        write_queue: reader.integer("store.write_queue", 1..=1_000_000),
        write_group: reader.integer("store.write_group", 1..=10_000),
        mmap_mib: bytes_u32(reader.size("store.mmap", 0..=64 * GIB) >> 20),
        page_cache_kib: bytes_u32(reader.size("store.page_cache", 64 * KIB..=GIB) >> 10),
        busy_timeout: reader.duration("store.busy_timeout", Duration::ZERO..=MINUTE),
        retention: Retention {
            outbox: retention(reader, "outbox", HOUR),
            audit: retention(reader, "audit", DAY),
            failed_sign_ins: retention(reader, "failed_sign_ins", DAY),
        },
    }
}

/// How long one kind is kept: at least this long, or for ever.
fn retention(reader: &mut Reader, kind: &str, least: Duration) -> Option<Duration> {
    let setting = format!("store.retention.{kind}");
    let kept = reader.duration(&setting, Duration::ZERO..=100 * YEAR);
    if !kept.is_zero() && kept < least {
        let least = units::show_duration(least);
        reader.fault(&setting, format!("must be at least {least}, or \"0s\" for ever"));
    }
    Some(kept).filter(|kept| !kept.is_zero())
}

/// What is wrong with it is said without the address itself, which may hold a password. A script that has lost the
/// address must not start an empty blog in place of the one that it means.
fn address_of_database(reader: &mut Reader) -> Option<ServerAddress> {
    let text = reader.text("store.url");
    if text.is_empty() && reader.is_from_outside("store.url") {
        let why = format!("is empty: name a database, or {SQLITE} for the file in the data directory");
        reader.fault("store.url", why);
    }
    if is_file(&text) {
        return None;
    }
    if text.starts_with(SQLITE) {
        reader.fault("store.url", format!("must be just {SQLITE}: where the file is, says store.data_dir"));
        return None;
    }
    text.parse().map_err(|error: BadAddress| reader.fault("store.url", error.to_string())).ok()
}

/// Whether `store.url` means the file in the data directory.
fn is_file(url: &str) -> bool {
    url.is_empty() || url == SQLITE
}

/// As [`address_of_database`], one by one.
fn addresses_of_replicas(reader: &mut Reader) -> Vec<PostgresAddress> {
    let texts = reader.list("store.replicas");
    if !texts.is_empty() && !PostgresAddress::is_meant(&reader.text("store.url")) {
        reader.fault("store.replicas", "needs store.url, the PostgreSQL database whose replicas they are");
    }
    let mut addresses = Vec::new();
    for (place, text) in texts.iter().enumerate() {
        match text.parse::<PostgresAddress>() {
            Ok(address) => addresses.push(address.for_reading()),
            Err(error) => reader.fault("store.replicas", format!("number {}: {error}", place + 1)),
        }
    }
    addresses
}

fn cache(reader: &mut Reader) -> Cache {
    let max_lag = reader.duration("cache.max_lag", Duration::from_millis(20)..=HOUR);
    let poll = reader.duration("worker.poll", POLL);
    let has_peers = !is_file(&reader.text("store.url")) || !reader.text("cache.shared.url").is_empty();
    if has_peers && max_lag < poll * 2 {
        let least = units::show_duration(poll * 2);
        reader.fault("cache.max_lag", format!("must be at least twice worker.poll, {least}"));
    }
    Cache {
        max_bytes: reader.size("cache.max_bytes", 0..=1024 * GIB) as u64,
        retry: reader.duration("cache.retry", Duration::from_millis(100)..=HOUR),
        max_lag,
        shared: shared_cache::read(reader),
    }
}

fn worker(reader: &mut Reader) -> Worker {
    Worker {
        poll: reader.duration("worker.poll", POLL),
        housekeeping: reader.duration("worker.housekeeping", SECOND..=DAY),
        lease: reader.duration("worker.lease", SECOND..=HOUR),
    }
}

fn log(reader: &mut Reader) -> Log {
    let format = reader
        .choice("log.format", &[("auto", LogFormat::Auto), ("human", LogFormat::Human), ("json", LogFormat::Json)]);
    let filter = reader.required_text("log.filter");
    if let Err(why) = crate::telemetry::check_filter(&filter) {
        reader.fault("log.filter", why);
    }
    Log { format, filter }
}
