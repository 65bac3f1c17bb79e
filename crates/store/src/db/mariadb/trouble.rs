//! What the error codes of MariaDB and MySQL mean for the caller.

use std::borrow::Cow;

use mysql_async::{DriverError, Error as Failure, ServerError};

use crate::db::server::Trouble;
use crate::db::{Constraint, ConstraintKind, SqlError, Statement};

use super::pool::NoConnection;

/// Reads the code. `None` for errors that a statement is to blame for.
pub(super) fn trouble_of(error: &Failure) -> Option<Trouble> {
    let error = match error {
        Failure::Server(error) => error,
        // The fault of what was asked, not of the way there.
        Failure::Driver(DriverError::PacketTooLarge | DriverError::StmtParamsMismatch { .. }) => return None,
        _ => return Some(Trouble::Unreachable),
    };
    Some(match error.code {
        // Connections: too many, of everybody or of this user.
        1040 | 1203 | 1226 | 1461 => Trouble::Crowded,
        // The disk is full; so is a table, which has no other limit.
        1021 | 1114 => Trouble::Full,
        // Files: what the operating system said stands in the message.
        3 | 1020..=1026 | 1030 if is_disk_full(error) => Trouble::Full,
        // A row was changed since the snapshot, or two transactions waited for one another.
        1020 | 1213 => Trouble::Collided,
        3 | 1022..=1026 | 1030 | 1033..=1035 | 1194 | 1195 | 1712 | 1877 => Trouble::Damaged,
        1037 | 1038 | 1041 => Trouble::Exhausted,
        // It ran or waited for too long (MySQL's 3024), or somebody ended it.
        1205 | 1317 | 1969 | 3024 => Trouble::Late,
        // The server only reads, or the transaction does.
        1290 | 1792 | 1836 => Trouble::ReadOnly,
        // What a proxy says for a server that it lost.
        2000..=2999 => Trouble::Unreachable,
        // No way in, no such database, a server that stops, a connection that was ended.
        1042..=1045 | 1047 | 1049 | 1053 | 1129 | 1130 | 1158..=1161 | 1184 | 1698 | 1927 | 3159 | 4031 => {
            Trouble::Unreachable
        }
        _ => return None,
    })
}

/// As [`trouble_of`], for a connection that could not be made.
pub(super) fn trouble_of_connecting(error: &NoConnection) -> Trouble {
    match error {
        NoConnection::Refused(error) => trouble_of(error).unwrap_or(Trouble::Unreachable),
        NoConnection::Late(_) | NoConnection::OnlyReads | NoConnection::TooOld(_) => Trouble::Unreachable,
    }
}

/// ENOSPC and EDQUOT.
fn is_disk_full(error: &ServerError) -> bool {
    let message = &error.message;
    message.contains("rrcode: 28") || message.contains("rror 28 ") || message.contains("rrcode: 122")
}

/// The error of a statement that failed.
pub(super) fn statement_error(statement: &'static Statement, error: &Failure) -> inkstone_core::Error {
    if let Some(trouble) = trouble_of(error) {
        return trouble.to_error();
    }
    let constraint = match error {
        Failure::Server(server) => constraint_in(statement.sql, server),
        _ => None,
    };
    let (statement, detail) = (statement.name, Cow::Owned(words(error)));
    inkstone_core::Error::internal(SqlError { statement, detail, constraint })
}

/// What went wrong, without values: the server puts those into its messages where the data is to
/// blame (classes 01, 22 and 23).
pub(crate) fn words(error: &Failure) -> String {
    let Failure::Server(ServerError { code, message, state }) = error else { return error.to_string() };
    let about_data = ["01", "22", "23"].iter().any(|class| state.starts_with(class));
    if about_data || matches!(code, 1265 | 1292 | 1366) {
        return format!("the data does not fit ({code})");
    }
    format!("{message} ({code})")
}

fn constraint_in(sql: &str, error: &ServerError) -> Option<Constraint> {
    let message = error.message.as_str();
    let named = |kind, name: Option<&str>| Some(Constraint { kind, name: name.unwrap_or_default().to_owned() });
    match error.code {
        // The value before it may hold anything, so the name is what stands last.
        1062 | 1586 => {
            let name = message.trim_end_matches('\'').rsplit('\'').next().unwrap_or_default();
            // MySQL puts the table before it.
            let name = name.rsplit('.').next().unwrap_or_default();
            if name == "PRIMARY" {
                let name = format!("{}_pkey", table_of(sql));
                return Some(Constraint { kind: ConstraintKind::PrimaryKey, name });
            }
            named(ConstraintKind::Unique, Some(name))
        }
        1451 | 1452 => named(ConstraintKind::ForeignKey, quoted_after(message, "CONSTRAINT ")),
        4025 => named(ConstraintKind::Check, quoted_after(message, "CONSTRAINT ")),
        3819 => named(ConstraintKind::Check, quoted_after(message, "constraint ")),
        1048 | 1364 => {
            let column =
                quoted_after(message, "Column ").or_else(|| quoted_after(message, "Field ")).unwrap_or_default();
            Some(Constraint { kind: ConstraintKind::NotNull, name: format!("{}_{column}_not_null", table_of(sql)) })
        }
        _ => None,
    }
}

/// The name behind a word, in whichever quotes: `ANSI_QUOTES` changes some.
fn quoted_after<'m>(message: &'m str, word: &str) -> Option<&'m str> {
    let (_, quoted) = message.split_once(word)?;
    let quote = quoted.chars().next().filter(|quote| matches!(quote, '`' | '"' | '\''))?;
    quoted[1..].split_once(quote).map(|(name, _)| name)
}

/// The table that a statement writes to, which the server does not name.
fn table_of(sql: &str) -> &str {
    let mut words = sql.split_whitespace().skip_while(|word| matches!(*word, "insert" | "into" | "update"));
    words.next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: u16, state: &str, message: &str) -> ServerError {
        ServerError { code, state: state.to_owned(), message: message.to_owned() }
    }

    #[test]
    fn a_constraint_is_known_by_its_name() {
        let insert = "insert into notes (text) values ($1)";
        for (code, message, kind, name) in [
            (1062, "Duplicate entry 'it's a''x' for key 'notes_text_key'", ConstraintKind::Unique, "notes_text_key"),
            (1062, "Duplicate entry 'a' for key 'notes.notes_text_key'", ConstraintKind::Unique, "notes_text_key"),
            (1062, "Duplicate entry '1' for key 'PRIMARY'", ConstraintKind::PrimaryKey, "notes_pkey"),
            (1062, "Duplicate entry '1' for key 'notes.PRIMARY'", ConstraintKind::PrimaryKey, "notes_pkey"),
            (
                1452,
                "Cannot add or update a child row: a foreign key constraint fails (`b`.`notes`, CONSTRAINT \
                 `notes_next_fkey` FOREIGN KEY (`next`) REFERENCES `notes` (`id`))",
                ConstraintKind::ForeignKey,
                "notes_next_fkey",
            ),
            (
                1451,
                "Cannot delete or update a parent row: a foreign key constraint fails (\"b\".\"notes\", CONSTRAINT \
                 \"notes_next_fkey\" FOREIGN KEY (\"next\") REFERENCES \"notes\" (\"id\"))",
                ConstraintKind::ForeignKey,
                "notes_next_fkey",
            ),
            (4025, "CONSTRAINT `notes_text_check` failed for `b`.`notes`", ConstraintKind::Check, "notes_text_check"),
            (3819, "Check constraint 'notes_text_check' is violated.", ConstraintKind::Check, "notes_text_check"),
            (1048, "Column 'text' cannot be null", ConstraintKind::NotNull, "notes_text_not_null"),
        ] {
            let found = constraint_in(insert, &server(code, "23000", message)).unwrap();
            assert_eq!((found.kind, found.name.as_str()), (kind, name), "{message}");
        }
        assert_eq!(constraint_in(insert, &server(1146, "42S02", "Table 'b.notes' doesn't exist")), None);
        assert_eq!(table_of("update notes set next = $1"), "notes");
    }

    #[test]
    fn no_value_is_told() {
        for (code, state) in [(1062, "23000"), (1366, "HY000"), (1292, "22007"), (1406, "22001"), (1265, "01000")] {
            let words = words(&Failure::Server(server(code, state, "Duplicate entry 'sesame' for key 'x'")));
            assert!(!words.contains("sesame") && words.contains(&code.to_string()), "{words}");
        }
    }

    #[test]
    fn what_is_wrong_with_the_server_is_told_from_what_is_wrong_with_a_statement() {
        let trouble = |code, message: &str| trouble_of(&Failure::Server(server(code, "HY000", message)));
        assert_eq!(trouble(1040, "Too many connections"), Some(Trouble::Crowded));
        assert_eq!(trouble(1114, "The table 'posts' is full"), Some(Trouble::Full));
        assert_eq!(trouble(3, "Error writing file '/tmp/x' (Errcode: 28 \"No space left\")"), Some(Trouble::Full));
        assert_eq!(trouble(1030, "Got error 28 \"No space left\" from storage engine"), Some(Trouble::Full));
        assert_eq!(trouble(1030, "Got error 5 from storage engine"), Some(Trouble::Damaged));
        assert_eq!(trouble(1969, "max_statement_time exceeded"), Some(Trouble::Late));
        assert_eq!(trouble(1290, "running with the --read-only option"), Some(Trouble::ReadOnly));
        assert_eq!(trouble(2013, "Lost connection to backend server"), Some(Trouble::Unreachable));
        assert_eq!(trouble_of(&DriverError::PacketTooLarge.into()), None);
        assert_eq!(trouble(1927, "Connection was killed"), Some(Trouble::Unreachable));
        assert_eq!(trouble(1213, "Deadlock found"), Some(Trouble::Collided));
        assert_eq!(trouble(1146, "Table 'x' doesn't exist"), None);
        assert_eq!(trouble(1062, "Duplicate entry"), None);
    }
}
