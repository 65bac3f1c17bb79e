//! `inkstone openapi`: the documents come from the code, so no server is needed.

use crate::cli::{ApiVersion, OpenApi};
use crate::failure::Result;
use crate::output;

pub(super) fn run(arguments: &OpenApi) -> Result<()> {
    output::text(&match arguments.version {
        ApiVersion::V1 => inkstone_http::openapi::v1(),
        ApiVersion::V2 => inkstone_http::openapi::v2(),
    })
}
