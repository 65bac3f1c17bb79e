//! Where values come from: defaults, file, environment, flags, laid one over the other, each value
//! with its origin, so that every message can say where to look.
//!
//! The defaults are the schema too: a setting exists exactly if it stands there, and its type is
//! the type of its default.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Environment variables of settings begin like this.
pub(super) const PREFIX: &str = "INKSTONE__";
/// The longest file that a `_FILE` variable may name, in bytes.
const MAX_VALUE_FILE_BYTES: u64 = 64 * 1024;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The defaults that are built in.
    Default,
    /// This line of the configuration file.
    File(PathBuf, usize),
    /// This environment variable.
    Variable(String),
    /// The file that this environment variable names.
    VariableFile(String, PathBuf),
    /// This flag on the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::VariableFile(name, path) => write!(f, "{} (named by {name})", path.display()),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The setting, such as `server.listen`; empty if it concerns the file as a whole.
    pub setting: String,
    /// Where the value came from.
    pub origin: Origin,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.setting.is_empty() {
            write!(f, "{} ", self.setting)?;
        }
        write!(f, "({}): {}", self.origin, self.message)
    }
}

/// A value as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Flag(bool),
    List(Vec<String>),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text in quotes",
            Self::Integer(_) => "a whole number",
            Self::Flag(_) => "true or false",
            Self::List(_) => "a list of texts",
        }
    }

    /// The same kind of value out of plain text, as variables and flags bring it.
    fn like(&self, text: &str) -> Option<Value> {
        Some(match self {
            Self::Text(_) => Self::Text(text.to_owned()),
            Self::Integer(_) => Self::Integer(text.trim().parse().ok()?),
            Self::Flag(_) => Self::Flag(text.trim().parse().ok()?),
            Self::List(_) => {
                Self::List(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
            }
        })
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Value> {
        Some(match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Integer(number) => Self::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()?),
            DeValue::Boolean(flag) => Self::Flag(*flag),
            DeValue::Array(items) => Self::List(
                items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()?,
            ),
            DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => return None,
        })
    }
}

impl fmt::Display for Value {
    /// As TOML writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{}", toml::Value::from(text.as_str())),
            Self::Integer(number) => number.fmt(f),
            Self::Flag(flag) => flag.fmt(f),
            Self::List(items) => write!(f, "{}", toml::Value::from(items.clone())),
        }
    }
}

/// A setting: its value and where that came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// All settings, later layers laid over earlier ones.
#[derive(Debug, Clone)]
pub(super) struct Layers {
    /// In the order of the defaults.
    order: Vec<String>,
    leaves: BTreeMap<String, Leaf>,
    /// What was wrong with the layers so far.
    pub(super) faults: Vec<Fault>,
}

impl Layers {
    /// The first layer, which is the schema as well.
    pub(super) fn from_defaults(text: &str) -> Self {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut layers = Self { order: Vec::new(), leaves: BTreeMap::new(), faults: Vec::new() };
        for error in errors {
            layers.fault("", Origin::Default, error.message().to_owned());
        }
        layers.add_defaults("", table.get_ref());
        layers
    }

    fn add_defaults(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let setting = join(prefix, key.get_ref());
            if let DeValue::Table(inner) = value.get_ref() {
                self.add_defaults(&setting, inner);
                continue;
            }
            match Value::from_toml(value.get_ref()) {
                Some(value) => {
                    self.order.push(setting.clone());
                    self.leaves.insert(setting, Leaf { value, origin: Origin::Default });
                }
                None => self.fault(&setting, Origin::Default, "a default of a type that no setting has".to_owned()),
            }
        }
    }

    /// Lays the text of a configuration file over what is there.
    pub(super) fn add_file(&mut self, path: &Path, text: &str) {
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            self.fault("", Origin::File(path.to_owned(), line), format!("this is not TOML: {}", error.message()));
        }
        self.add_table("", table.get_ref(), &|at| Origin::File(path.to_owned(), line_of(text, at)));
    }

    fn add_table(&mut self, prefix: &str, table: &DeTable<'_>, origin: &dyn Fn(usize) -> Origin) {
        for (key, value) in table {
            let setting = join(prefix, key.get_ref());
            let origin_here = origin(key.span().start);
            let is_section = self.is_section(&setting);
            match (value.get_ref(), self.leaves.contains_key(&setting)) {
                (DeValue::Table(inner), false) if is_section => self.add_table(&setting, inner, origin),
                (_, false) if is_section => {
                    self.fault(&setting, origin_here, "this is a section with settings of its own, not a value".into());
                }
                (_, false) => self.unknown(&setting, origin_here),
                (_, true) => self.set_toml(&setting, value, origin_here),
            }
        }
    }

    fn set_toml(&mut self, setting: &str, value: &Spanned<DeValue<'_>>, origin: Origin) {
        let Some(leaf) = self.leaves.get_mut(setting) else { return };
        let expected = leaf.value.kind();
        match Value::from_toml(value.get_ref()) {
            Some(value) if value.kind() == expected => *leaf = Leaf { value, origin },
            _ => self.fault(setting, origin, format!("must be {expected}, but is {}", describe(value.get_ref()))),
        }
    }

    /// Lays the variables that begin with [`PREFIX`] over what is there.
    pub(super) fn add_environment(&mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) {
        let mut variables: Vec<_> = variables.into_iter().collect();
        variables.sort();
        for (name, value) in variables {
            let Some(name) = name.to_str() else { continue };
            let Some(rest) = name.strip_prefix(PREFIX) else {
                self.check_mistyped(name);
                continue;
            };
            let Some(value) = value.to_str() else {
                self.fault("", Origin::Variable(name.to_owned()), "the value is not UTF-8".to_owned());
                continue;
            };
            self.add_variable(name, &rest.to_lowercase().replace("__", "."), value);
        }
    }

    fn add_variable(&mut self, name: &str, setting: &str, value: &str) {
        if self.leaves.contains_key(setting) {
            self.set_text(setting, value, Origin::Variable(name.to_owned()));
            return;
        }
        let of_file = setting.strip_suffix("_file").filter(|setting| self.leaves.contains_key(*setting));
        let Some(setting) = of_file else {
            self.unknown(setting, Origin::Variable(name.to_owned()));
            return;
        };
        let origin = Origin::VariableFile(name.to_owned(), PathBuf::from(value));
        let given_twice = self.leaves.get(setting).is_some_and(|leaf| matches!(leaf.origin, Origin::Variable(_)));
        if given_twice {
            self.fault(setting, origin, format!("{} is set too: set only one", name.trim_end_matches("_FILE")));
            return;
        }
        match read_value_file(Path::new(value)) {
            Ok(text) => self.set_text(setting, text.trim_end_matches(['\n', '\r']), origin),
            Err(why) => self.fault(setting, origin, why),
        }
    }

    /// `INKSTONE_SERVER__LISTEN`, with one underscore in front, would silently do nothing.
    fn check_mistyped(&mut self, name: &str) {
        if let Some(rest) = name.strip_prefix("INKSTONE_")
            && rest.contains("__")
        {
            let message = format!("did you mean {PREFIX}{rest}, with two underscores after INKSTONE?");
            self.fault("", Origin::Variable(name.to_owned()), message);
        }
    }

    /// Sets one setting from plain text.
    pub(super) fn set_text(&mut self, setting: &str, text: &str, origin: Origin) {
        let Some(leaf) = self.leaves.get_mut(setting) else {
            self.unknown(setting, origin);
            return;
        };
        if let Some(value) = leaf.value.like(text) {
            *leaf = Leaf { value, origin };
            return;
        }
        let message = format!("must be {}, but is {text:?}", leaf.value.kind());
        self.fault(setting, origin, message);
    }

    /// The setting of this name.
    pub(super) fn get(&self, setting: &str) -> Option<&Leaf> {
        self.leaves.get(setting)
    }

    /// All settings in the order of the defaults.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Leaf)> {
        self.order.iter().filter_map(|setting| Some((setting.as_str(), self.leaves.get(setting)?)))
    }

    pub(super) fn fault(&mut self, setting: &str, origin: Origin, message: String) {
        self.faults.push(Fault { setting: setting.to_owned(), origin, message });
    }

    fn unknown(&mut self, setting: &str, origin: Origin) {
        let message = match self.nearest(setting) {
            Some(nearest) => format!("there is no such setting. Did you mean {}?", spell(&nearest, &origin)),
            None => "there is no such setting. `inkstone config default` shows all of them".to_owned(),
        };
        self.fault(setting, origin, message);
    }

    fn is_section(&self, setting: &str) -> bool {
        let prefix = format!("{setting}.");
        self.leaves.range(prefix.clone()..).next().is_some_and(|(name, _)| name.starts_with(&prefix))
    }

    /// The setting or section whose name is most like `wrong`, if any is like it at all. The right
    /// name in the wrong section counts as near.
    fn nearest(&self, wrong: &str) -> Option<String> {
        let wrong_name = last(wrong);
        let mut names: Vec<&str> = self.leaves.keys().map(String::as_str).collect();
        let mut sections: Vec<&str> =
            names.iter().flat_map(|name| name.match_indices('.').map(|(at, _)| &name[..at])).collect();
        sections.dedup();
        names.extend(sections);
        let likeness = |name: &str| {
            let whole = strsim::normalized_damerau_levenshtein(wrong, name);
            let end = strsim::normalized_damerau_levenshtein(wrong_name, last(name));
            whole.max(end * 0.9)
        };
        let best = names.into_iter().map(|name| (likeness(name), name)).max_by(|a, b| a.0.total_cmp(&b.0))?;
        (best.0 >= 0.6).then(|| best.1.to_owned())
    }
}

/// A setting the way it is written where the fault is.
fn spell(setting: &str, origin: &Origin) -> String {
    match origin {
        Origin::Variable(_) | Origin::VariableFile(..) => variable_name(setting),
        _ => setting.to_owned(),
    }
}

/// The environment variable of a setting.
pub(super) fn variable_name(setting: &str) -> String {
    format!("{PREFIX}{}", setting.to_uppercase().replace('.', "__"))
}

fn read_value_file(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| format!("the file cannot be read: {error}"))?.len();
    if size > MAX_VALUE_FILE_BYTES {
        return Err("the file is too large to hold a setting".to_owned());
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("the file cannot be read: {error}"))?;
    // Whoever writes it may have failed, and what a secret or a database would be without a value is never meant.
    if text.trim().is_empty() {
        return Err("the file is empty: write the value into it, or leave the variable out".to_owned());
    }
    Ok(text)
}

fn describe(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date without quotes",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") }
}

fn last(setting: &str) -> &str {
    setting.rsplit('.').next().unwrap_or(setting)
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}
