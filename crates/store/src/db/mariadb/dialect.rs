//! A statement as MariaDB and MySQL want it.
//!
//! Statements are written in the SQL that SQLite and PostgreSQL share. What MariaDB says in other
//! words, always the same, is put into them here:
//!
//! | written | becomes |
//! |---|---|
//! | `$2 … $1 … $2` | `? … ? … ?`, each with its value |
//! | `json_each($1) j` | a `json_table`, with the same `key` and `value` |
//! | `posts_search($1) s` | a look into `posts_words`, the index of words |
//! | `cast(… as bigint)` | `cast(… as signed)` |
//! | `on conflict (…) do update set a = excluded.a` | `on duplicate key update a = values(a)` |
//! | `(a, b) > ($1, $2) and (a, b) < ($3, $4)` | the same, and `a` in a range: MariaDB walks no index for pairs |
//! | `returning id` | nothing: the driver knows the id, and MySQL cannot say it |
//!
//! Where that is not enough, a [`Variant`](crate::db::Variant) stands beside the statement. A test
//! prepares each, and the conformance suite runs them.

use crate::db::Statement;

use super::flavor::{COLLATION, Flavor};

/// A text for the server, and which value belongs to which of its question marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::db) struct Translated {
    pub(in crate::db) sql: String,
    /// Counted from 0, in the order of the question marks.
    pub(in crate::db) order: Vec<usize>,
}

/// What is run for a statement, one after the other; what the last one gives counts.
pub(in crate::db) fn translate(statement: &Statement, flavor: Flavor) -> Vec<Translated> {
    match crate::statements::mariadb_variant(statement.name) {
        Some(variant) => variant.sql.iter().map(|sql| text(sql, flavor)).collect(),
        None => vec![text(statement.sql, flavor)],
    }
}

fn text(sql: &str, flavor: Flavor) -> Translated {
    let sql = sql.trim_end().strip_suffix("returning id").unwrap_or(sql).trim_end().to_owned();
    let sql = upserts(sql);
    let sql = pairs(sql);
    let sql = sources(sql).replace(" as bigint)", " as signed)");
    parameters(&flavor.in_its_words(&sql))
}

/// `on conflict` in MariaDB's words.
fn upserts(sql: String) -> String {
    let Some((insert, conflict)) = sql.split_once("on conflict (") else { return sql };
    let Some((_, update)) = conflict.split_once("do update") else { return sql };
    let Some((_, assignments)) = update.split_once("set ") else { return sql };
    let mut out = format!("{insert}on duplicate key update ");
    let mut rest = assignments;
    while let Some((before, after)) = rest.split_once("excluded.") {
        let end = after.find(|c: char| !is_name(c)).unwrap_or(after.len());
        let (column, behind) = after.split_at(end);
        out.push_str(before);
        out.push_str("values(");
        out.push_str(column);
        out.push(')');
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// Bounds of pairs, with a range of their first part beside them.
fn pairs(sql: String) -> String {
    const BOUNDS: &str = ") > ($1, $2) and (";
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql.as_str();
    while let Some(place) = rest.find(BOUNDS) {
        let Some(open) = rest[..place].rfind('(') else { break };
        let Some((key, _)) = rest[open + 1..place].split_once(", ") else { break };
        let end = place + BOUNDS.len();
        let range = format!("{key} >= $1 and {key} <= $3 and ");
        out.extend([&rest[..open], range.as_str(), &rest[open..end]]);
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// What stands in `from` like a table, and is one that the statement makes itself.
fn sources(sql: String) -> String {
    let list = |parameter: &str| rows(parameter, "\"key\"", "value varchar(3000)");
    // SQLite counts from 0.
    let sql = each_call(&sql, "json_each(", list).replace(" j.key", " j.\"key\" - 1");
    each_call(&sql, "posts_search(", found)
}

/// A JSON array of texts as a table, a row for each.
fn rows(list: &str, place: &str, value: &str) -> String {
    format!("json_table({list}, '$[*]' columns ({place} for ordinality, {value} collate {COLLATION} path '$'))")
}

/// The posts that have all words of an expression, `"ink on stone" AND "pres" *`, each in a row.
///
/// The expression is made into a list of its terms and those into lists of their words, which hold
/// neither quotes nor signs; a word that may go on keeps the `*` at its end. Each word is a stretch
/// of the index; those of a phrase count where the texts have the phrase. No subquery refers to
/// what is around it: MariaDB 10.11 forgets what that is when such a statement is run again.
fn found(parameter: &str) -> String {
    // U+10FFFF: no word has a greater character.
    const LAST: &str = "_utf8mb4 x'F48FBFBF'";
    let terms = format!("replace(replace({parameter}, '\" *', '*\"'), '\" AND \"', '\",\"')");
    let all_words = rows(&format!("concat('[', replace({terms}, ' ', '\",\"'), ']')"), "place", "word varchar(1000)");
    let terms = rows(&format!("concat('[', {terms}, ']')"), "place", "term varchar(1000)");
    let words = rows("concat('[\"', replace(t.term, ' ', '\",\"'), '\"]')", "place", "word varchar(1000)");
    format!(
        "(select x.rowid
          from (select t.place * 1000 + w.place as place,
                       trim(trailing '*' from w.word) as low,
                       case when w.word like '%*' then concat(trim(trailing '*' from w.word), {LAST})
                            else w.word end as high,
                       case when t.term like '% %' then concat(' ', trim(trailing '*' from t.term),
                                                               case when t.term like '%*' then '' else ' ' end)
                            end as phrase
                from {terms} t
                cross join {words} w
                limit 1000) v
          straight_join posts_words x
          left join posts_search p on v.phrase is not null and p.rowid = x.rowid
          where x.word >= v.low and x.word <= v.high
            and (v.phrase is null
                 or locate(v.phrase, concat(' ', p.title, ' ')) > 0
                 or locate(v.phrase, concat(' ', p.excerpt, ' ')) > 0
                 or locate(v.phrase, concat(' ', p.body, ' ')) > 0)
          group by x.rowid
          having count(distinct v.place) = (select count(*) from {all_words} n))"
    )
}

/// Replaces each call of a function with a parameter, `name($1)`.
fn each_call(sql: &str, name: &str, becomes: impl Fn(&str) -> String) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(place) = rest.find(name) {
        let (before, after) = rest.split_at(place + name.len());
        match after.split_once(')') {
            Some((parameter, behind)) if parameter.starts_with('$') => {
                out.push_str(&before[..place]);
                out.push_str(&becomes(parameter));
                rest = behind;
            }
            _ => {
                out.push_str(before);
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Question marks for numbered parameters. A `$` that no digit follows is the root of a JSON path.
fn parameters(sql: &str) -> Translated {
    let (mut out, mut order) = (String::with_capacity(sql.len()), Vec::new());
    let mut rest = sql;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let (number, behind) = after.split_at(end);
        if let Ok(number @ 1..) = number.parse::<usize>() {
            order.push(number - 1);
            out.push('?');
        } else {
            out.push('$');
            out.push_str(number);
        }
        rest = behind;
    }
    out.push_str(rest);
    Translated { sql: out, order }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maria(sql: &str) -> (String, Vec<usize>) {
        let Translated { sql, order } = text(sql, Flavor::MariaDb);
        (sql, order)
    }

    #[test]
    fn parameters_stand_where_they_are_used_as_often_as_they_are() {
        assert_eq!(maria("select $2, $1, $2"), ("select ?, ?, ?".to_owned(), vec![1, 0, 1]));
        assert_eq!(maria("select $12"), ("select ?".to_owned(), vec![11]));
        assert_eq!(maria("select json_value('{}', '$.a')"), ("select json_value('{}', '$.a')".to_owned(), vec![]));
    }

    #[test]
    fn an_upsert_is_said_in_other_words() {
        let (sql, _) = maria("insert into a (b, c)\n values ($1, $2)\n on conflict (b) do update\n set c = excluded.c");
        assert_eq!(sql, "insert into a (b, c)\n values (?, ?)\n on duplicate key update c = values(c)");
    }

    #[test]
    fn an_id_is_not_asked_back() {
        assert_eq!(maria("insert into a (b) values ($1)\n returning id").0, "insert into a (b) values (?)");
        assert_eq!(maria("select returning id from a").0, "select returning id from a");
    }

    #[test]
    fn bounds_of_pairs_get_a_range() {
        let (sql, order) = maria("where (l.t, l.id) > ($1, $2) and (l.t, l.id) < ($3, $4)");
        assert_eq!(sql, "where l.t >= ? and l.t <= ? and (l.t, l.id) > (?, ?) and (l.t, l.id) < (?, ?)");
        assert_eq!(order, [0, 2, 0, 1, 2, 3]);
    }

    #[test]
    fn lists_come_as_tables_and_keep_their_numbers() {
        let (sql, order) = maria("select cast(j.value as bigint), j.key from json_each($3) j where j.value = $1");
        assert!(sql.starts_with("select cast(j.value as signed), j.\"key\" - 1 from json_table(?, '$[*]'"), "{sql}");
        assert!(sql.ends_with(" path '$')) j where j.value = ?"), "{sql}");
        assert_eq!(order, [2, 0]);
        assert_eq!(text("json_each($1)", Flavor::MySql).sql.matches("utf8mb4_0900_bin").count(), 1);
    }

    #[test]
    fn only_the_search_is_a_search() {
        for sql in ["insert into posts_search (rowid) values (?)", "delete from posts_search where rowid = ?"] {
            assert_eq!(maria(sql).0, sql);
        }
        assert!(maria("from posts_search($7) s").1.iter().all(|place| *place == 6));
    }
}
