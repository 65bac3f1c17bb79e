//! `inkstone config`: which settings there are, whether they are valid, where they come from.

use serde_json::json;

use crate::cli::{Common, Config, Json};
use crate::config::{DEFAULTS, load};
use crate::failure::{Failure, Result};
use crate::{commands, output};

pub(super) fn run(common: &Common, arguments: &Config) -> Result<()> {
    match arguments {
        Config::Default => output::text(DEFAULTS),
        Config::Check(format) => check(common, *format),
        Config::Show(format) => show(common, *format),
    }
}

fn check(common: &Common, format: Json) -> Result<()> {
    let outcome = load(&commands::sources(common, Vec::new())?);
    if !format.json {
        let loaded = outcome?;
        let file =
            loaded.file.map_or_else(|| "no file, defaults and environment".to_owned(), |f| f.display().to_string());
        return output::text(&format!("The configuration is valid ({file})."));
    }
    let faults = outcome.as_ref().err().map_or(&[][..], Vec::as_slice);
    output::json(&json!({
        "valid": outcome.is_ok(),
        "file": outcome.as_ref().ok().and_then(|loaded| loaded.file.as_ref()),
        "faults": faults
            .iter()
            .map(|fault| json!({
                "setting": fault.setting,
                "origin": fault.origin.to_string(),
                "message": fault.message,
            }))
            .collect::<Vec<_>>(),
    }))?;
    match outcome {
        Ok(_) => Ok(()),
        Err(faults) => Err(Failure::Config(faults)),
    }
}

fn show(common: &Common, format: Json) -> Result<()> {
    let lines = commands::configuration(common)?.show();
    if format.json {
        let lines = lines
            .iter()
            .map(|line| json!({ "setting": line.setting, "value": line.value, "origin": line.origin.to_string() }));
        return output::json(&lines.collect::<Vec<_>>());
    }
    let width = lines.iter().map(|line| line.setting.len() + line.value.chars().count() + 3).max().unwrap_or(0).min(70);
    let lines = lines.iter().map(|line| {
        let assignment = format!("{} = {}", line.setting, line.value);
        format!("{assignment:width$}  # {}", line.origin)
    });
    output::text(&lines.collect::<Vec<_>>().join("\n"))
}
