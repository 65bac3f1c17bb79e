//! The index of words, and what is looked for in it.
//!
//! `posts_search(…)` stands in `from` like a table and gives the ids (`rowid`) of the posts that
//! match what is in the parentheses. In there goes an [`expression`], which is made of the words
//! of [`inkstone_core::search`] and never of what somebody typed.

use inkstone_core::Result;
use inkstone_core::posts::{Post, PostId};
use inkstone_core::search::{self, Search, Term};

use crate::db::{Conn, Statement, Variant};

use super::row::Body;

const INSERT: Statement = Statement {
    name: "posts_search.insert",
    sql: "insert into posts_search (rowid, title, excerpt, body) values ($1, $2, $3, $4)",
};

const DELETE: Statement = Statement { name: "posts_search.delete", sql: "delete from posts_search where rowid = $1" };

/// MariaDB has no index of words that can be told what a word is: it is a table, of which a row goes
/// with the text.
pub(crate) const MARIADB: &[Variant] = &[Variant {
    name: "posts_search.insert",
    sql: &[
        // A letter may become up to eighteen in the index.
        "insert into posts_search (rowid, title, excerpt, body) values ($1, left($2, 4000), $3, $4)",
        "insert into posts_words (rowid, word)
          select distinct $1, left(j.word, 255)
          from json_table(concat('[\"', replace(concat_ws(' ', $2, $3, $4), ' ', '\",\"'), '\"]'), '$[*]'
                          columns (word longtext collate utf8mb4_nopad_bin path '$')) j
          where j.word <> ''",
    ],
}];

pub(super) const STATEMENTS: &[&Statement] = &[&INSERT, &DELETE];

/// Puts a post into the index that is not in it. `given` is the excerpt given by hand.
pub(super) async fn insert(conn: &mut Conn, post: &Post, given: Option<&str>, body: &Body) -> Result<()> {
    insert_texts(conn, post.id.0, post.title.as_str(), given, &body.html).await
}

/// The same for one that is known by its texts.
pub(crate) async fn insert_texts(
    conn: &mut Conn,
    post: i64,
    title: &str,
    given: Option<&str>,
    html: &str,
) -> Result<()> {
    let title = search::of_text(title);
    let excerpt = search::of_text(given.unwrap_or_default());
    let text = search::of_html(html);
    conn.execute_later(&INSERT, &[post.into(), (&title).into(), (&excerpt).into(), (&text).into()]).await?;
    Ok(())
}

/// Takes a post out of the index.
pub(super) async fn delete(conn: &mut Conn, post: PostId) -> Result<()> {
    conn.execute_later(&DELETE, &[post.into()]).await?;
    Ok(())
}

/// All terms, each as a quoted phrase. Words hold neither quotes nor anything else that means
/// something in there.
pub(super) fn expression(search: &Search) -> String {
    let phrase = |term: &Term| format!("\"{}\"{}", term.words().join(" "), if term.is_prefix() { " *" } else { "" });
    match search.terms() {
        [] => "\"\"".to_owned(),
        terms => terms.iter().map(phrase).collect::<Vec<_>>().join(" AND "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_was_typed_becomes_syntax() {
        let expression = |text: &str| expression(&Search::try_from(text.to_owned()).unwrap());
        assert_eq!(expression("ink stone"), r#""ink" AND "stone""#);
        assert_eq!(expression(r#""Ink on stone" pres*"#), r#""ink on stone" AND "pres" *"#);
        assert_eq!(
            expression("title:ink OR (NEAR(a b, 2) - ^c) {x}"),
            r#""2" AND "b" AND "c" AND "near a" AND "or" AND "title ink" AND "x""#
        );
        assert_eq!(expression(r#"a""b"#), r#""a" AND "b""#);
        assert_eq!(expression("?!"), r#""""#);
    }
}
