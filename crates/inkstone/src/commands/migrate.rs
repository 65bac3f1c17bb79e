//! `inkstone migrate`: brings the database to this version of the program, as `serve` does.

use inkstone_store::migrate;
use serde_json::json;

use crate::cli::{Common, Migrate};
use crate::compose::{Ambient, sqlite_options};
use crate::failure::Result;
use crate::{commands, data_dir, output};

pub(super) fn run(common: &Common, arguments: &Migrate) -> Result<()> {
    let config = commands::configuration(common)?.config;
    let options = sqlite_options(&config, &Ambient::system().clock);
    let steps: Vec<(u32, String)> = if arguments.dry_run {
        let pending = migrate::pending(&options)?;
        pending.iter().map(|migration| (migration.number, migration.name.to_owned())).collect()
    } else {
        data_dir::prepare(&config.store.data_dir)?;
        let applied = migrate::run(&options)?;
        applied.into_iter().map(|migration| (migration.number, migration.name)).collect()
    };
    if arguments.json {
        let steps: Vec<_> = steps.iter().map(|(number, name)| json!({ "number": number, "name": name })).collect();
        return output::json(&json!({ "dry_run": arguments.dry_run, "migrations": steps }));
    }
    if steps.is_empty() {
        return output::text("The database is up to date.");
    }
    let verb = if arguments.dry_run { "Would apply" } else { "Applied" };
    let lines: Vec<String> =
        steps.iter().map(|(number, name)| format!("{verb} migration {number} ({name}).")).collect();
    output::text(&lines.join("\n"))
}
