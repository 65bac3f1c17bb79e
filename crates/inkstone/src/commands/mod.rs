//! The commands: one file each.

mod config;
mod doctor;
pub mod import;
mod migrate;
mod openapi;
mod store;
mod token;
mod user;
mod version;

use crate::cli::{Cli, Command, Common};
use crate::compose::{Ambient, Blog, Database};
use crate::config::{Config, Loaded, Sources, environment, load};
use crate::failure::{Failure, Result};
use crate::serve;

/// Runs a command.
///
/// # Errors
/// Whatever kept it from being done.
pub fn run(cli: Cli) -> Result<()> {
    let Cli { common, command } = cli;
    match command {
        Command::Serve(arguments) => serve::run(&common, &arguments),
        Command::Import(arguments) => import::run(&common, arguments),
        Command::User(arguments) => user::run(&common, arguments),
        Command::Token(arguments) => token::run(&common, arguments),
        Command::Migrate(arguments) => migrate::run(&common, &arguments),
        Command::Store(arguments) => store::run(&common, arguments),
        Command::Config(arguments) => config::run(&common, &arguments),
        Command::Openapi(arguments) => openapi::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&common, arguments),
        Command::Version(arguments) => version::run(arguments),
    }
}

/// What says something about the configuration: the options that all commands share, and `flags`.
pub(crate) fn sources(common: &Common, flags: Vec<(String, &'static str, String)>) -> Result<Sources> {
    let mut all: Vec<(String, &'static str, String)> = Vec::new();
    for pair in &common.set {
        let Some((setting, value)) = pair.split_once('=') else {
            return Err(Failure::Usage(format!("--set {pair}: write it as --set SETTING=VALUE")));
        };
        all.push((setting.trim().to_owned(), "--set", value.to_owned()));
    }
    all.extend(common.data_dir.iter().map(|dir| ("store.data_dir".to_owned(), "--data-dir", dir.clone())));
    if let Some(place) = &common.database {
        let url = read_place(place).map_err(|why| Failure::Usage(format!("--database: {why}")))?;
        all.push(("store.url".to_owned(), "--database", url));
    }
    all.extend(flags);
    Ok(Sources { file: common.config.clone(), environment: environment(), flags: all })
}

/// The address of a database as it is named on the command line: what stands in the file, for `@FILE`.
fn read_place(text: &str) -> Result<String, String> {
    let Some(file) = text.strip_prefix('@') else { return Ok(text.to_owned()) };
    let text = std::fs::read_to_string(file).map_err(|error| format!("{file} cannot be read: {error}"))?;
    match text.trim() {
        "" => Err(format!("{file} is empty")),
        text => Ok(text.to_owned()),
    }
}

/// The configuration of a command.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn configuration(common: &Common) -> Result<Loaded> {
    Ok(load(&sources(common, Vec::new())?)?)
}

/// Runs `work` on a blog that exists, and closes it.
///
/// # Errors
/// When there is no blog, and those of `work`.
pub(crate) fn with_blog<T, F>(common: &Common, work: impl FnOnce(Blog) -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let config = configuration(common)?.config;
    block_on(async {
        Database::of(&config, &Ambient::system().clock).require().await?;
        on_blog(&config, work).await
    })
}

/// Runs `work` on a blog, which is made if there is none yet, and closes it.
///
/// # Errors
/// Those of the store and of `work`.
pub(crate) fn with_new_blog<T, F>(common: &Common, work: impl FnOnce(Blog) -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let config = configuration(common)?.config;
    block_on(on_blog(&config, work))
}

/// Runs what a command does on a runtime of its own.
///
/// # Errors
/// Those of `work`, or that there is no runtime.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(work)
}

async fn on_blog<T, F>(config: &Config, work: impl FnOnce(Blog) -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let blog = Blog::open(config, &Ambient::system()).await?;
    let outcome = work(blog.clone()).await;
    let closed = blog.close().await;
    let value = outcome?;
    closed?;
    Ok(value)
}
