//! `inkstone migrate`: brings the database to this version of the program, as `serve` does.

use serde_json::json;

use crate::cli::{Common, Migrate};
use crate::compose::{Ambient, Database, Step};
use crate::failure::Result;
use crate::{commands, output};

pub(super) fn run(common: &Common, arguments: &Migrate) -> Result<()> {
    let config = commands::configuration(common)?.config;
    let database = Database::of(&config, &Ambient::system().clock);
    let (steps, fit): (Vec<Step>, _) = commands::block_on(async {
        database.require_sound()?;
        let before = database.fit().await?;
        let missing = before.missing.iter().map(|step| (step.number, step.name.to_owned())).collect();
        Ok((if arguments.dry_run { missing } else { database.migrate().await? }, before))
    })?;
    if arguments.json {
        let list = |steps: &[Step]| -> Vec<_> {
            steps.iter().map(|(number, name)| json!({ "number": number, "name": name })).collect()
        };
        let report = json!({ "dry_run": arguments.dry_run, "migrations": list(&steps), "not_known": list(&fit.newer) });
        return output::json(&report);
    }
    if let Some(ahead) = fit.ahead() {
        return output::text(&format!("The database is {ahead}."));
    }
    if steps.is_empty() {
        return output::text("The database is up to date.");
    }
    let verb = if arguments.dry_run { "Would apply" } else { "Applied" };
    let lines: Vec<String> =
        steps.iter().map(|(number, name)| format!("{verb} migration {number} ({name}).")).collect();
    output::text(&lines.join("\n"))
}
