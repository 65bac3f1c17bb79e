//! Which servers, and which of their databases, can hold a blog: what cannot is refused before anything is made in it,
//! in words that say what to do.

use inkstone_core::{Code, Error, Result};

/// The tables of a blog that others are most likely to have as well.
pub(super) const COMMON_NAMES: &str = "'users', 'posts', 'tags', 'sessions', 'site'";

/// The oldest PostgreSQL, as `server_version_num` counts.
const POSTGRES: u32 = 14_0000;

/// Whether a PostgreSQL that calls its version and its encoding so can hold a blog. `database` is its address.
///
/// # Errors
/// `Conflict` if not.
pub(super) fn require_postgres(database: &str, version: &str, encoding: &str) -> Result<()> {
    let number: u32 = version.parse().unwrap_or(POSTGRES);
    if number < POSTGRES {
        return Err(refused(format!(
            "The database {database} is in a PostgreSQL {}, and a blog needs one of version {} or newer.",
            number / 10_000,
            POSTGRES / 10_000
        )));
    }
    if encoding != "UTF8" {
        return Err(refused(format!(
            "The database {database} keeps text in the encoding {encoding}, which cannot hold every text of a blog. Make \
             another one: createdb --encoding UTF8 --template template0 NAME."
        )));
    }
    Ok(())
}

/// Says that a database is somebody else's, whose table this is.
pub(super) fn not_a_blog(table: &str) -> Error {
    refused(format!(
        "The database belongs to something else than a blog: it has a table {table} already. Name a database of the \
         blog's own."
    ))
}

fn refused(detail: String) -> Error {
    Error::refused(Code::Conflict, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_old_or_not_utf8_is_refused_in_words() {
        let refusal =
            |version, encoding| require_postgres("postgres://h/blog", version, encoding).map_err(|e| e.to_string());
        for version in ["140000", "150018", "180001", "of the future"] {
            assert_eq!(refusal(version, "UTF8"), Ok(()), "{version}");
        }
        let old = refusal("130014", "UTF8").unwrap_err();
        assert!(old.contains("PostgreSQL 13, ") && old.contains("version 14 or newer"), "{old}");
        for encoding in ["LATIN1", "SQL_ASCII"] {
            let other = refusal("150018", encoding).unwrap_err();
            assert!(other.contains(encoding) && other.contains("--encoding UTF8 --template template0"), "{other}");
        }
    }
}
