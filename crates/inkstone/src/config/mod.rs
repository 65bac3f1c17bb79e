//! What the operator decides: every setting, read once, checked as a whole before anything starts.
//!
//! `inkstone.default.toml` is the one source of settings and their defaults. To add a setting, give
//! it a line and a comment there, and read it in the section it belongs to ([`sections`]); a test
//! fails while only one of the two is done. Why it is built this way: `docs/decisions/0002`.

mod layers;
mod read;
mod sections;
mod units;

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};

pub use layers::{Fault, Origin};
pub use sections::{Cache, Config, Log, LogFormat, Server, SharedCache, Store, Tls, Worker};

use layers::Layers;
use read::Reader;

/// Every setting with its default and a comment.
pub const DEFAULTS: &str = include_str!("../../../../inkstone.default.toml");
/// The configuration file that is read if it is there, in the data directory.
pub const FILE_NAME: &str = "inkstone.toml";
/// Names the data directory, as `--data-dir` does.
pub const DATA_DIR_VARIABLE: &str = "INKSTONE_DATA_DIR";
/// Names the configuration file, as `--config` does.
pub const FILE_VARIABLE: &str = "INKSTONE_CONFIG";
/// What stands in the place of a secret.
const HIDDEN: &str = "\"…hidden…\"";
/// The longest configuration file, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Whatever can say something about the configuration beside the defaults.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Flags: the setting, the flag's name, its value.
    pub flags: Vec<(String, &'static str, String)>,
}

/// The environment of the process. This is the one place that asks for it.
pub fn environment() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

/// A configuration that is valid as a whole, and how it came about.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// The file that was read, if one was.
    pub file: Option<PathBuf>,
    layers: Layers,
}

/// One line of `config show`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The setting, such as `server.listen`.
    pub setting: String,
    /// Its value as TOML writes it.
    pub value: String,
    /// Where the value came from.
    pub origin: Origin,
}

impl Loaded {
    /// Every setting in effect, in the order of the defaults. Secrets are hidden.
    pub fn show(&self) -> Vec<Shown> {
        show(&self.layers)
    }
}

fn show(layers: &Layers) -> Vec<Shown> {
    let shown = |(setting, leaf): (&str, &layers::Leaf)| Shown {
        setting: setting.to_owned(),
        value: if is_secret(setting) { HIDDEN.to_owned() } else { harmless(&leaf.value) },
        origin: leaf.origin.clone(),
    };
    layers.iter().map(shown).collect()
}

/// A setting whose name ends so is one: there is nothing to forget when one is added.
fn is_secret(setting: &str) -> bool {
    setting.ends_with("secret")
}

/// A value without credentials in it, each entry of a list by itself.
fn harmless(value: &layers::Value) -> String {
    match value {
        layers::Value::List(items) => {
            layers::Value::List(items.iter().map(|item| without_credentials(item)).collect()).to_string()
        }
        value => without_credentials(&value.to_string()),
    }
}

/// Hides what stands before the host of an address. A password may hold anything, so that is what stands before the
/// last `@`, though it may be too much.
fn without_credentials(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else { return value.to_owned() };
    match rest.rfind('@') {
        Some(at) => format!("{scheme}://…{}", &rest[at..]),
        None => value.to_owned(),
    }
}

/// Reads all layers and checks them.
///
/// # Errors
/// Everything that is wrong, not only the first thing.
pub fn load(sources: &Sources) -> Result<Loaded, Vec<Fault>> {
    let (layers, file) = gather(DEFAULTS, sources);
    let mut reader = Reader::new(layers);
    let config = sections::read(&mut reader);
    let layers = reader.into_layers();
    if layers.faults.is_empty() { Ok(Loaded { config, file, layers }) } else { Err(layers.faults) }
}

/// Lays the layers over each other.
fn gather(defaults: &str, sources: &Sources) -> (Layers, Option<PathBuf>) {
    let mut layers = Layers::from_defaults(defaults);
    let variable = |wanted: &str| {
        let found = sources.environment.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| PathBuf::from(value))
    };
    let named = sources
        .file
        .clone()
        .map(|path| (path, Origin::Flag("--config")))
        .or_else(|| variable(FILE_VARIABLE).map(|path| (path, Origin::Variable(FILE_VARIABLE.to_owned()))));
    let file = match named {
        Some((path, origin)) => add_named_file(&mut layers, &path, origin).then_some(path),
        None => add_file_of_data_dir(&mut layers, sources, variable(DATA_DIR_VARIABLE)),
    };
    layers.add_environment(sources.environment.iter().cloned());
    if let Some(dir) = variable(DATA_DIR_VARIABLE) {
        let origin = Origin::Variable(DATA_DIR_VARIABLE.to_owned());
        match dir.to_str() {
            Some(dir) => layers.set_text("store.data_dir", dir, origin),
            None => layers.fault("store.data_dir", origin, "the value is not UTF-8".to_owned()),
        }
    }
    for (setting, flag, value) in &sources.flags {
        layers.set_text(setting, value, Origin::Flag(flag));
    }
    (layers, file)
}

/// Reads a file that somebody named: it has to be there.
fn add_named_file(layers: &mut Layers, path: &Path, origin: Origin) -> bool {
    if path.as_os_str().is_empty() {
        layers.fault("", origin, "must not be empty".to_owned());
        return false;
    }
    match read_file(path) {
        Ok(text) => layers.add_file(path, &text),
        Err(why) => {
            layers.fault("", origin, format!("{} {why}", path.display()));
            return false;
        }
    }
    true
}

/// Reads `inkstone.toml` of the data directory, if there is one.
fn add_file_of_data_dir(layers: &mut Layers, sources: &Sources, from_variable: Option<PathBuf>) -> Option<PathBuf> {
    let from_flag = sources.flags.iter().find(|(setting, ..)| setting == "store.data_dir");
    let dir = from_flag.map(|(_, _, value)| PathBuf::from(value)).or(from_variable).or_else(|| {
        let mut probe = layers.clone();
        probe.add_environment(sources.environment.iter().cloned());
        match &probe.get("store.data_dir")?.value {
            layers::Value::Text(text) => Some(PathBuf::from(text)),
            _ => None,
        }
    })?;
    // Refused where it is read; what lies in the working directory is not meant.
    if dir.as_os_str().is_empty() {
        return None;
    }
    let path = dir.join(FILE_NAME);
    match read_file(&path) {
        Ok(text) => layers.add_file(&path, &text),
        Err(_) if !path.exists() => return None,
        Err(why) => {
            layers.fault("", Origin::File(path, 1), why);
            return None;
        }
    }
    if let Some(Origin::File(..)) = layers.get("store.data_dir").map(|leaf| leaf.origin.clone()) {
        let origin = layers.get("store.data_dir").map_or(Origin::Default, |leaf| leaf.origin.clone());
        let message =
            "a file in the data directory cannot say where that is: use --data-dir, or name the file with --config";
        layers.fault("store.data_dir", origin, message.to_owned());
    }
    Some(path)
}

fn read_file(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    // Counted while it is read: a pipe or a device does not say how much is to come.
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err("cannot be a configuration: it has more than 1 MiB".to_owned());
    }
    String::from_utf8(bytes).map_err(|error| format!("cannot be read: {error}"))
}

#[cfg(test)]
mod tests;
