//! `inkstone version`.

use crate::cli::Json;
use crate::failure::Result;
use crate::{VERSION, output};

pub(super) fn run(arguments: Json) -> Result<()> {
    if arguments.json {
        return output::json(&serde_json::json!({ "name": "inkstone", "version": VERSION }));
    }
    output::text(&format!("inkstone {VERSION}"))
}
