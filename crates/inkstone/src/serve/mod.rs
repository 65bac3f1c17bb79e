//! `inkstone serve`: from the configuration to a server that answers, and to its orderly end.

mod banner;
mod door;
mod journal;
mod signals;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use inkstone_http::front::Front;
use inkstone_http::operations::operations_router;
use inkstone_http::router::router;
use inkstone_http::server::{Certificate, Drained, Listener, Server, ServerOptions};
use inkstone_store::db::DataDirLock;
use tokio_util::sync::CancellationToken;

use self::banner::Setup;

use crate::cli::{Common, Serve};
use crate::compose::{Ambient, Blog, Database, Site, open_guarded_store, server_metrics};
use crate::config::{Config, Loaded, Sources, load};
use crate::failure::{Failure, Result};
use crate::telemetry::Telemetry;
use crate::{commands, data_dir, demo, telemetry};

/// How long what goes on beside the requests may take to end.
const WORKERS_DEADLINE: Duration = Duration::from_secs(10);

/// Runs the server until a signal ends it.
///
/// # Errors
/// Whatever keeps it from starting.
pub fn run(common: &Common, arguments: &Serve) -> Result<()> {
    let mut flags = Vec::new();
    flags.extend(arguments.listen.iter().map(|address| ("server.listen".to_owned(), "--listen", address.clone())));
    let operations = arguments.operations_listen.iter();
    flags.extend(
        operations.map(|address| ("server.operations_listen".to_owned(), "--operations-listen", address.clone())),
    );
    let sources = commands::sources(common, flags)?;
    let Loaded { config, .. } = load(&sources)?;
    let ambient = Ambient::system();
    let telemetry = telemetry::start(&config.log, ambient.common.own().clone()).map_err(Failure::new)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if config.server.threads > 0 {
        runtime.worker_threads(config.server.threads);
    }
    let runtime = runtime.thread_name("inkstone").enable_all().build()?;
    let reload = Reload { sources, telemetry };
    runtime.block_on(serve(&config, &ambient, arguments.demo, reload))
}

/// Takes the data directory for this process, and says where others could read it.
fn take(data_dir: &Path) -> Result<DataDirLock> {
    data_dir::prepare(data_dir)?;
    let lock = DataDirLock::acquire(data_dir)?;
    // SQLite would go on without a word, and without what was acknowledged.
    data_dir::require_sound_log(data_dir)?;
    if let Some(mode) = data_dir::open_to_others(data_dir) {
        tracing::warn!(
            mode = format!("{mode:o}"),
            "others than its owner can use the data directory: see `inkstone doctor`"
        );
    }
    Ok(lock)
}

/// What SIGHUP reads again.
struct Reload {
    sources: Sources,
    telemetry: Telemetry,
}

async fn serve(config: &Config, ambient: &Ambient, with_demo: bool, reload: Reload) -> Result<()> {
    let signals = signals::Signals::listen(reload.telemetry.last_words())?;
    let database = Database::of(config, &ambient.clock);
    // Held until the store is closed: two servers on one directory would each believe their cache.
    let _lock = match &database {
        Database::Sqlite { data_dir, .. } => Some(take(data_dir)?),
        Database::Postgres(_) | Database::MariaDb(_) => None,
    };
    let place = database.to_string();
    let certificate = certificate(config)?;
    let (edge_problem, set_edge) = door::problem_writer();
    let main = bind(config, config.server.listen, "server.listen", certificate.clone(), &edge_problem, ambient)?;
    let operations = config
        .server
        .operations_listen
        .map(|address| bind(config, address, "server.operations_listen", None, &edge_problem, ambient))
        .transpose()?;

    // A database that hangs, or that another node is just migrating, can be waited for long.
    let store = signals.or_at_once(open_guarded_store(database, config, ambient)).await?;
    let mut listeners = vec![("main", main.stats())];
    listeners.extend(operations.iter().map(|server| ("operations", server.stats())));
    let site = signals.or_at_once(Site::assemble(store, config, ambient, vec![server_metrics(listeners)])).await?;
    let Site { blog, app, workers } = site;
    set_edge(app.edge.clone());
    if with_demo {
        signals.or_at_once(demo::fill(&blog)).await?;
    }
    announce(config, &reload.sources, &place, &blog, &main, operations.as_ref()).await?;

    let (main_ends, operations_end) = (CancellationToken::new(), CancellationToken::new());
    let application = door::Door::new(Front::new(&app, door::IntoAxum(router(app.clone()))));
    let main = tokio::spawn(main.serve(application, main_ends.clone().cancelled_owned()));
    let operations = operations.map(|server| {
        let application = door::Door::new(door::IntoAxum(operations_router(&app.edge)));
        tokio::spawn(server.serve(application, operations_end.clone().cancelled_owned()))
    });

    signals.until_end(|| reload.again(certificate.as_ref())).await;
    tracing::info!("stopping: finishing what is running");
    app.edge.readiness().drain();
    signals.or_at_once(tokio::time::sleep(config.server.drain_notice)).await;
    main_ends.cancel();
    let drained = signals.or_at_once(main).await.map_err(|error| Failure::new(error.to_string()))?;
    report(drained);
    operations_end.cancel();
    if let Some(operations) = operations {
        signals.or_at_once(operations).await.map_err(|error| Failure::new(error.to_string()))?;
    }
    signals.or_at_once(workers.stop(WORKERS_DEADLINE)).await;
    signals.or_at_once(blog.close()).await?;
    tracing::info!("stopped");
    Ok(())
}

impl Reload {
    /// Reads the log filter and the certificate again. What is wrong with them is logged, and what
    /// is in use stays in use.
    fn again(&self, certificate: Option<&Certificate>) {
        match load(&self.sources) {
            Ok(loaded) => match self.telemetry.set_filter(&loaded.config.log.filter) {
                Ok(()) => tracing::info!(log.filter = loaded.config.log.filter, "the log filter was read again"),
                Err(error) => tracing::error!(error, "the log filter stays as it was"),
            },
            Err(faults) => {
                for fault in faults {
                    tracing::error!(error = %fault, "the configuration is not valid; nothing was read again");
                }
            }
        }
        let Some(certificate) = certificate else { return };
        match certificate.reload() {
            Ok(true) => tracing::info!("the certificate was read again"),
            Ok(false) => tracing::info!("the certificate is the same"),
            Err(error) => tracing::error!(error = %error, "the certificate stays as it was"),
        }
    }
}

fn certificate(config: &Config) -> Result<Option<Certificate>> {
    let Some(tls) = &config.server.tls else { return Ok(None) };
    let certificate = Certificate::load(&tls.certificate, &tls.key).map_err(|error| {
        Failure::with_hint(format!("HTTPS cannot be spoken: {error}"), "see server.tls.certificate and server.tls.key")
    })?;
    Ok(Some(certificate))
}

fn bind(
    config: &Config,
    address: std::net::SocketAddr,
    setting: &str,
    certificate: Option<Certificate>,
    problem: &inkstone_http::server::ProblemWriter,
    ambient: &Ambient,
) -> Result<Server> {
    let mut options = ServerOptions::new(address, Arc::clone(problem), ambient.clock.clone());
    options.listeners = vec![Listener { address, certificate }];
    options.limits = config.server.limits.clone();
    Server::bind(options).map_err(|error| {
        let flag = if setting == "server.listen" { "--listen" } else { "--operations-listen" };
        Failure::with_hint(
            format!("cannot listen on {address}: {error}"),
            format!("stop what uses it, or choose another address with {flag}"),
        )
    })
}

/// Says where everything is: on the terminal, and in the log.
async fn announce(
    config: &Config,
    sources: &Sources,
    database: &str,
    blog: &Blog,
    main: &Server,
    operations: Option<&Server>,
) -> Result<()> {
    let urls = banner::Urls::of(config, main.local_addr(), operations.map(Server::local_addr));
    // The set-up secret goes to the terminal only, never into the log or what keeps the terminal's text like one.
    let secret = blog.identity.begin_setup(&blog.context()).await?;
    let is_kept = journal::takes_stdout(&sources.environment);
    let setup = secret.as_deref().map(|secret| if is_kept { Setup::ByCommand } else { Setup::Secret(secret) });
    // A terminal that is gone is no reason to stop.
    let _written = crate::output::text(&banner::render(&urls, setup, &banner::place(config, sources)));
    tracing::info!(
        server.url = urls.server,
        operations.url = urls.operations.as_deref(),
        server.workers = tokio::runtime::Handle::current().metrics().num_workers(),
        database,
        version = crate::VERSION,
        "listening"
    );
    Ok(())
}

fn report(drained: Drained) {
    let Drained { open, cut } = drained;
    if cut > 0 {
        tracing::warn!(
            connections.open = open,
            connections.cut = cut,
            "requests were cut off at the end of the drain time"
        );
    }
}
