//! `inkstone doctor`: looks for what is wrong, and says what to do about it.

mod hosts;
mod replicas;
mod shared_cache;
mod validity;
mod writes;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use inkstone_core::clock::{Clock as _, CommonClock, SharedClock};
use inkstone_core::events::ChangeFeed as _;
use inkstone_http::server::Certificate;
use inkstone_store::Store;
use inkstone_store::db::DataDirLock;
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Serialize;

use crate::cli::{Common, Json};
use crate::compose::{Ambient, CLOCK_TOLERANCE, Database, operator_context};
use crate::config::{Config, load};
use crate::failure::{Failure, Result};
use crate::{commands, data_dir, output};

/// Below this much free space writes are at risk soon.
const LOW_SPACE_BYTES: u64 = 1024 * 1024 * 1024;
/// Below this much free space nothing can be counted on.
const NO_SPACE_BYTES: u64 = 64 * 1024 * 1024;
/// No clock that is right shows less: the program is younger.
const BUILT_AFTER: &str = "2026-01-01T00:00:00Z";

/// A certificate that ends this soon should have been renewed.
const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);

/// How long the database may take to answer.
const DATABASE_DEADLINE: Duration = Duration::from_mins(1);

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Warn,
    Fail,
}

/// One line of the report.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    status: Status,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, status: Status::Ok, message: message.into(), advice: None }
    }

    fn warn(check: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, status: Status::Warn, message: message.into(), advice: Some(advice.into()) }
    }

    fn fail(check: &'static str, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, status: Status::Fail, message: message.into(), advice: Some(advice.into()) }
    }

    /// What went wrong; `advice` is for what does not say itself what to do.
    fn failed(check: &'static str, failure: Failure, advice: &str) -> Self {
        let (what, hint) = failure.for_doctor();
        Self::fail(check, what, hint.unwrap_or_else(|| advice.to_owned()))
    }
}

pub(super) fn run(common: &Common, arguments: Json) -> Result<()> {
    let findings = examine(common)?;
    if arguments.json {
        output::json(&findings)?;
    } else {
        let lines: Vec<String> = findings.iter().map(line).collect();
        output::text(&lines.join("\n"))?;
    }
    if findings.iter().any(|finding| finding.status == Status::Fail) { Err(Failure::Said) } else { Ok(()) }
}

fn line(Finding { check, status, message, advice }: &Finding) -> String {
    let mark = match status {
        Status::Ok => "ok  ",
        Status::Warn => "warn",
        Status::Fail => "FAIL",
    };
    let advice = advice.as_ref().map(|advice| format!("\n      → {advice}"));
    format!("{mark}  {check}: {message}{}", advice.unwrap_or_default())
}

fn examine(common: &Common) -> Result<Vec<Finding>> {
    let loaded = match load(&commands::sources(common, Vec::new())?) {
        Ok(loaded) => loaded,
        Err(faults) => {
            let advice = "correct it; `inkstone config default` explains every setting";
            return Ok(faults.iter().map(|fault| Finding::fail("configuration", fault.to_string(), advice)).collect());
        }
    };
    let source = loaded.file.as_ref().map_or_else(|| "no file".to_owned(), |file| file.display().to_string());
    let config = &loaded.config;
    let ambient = Ambient::system();
    let mut findings = vec![Finding::ok("configuration", format!("valid ({source})"))];
    let database = Database::of(config, &ambient.clock);
    let is_served = match &database {
        Database::Sqlite { data_dir, .. } => {
            findings.extend(directory(data_dir));
            findings.extend(space(data_dir));
            let is_served = lock(data_dir, &mut findings);
            // Opening the database would cut it off.
            let damage = if is_served { None } else { data_dir::log_damage(data_dir) };
            if let Some((what, advice)) = damage {
                findings.push(Finding::fail("database", what, advice));
                return Ok(findings);
            }
            Some(is_served)
        }
        // Nothing on this machine says whether one runs here.
        Database::Postgres(_) | Database::MariaDb(_) => None,
    };
    let latest = commands::block_on(async { Ok(examine_database(database, &ambient, &mut findings).await) })?;
    let hosts = commands::block_on(async { Ok(hosts::examine(config, &ambient).await) })?;
    let is_primary_sure = hosts.as_ref().is_none_or(|finding| finding.status != Status::Fail);
    findings.extend(hosts);
    findings.extend(commands::block_on(replicas::examine(config, &ambient, is_primary_sure))?);
    findings.push(clock(&ambient.common, latest));
    findings.extend(addresses(config, is_served));
    findings.extend(certificate(config, ambient.common.own()));
    findings.extend(shared_cache::examine(config, &ambient.clock));
    Ok(findings)
}

fn directory(data_dir: &Path) -> Vec<Finding> {
    const CHECK: &str = "data directory";
    let shown = data_dir.display();
    if !data_dir.exists() {
        return vec![Finding::warn(CHECK, format!("{shown} is not there"), "`inkstone serve` makes it")];
    }
    let mut findings = Vec::new();
    for path in [data_dir.to_owned(), data_dir::database(data_dir)] {
        if let Some(mode) = data_dir::open_to_others(&path) {
            let path = path.display();
            let right = if mode & 0o100 == 0 { "600" } else { "700" };
            findings.push(Finding::warn(
                CHECK,
                format!(
                    "{path} can be used by others than its owner (mode {mode:o}); it holds keys and passwords' hashes"
                ),
                format!("chmod {right} {path}"),
            ));
        }
    }
    if let Err(error) = tempfile_in(data_dir) {
        let advice = "run as the owner of the directory, or give it to whom you run as (chown)";
        findings.push(Finding::fail(CHECK, format!("{shown} cannot be written to: {error}"), advice));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, format!("{shown} can be written to, by its owner alone")));
    }
    findings
}

/// Makes a file and removes it.
fn tempfile_in(directory: &Path) -> std::io::Result<()> {
    let path = directory.join(format!(".doctor-{}", std::process::id()));
    std::fs::write(&path, b"doctor")?;
    std::fs::remove_file(&path)
}

fn space(data_dir: &Path) -> Option<Finding> {
    const CHECK: &str = "disk";
    const ADVICE: &str = "make room, or move the data directory to a larger disk; full, it only reads";
    let existing = data_dir.ancestors().find(|path| path.exists()).filter(|path| !path.as_os_str().is_empty());
    let stat = rustix::fs::statvfs(existing.unwrap_or_else(|| Path::new("."))).ok()?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let mib = free / (1024 * 1024);
    Some(if free < NO_SPACE_BYTES {
        Finding::fail(CHECK, format!("only {mib} MiB are free"), ADVICE)
    } else if free < LOW_SPACE_BYTES {
        Finding::warn(CHECK, format!("only {mib} MiB are free"), ADVICE)
    } else {
        Finding::ok(CHECK, format!("{mib} MiB are free"))
    })
}

/// Whether a server runs on this directory.
fn lock(data_dir: &Path, findings: &mut Vec<Finding>) -> bool {
    if !data_dir.exists() {
        return false;
    }
    match DataDirLock::acquire(data_dir) {
        Ok(_) => {
            findings.push(Finding::ok("server", "none runs on this data directory"));
            false
        }
        Err(error) if error.code() == inkstone_core::Code::Conflict => {
            findings.push(Finding::ok("server", "one runs on this data directory"));
            true
        }
        Err(error) => {
            findings.push(Finding::failed("server", Failure::from(error), "see the data directory above"));
            false
        }
    }
}

/// Looks at the database; gives the time of the latest change, if there is one.
async fn examine_database(database: Database, ambient: &Ambient, findings: &mut Vec<Finding>) -> Option<Timestamp> {
    const CHECK: &str = "database";
    const NEWER: &str = "use the version of the program that it was made with, or restore a backup";
    let (unreachable, damaged) = match &database {
        Database::Sqlite { .. } => (
            "see that the data directory belongs to you and that the disk works; if it is damaged, restore a backup",
            "stop the server, keep a copy of the data directory, and restore a backup",
        ),
        Database::Postgres(_) => (
            "see that the server runs, that store.url names it, and that its user may use the database",
            "have an index rebuilt (reindex), a constraint checked (alter table … validate constraint); \
             of damaged pages, fail over to a replica or restore a backup",
        ),
        Database::MariaDb(_) => (
            "see that the server runs, that store.url names it, and that its user may use the database",
            "have the table written anew (alter table … force), or restore a backup",
        ),
    };
    match database.exists().await {
        Ok(true) => {}
        Ok(false) => {
            let none = Finding::warn(CHECK, "there is none yet", "`inkstone serve` makes it");
            findings.push(writes::no_tables(&database).await.unwrap_or(none));
            return None;
        }
        Err(failure) => {
            findings.push(Finding::failed(CHECK, failure, unreachable));
            return None;
        }
    }
    match database.fit().await {
        Ok(fit) if !fit.missing.is_empty() => {
            let message = format!("{} migrations are missing", fit.missing.len());
            findings.push(Finding::warn("schema", message, "`inkstone migrate`, or `inkstone serve`, applies them"));
            findings.extend(writes::no_tables(&database).await);
            return None;
        }
        Ok(fit) => findings.push(match fit.ahead() {
            None => Finding::ok("schema", "up to date"),
            Some(ahead) => Finding::warn("schema", ahead, "finish the upgrade: run the newer program everywhere"),
        }),
        Err(failure) => {
            findings.push(Finding::failed("schema", failure, NEWER));
            return None;
        }
    }
    match look_into(database, ambient).await {
        Ok((faults, latest)) if faults.is_empty() => {
            findings.push(Finding::ok(CHECK, "opens, and passes its integrity check"));
            latest
        }
        Ok((faults, _)) => {
            let shown = faults.iter().take(5).cloned().collect::<Vec<_>>().join("; ");
            findings.push(Finding::fail(CHECK, format!("is damaged: {shown}"), damaged));
            None
        }
        Err(failure) => {
            findings.push(Finding::failed(CHECK, failure, unreachable));
            None
        }
    }
}

/// What is wrong with the database, and the time of its latest change.
async fn look_into(database: Database, ambient: &Ambient) -> Result<(Vec<String>, Option<Timestamp>)> {
    let store = Store::new(database.open()?, ambient.clock.clone(), ambient.entropy.clone());
    let faults = store.db().integrity_check().await?;
    if !faults.is_empty() {
        return Ok((faults, None));
    }
    let ctx = operator_context(&ambient.clock, "doctor", DATABASE_DEADLINE);
    writes::require(&store, &ctx).await?;
    if let Some(reading) = store.db().read_time(&ctx, &ambient.clock).await? {
        ambient.common.correct(&reading);
    }
    let latest = store.latest_change(&ctx).await?;
    let events = store.changes_after(&ctx, latest.saturating_sub(1), 1).await?;
    store.db().close().await?;
    Ok((faults, events.first().map(|event| event.at)))
}

fn clock(clock: &CommonClock, latest: Option<Timestamp>) -> Finding {
    if let Some(ahead) = clock.own_ahead() {
        return beside_the_databases(ahead, clock.now());
    }
    let now = clock.now();
    let earliest = BUILT_AFTER.parse().unwrap_or(Timestamp::UNIX_EPOCH).max(latest.unwrap_or(Timestamp::UNIX_EPOCH));
    if now < earliest {
        return Finding::fail(
            "clock",
            format!("says {now:.0}, which is before {earliest:.0}, when the latest change was made"),
            "set the clock (NTP): tokens and schedules depend on it",
        );
    }
    Finding::ok("clock", format!("{now:.0}"))
}

/// The clock of this machine, whose nodes go by that of the database.
fn beside_the_databases(ahead: SignedDuration, common: Timestamp) -> Finding {
    if ahead.abs() <= CLOCK_TOLERANCE {
        return Finding::ok("clock", format!("{common:.0}, as the database's"));
    }
    let (by, which) = (ahead.abs().as_secs(), if ahead.is_positive() { "ahead of" } else { "behind" });
    Finding::warn(
        "clock",
        format!("is {by} s {which} the database's, which says {common:.0}"),
        "set whichever is wrong (NTP): nodes go by the database's; TLS and the log go by this machine's",
    )
}

/// Whether the addresses can be listened on. `is_served` is whether a server of this blog runs here, if that is known.
fn addresses(config: &Config, is_served: Option<bool>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let all = [("listen", Some(config.server.listen)), ("operations_listen", config.server.operations_listen)];
    for (setting, address) in all {
        let Some(address) = address else { continue };
        findings.push(match TcpListener::bind(address) {
            Ok(_) => Finding::ok("listen", format!("{address} is free (server.{setting})")),
            Err(error) if is_served != Some(false) && error.kind() == std::io::ErrorKind::AddrInUse => {
                let judged = if is_served.is_some() {
                    ", as it should be while the server runs".to_owned()
                } else {
                    format!(": right if it is by this blog's server, which cannot be told from here (server.{setting})")
                };
                Finding::ok("listen", format!("{address} is taken{judged}"))
            }
            Err(error) => Finding::fail(
                "listen",
                format!("{address} cannot be listened on: {error}"),
                format!("stop what uses it, or set server.{setting} to another address"),
            ),
        });
    }
    if let Some(address) = config.server.operations_listen.filter(|address| !is_private(*address)) {
        findings.push(Finding::warn(
            "listen",
            format!("probes and metrics are at {address}, which others may reach"),
            "set server.operations_listen to an address that only your own network has",
        ));
    }
    findings
}

fn is_private(address: SocketAddr) -> bool {
    match address.ip() {
        std::net::IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        std::net::IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

fn certificate(config: &Config, clock: &SharedClock) -> Option<Finding> {
    const CHECK: &str = "tls";
    let tls = config.server.tls.as_ref()?;
    if let Err(error) = Certificate::load(&tls.certificate, &tls.key) {
        return Some(Finding::fail(CHECK, error.to_string(), "see server.tls.certificate and server.tls.key"));
    }
    let path = tls.certificate.display();
    let dates = CertificateDer::from_pem_file(&tls.certificate).ok().and_then(|der| validity::validity(&der));
    let Some((from, until)) = dates else {
        return Some(Finding::warn(
            CHECK,
            format!("the dates of {path} cannot be read"),
            "look at it with openssl x509",
        ));
    };
    let now = clock.now();
    let renew = "have it renewed; the server takes the new one by itself";
    Some(if now < from {
        Finding::fail(CHECK, format!("{path} is valid from {from:.0} only"), "wait, or set the clock")
    } else if now >= until {
        Finding::fail(CHECK, format!("{path} has expired at {until:.0}"), renew)
    } else if now + SOON >= until {
        Finding::warn(CHECK, format!("{path} expires at {until:.0}"), renew)
    } else {
        Finding::ok(CHECK, format!("{path} is valid until {until:.0}"))
    })
}
