//! `inkstone migrate`: brings the database to this version of the program, as `serve` does.

use serde_json::json;

use crate::cli::{Common, Migrate};
use crate::compose::{Ambient, Database, Step};
use crate::failure::Result;
use crate::{commands, output};

pub(super) fn run(common: &Common, arguments: &Migrate) -> Result<()> {
    let config = commands::configuration(common)?.config;
    let database = Database::of(&config, &Ambient::system().clock);
    let steps: Vec<Step> = commands::block_on(async {
        if arguments.dry_run { database.pending().await } else { database.migrate().await }
    })?;
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
