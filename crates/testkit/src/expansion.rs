//! Schemas as a later release may leave them to this one: what a migration may call an expansion, and
//! expansions of every table there is.

use std::collections::BTreeSet;

/// The statements of expansions such as no release has made: every table gets a column that may be null,
/// one with a default, and an index, and there is one more table. Each text is a migration of its own.
pub fn ahead(tables: &[&str]) -> Vec<String> {
    let one_more = "create table ahead (
        id      integer not null primary key,
        post_id bigint references posts (id) on delete cascade,
        note    text
    );\n";
    let more = tables.iter().map(|table| {
        format!(
            "alter table {table} add column ahead_note text;\n\
             alter table {table} add column ahead_count integer not null default 7;\n\
             create index {table}_ahead_idx on {table} (ahead_count);\n"
        )
    });
    std::iter::once(one_more.to_owned()).chain(more).collect()
}

/// What in a migration is more than an expansion; nothing, if a program that does not know it can go on.
/// What is not known to be harmless is named: it only looks at the words of the statements.
pub fn more_than_expands(sql: &str) -> Vec<String> {
    let mut new = BTreeSet::new();
    let mut touched = BTreeSet::new();
    let mut found: Vec<String> = statements(sql)
        .iter()
        .filter_map(|statement| {
            let why = look(statement, &mut new, &mut touched).err()?;
            Some(format!("{why}: {statement}"))
        })
        .collect();
    if touched.len() > 1 {
        // Who reads both in the other order would stand in its way, and it in theirs.
        found.push(format!("more than one table that is in use: {touched:?}"));
    }
    found
}

/// Each in small letters, with one space between words and without comments.
fn statements(sql: &str) -> Vec<String> {
    let lines = sql.lines().map(|line| line.split("--").next().unwrap_or_default());
    let text = lines.collect::<Vec<_>>().join(" ").to_lowercase().replace('(', " (").replace(')', ") ");
    let statements = text.split(';').map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
    statements.filter(|statement| !statement.is_empty()).collect()
}

fn look(statement: &str, new: &mut BTreeSet<String>, touched: &mut BTreeSet<String>) -> Result<(), &'static str> {
    let plain = statement.replace(" if not exists", "");
    let words: Vec<&str> = plain.split(' ').collect();
    match words[..] {
        ["create", "table", table, ..] => {
            new.insert(table.to_owned());
            refers_kindly(&plain, new)
        }
        ["create", "index", _, "on", table, ..] => {
            if !new.contains(table) {
                touched.insert(table.to_owned());
            }
            Ok(())
        }
        ["create", "unique", "index", _, "on", table, ..] | ["insert", "into", table, ..] if new.contains(table) => {
            Ok(())
        }
        ["create", "unique", ..] => Err("what was written so far may be refused"),
        ["alter", "table", table, "add", "column", _, ref definition @ ..] => {
            touched.insert(table.to_owned());
            added_column(definition)
        }
        _ => Err("not known to be harmless"),
    }
}

/// Rows that a new table refers to can be deleted by who does not know it.
fn refers_kindly(statement: &str, new: &BTreeSet<String>) -> Result<(), &'static str> {
    let kind = |reference: &str| {
        let rest = reference.split(" references ").next().unwrap_or_default();
        new.contains(reference.split(' ').next().unwrap_or_default())
            || rest.contains("on delete cascade")
            || rest.contains("on delete set null")
    };
    if statement.split(" references ").skip(1).all(kind) { Ok(()) } else { Err("rows in use can no longer be deleted") }
}

/// A column that who does not know it need not fill.
fn added_column(definition: &[&str]) -> Result<(), &'static str> {
    let text = definition.join(" ");
    let (mut depth, mut lists) = (0, false);
    for letter in text.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => lists = true,
            _ => {}
        }
    }
    if lists {
        return Err("one column to a statement");
    }
    let default = definition.iter().position(|word| *word == "default").and_then(|place| definition.get(place + 1));
    let is_constant =
        |word: &&str| word.starts_with(|first: char| first == '\'' || first == '-' || first.is_ascii_digit());
    match default {
        // PostgreSQL would write every row anew.
        Some(default) if !is_constant(default) => return Err("a default that is no constant"),
        None if text.contains("not null") => return Err("not null without a default"),
        _ => {}
    }
    let binds = ["unique", "primary", "check", "references", "generated", "constraint", "auto_increment"];
    if definition.iter().any(|word| binds.contains(word)) {
        Err("a column that binds who does not know it")
    } else {
        Ok(())
    }
}
