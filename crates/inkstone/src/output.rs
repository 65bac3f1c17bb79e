//! What commands write to stdout: tables for people, JSON for programs.

use std::io::Write as _;

use serde::Serialize;

use crate::failure::{Failure, Result};

/// Writes a text.
pub(crate) fn text(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(())
}

/// Writes a value as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    let rendered = serde_json::to_string_pretty(value).map_err(|error| Failure::new(error.to_string()))?;
    text(&rendered)
}

/// Writes rows in columns that are as wide as they need to be.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> Result<()> {
    text(&render_table(head, rows))
}

fn render_table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width_of = |text: &str| text.chars().count();
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| width_of(cell));
            cells.chain([width_of(head[column])]).max().unwrap_or(0)
        })
        .collect();
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let mut out = String::new();
    for row in [&head].into_iter().chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Control characters in a name could rewrite the terminal.
            let cell: String = cell.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
            line.push_str(&cell);
            line.extend(std::iter::repeat_n(' ', (width + 2).saturating_sub(width_of(&cell))));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::render_table;

    #[test]
    fn columns_are_as_wide_as_they_need_to_be_and_hold_no_control_characters() {
        let rows = [vec!["1".to_owned(), "Ädä\u{1b}[2J".to_owned()], vec!["1000".to_owned(), String::new()]];
        assert_eq!(render_table(&["id", "name"], &rows), "id    name\n1     Ädä\u{fffd}[2J\n1000\n");
    }
}
