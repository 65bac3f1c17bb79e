//! From values as they are written to values that cannot be wrong: each setting is read once, by
//! name, with its type and its range, and everything that is wrong is collected.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;

use super::layers::{Layers, Origin, Value};
use super::units;

/// Reads settings out of the layers.
pub(super) struct Reader {
    layers: Layers,
    read: BTreeSet<String>,
}

impl Reader {
    pub(super) fn new(layers: Layers) -> Self {
        Self { layers, read: BTreeSet::new() }
    }

    /// The layers, with all that was wrong noted in them.
    pub(super) fn into_layers(self) -> Layers {
        self.layers
    }

    /// Settings that exist and that nobody has read: a mistake in the program, not in a file.
    #[cfg(test)]
    pub(super) fn unread(&self) -> Vec<String> {
        self.layers.iter().map(|(name, _)| name.to_owned()).filter(|name| !self.read.contains(name)).collect()
    }

    /// Any text.
    pub(super) fn text(&mut self, setting: &str) -> String {
        match self.value(setting) {
            Some(Value::Text(text)) => text,
            _ => String::new(),
        }
    }

    /// A text that must not be empty.
    pub(super) fn required_text(&mut self, setting: &str) -> String {
        let text = self.text(setting);
        if text.trim().is_empty() {
            self.fault(setting, "must not be empty");
        }
        text
    }

    /// A path; none if empty.
    pub(super) fn path(&mut self, setting: &str) -> Option<PathBuf> {
        Some(self.text(setting)).filter(|text| !text.is_empty()).map(PathBuf::from)
    }

    /// True or false.
    pub(super) fn flag(&mut self, setting: &str) -> bool {
        matches!(self.value(setting), Some(Value::Flag(true)))
    }

    /// A whole number within a range.
    pub(super) fn integer<T>(&mut self, setting: &str, range: RangeInclusive<T>) -> T
    where
        T: TryFrom<i64> + PartialOrd + Display + Copy,
    {
        let Some(Value::Integer(number)) = self.value(setting) else { return *range.start() };
        match T::try_from(number) {
            Ok(value) if range.contains(&value) => value,
            _ => {
                let message = format!("must be from {} to {}, but is {number}", range.start(), range.end());
                self.fault(setting, message);
                *range.start()
            }
        }
    }

    /// A duration within a range.
    pub(super) fn duration(&mut self, setting: &str, range: RangeInclusive<Duration>) -> Duration {
        let text = self.text(setting);
        match units::parse_duration(&text) {
            Some(duration) if range.contains(&duration) => return duration,
            Some(_) => {
                let (least, most) = (units::show_duration(*range.start()), units::show_duration(*range.end()));
                self.fault(setting, format!("must be from {least} to {most}, but is {text:?}"));
            }
            None => self.fault(
                setting,
                format!(
                    "must be a duration such as \"250ms\", \"30s\", \"5m\", \"1h 30m\" or \"14d\", but is {text:?}"
                ),
            ),
        }
        *range.start()
    }

    /// A size in bytes within a range.
    pub(super) fn size(&mut self, setting: &str, range: RangeInclusive<u64>) -> usize {
        let text = self.text(setting);
        match units::parse_size(&text) {
            Some(bytes) if range.contains(&bytes) => return usize::try_from(bytes).unwrap_or(usize::MAX),
            Some(_) => {
                let (least, most) = (units::show_size(*range.start()), units::show_size(*range.end()));
                self.fault(setting, format!("must be from {least} to {most}, but is {text:?}"));
            }
            None => self.fault(setting, format!("must be a size such as \"64 KiB\" or \"1 MiB\", but is {text:?}")),
        }
        0
    }

    /// One of several words.
    pub(super) fn choice<T: Copy>(&mut self, setting: &str, choices: &[(&str, T)]) -> T {
        let text = self.text(setting);
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
            return *value;
        }
        let words = choices.iter().map(|(word, _)| format!("{word:?}")).collect::<Vec<_>>().join(", ");
        let hint = choices
            .iter()
            .find(|(word, _)| strsim::damerau_levenshtein(word, &text.to_lowercase()) <= 2)
            .map(|(word, _)| format!(". Did you mean {word:?}?"));
        self.fault(setting, format!("must be one of {words}, but is {text:?}{}", hint.unwrap_or_default()));
        choices[0].1
    }

    /// An address with port; none if empty. Names such as `localhost:8080` are not looked up.
    pub(super) fn address(&mut self, setting: &str) -> Option<SocketAddr> {
        let text = self.text(setting);
        if text.is_empty() {
            return None;
        }
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.fault(
                setting,
                format!("must be an address and a port such as \"127.0.0.1:8080\" or \"[::]:8080\", but is {text:?}"),
            );
        }
        parsed
    }

    /// A point in time (RFC 3339); none if empty.
    pub(super) fn time(&mut self, setting: &str) -> Option<Timestamp> {
        let text = self.text(setting);
        if text.is_empty() {
            return None;
        }
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.fault(setting, format!("must be a time such as \"2027-01-01T00:00:00Z\", but is {text:?}"));
        }
        parsed
    }

    /// Any text that can be parsed; none if empty.
    pub(super) fn parsed<T: FromStr>(&mut self, setting: &str) -> Option<T>
    where
        T::Err: Display,
    {
        let text = self.text(setting);
        if text.is_empty() {
            return None;
        }
        text.parse().map_err(|error| self.fault(setting, format!("{text:?}: {error}"))).ok()
    }

    /// A list of texts.
    pub(super) fn list(&mut self, setting: &str) -> Vec<String> {
        match self.value(setting) {
            Some(Value::List(items)) => items,
            _ => Vec::new(),
        }
    }

    /// A list of texts that can be parsed.
    pub(super) fn parsed_list<T: FromStr>(&mut self, setting: &str) -> Vec<T>
    where
        T::Err: Display,
    {
        let mut values = Vec::new();
        for item in self.list(setting) {
            match item.parse::<T>() {
                Ok(value) => values.push(value),
                Err(error) => self.fault(setting, format!("{item:?}: {error}")),
            }
        }
        values
    }

    /// Whether its value comes from a variable or a flag, and so perhaps from a script that had none to give.
    pub(super) fn is_from_outside(&self, setting: &str) -> bool {
        let origin = self.layers.get(setting).map(|leaf| &leaf.origin);
        matches!(origin, Some(Origin::Variable(_) | Origin::VariableFile(..) | Origin::Flag(_)))
    }

    /// Notes that the value of `setting` is wrong.
    pub(super) fn fault(&mut self, setting: &str, message: impl Into<String>) {
        if let Some(leaf) = self.layers.get(setting) {
            let origin = leaf.origin.clone();
            self.layers.fault(setting, origin, message.into());
        }
    }

    fn value(&mut self, setting: &str) -> Option<Value> {
        self.read.insert(setting.to_owned());
        let value = self.layers.get(setting).map(|leaf| leaf.value.clone());
        debug_assert!(value.is_some(), "the defaults have no setting {setting}");
        value
    }
}
