//! The documents say what is: `docs/limits.md` against the defaults, the constants and the tests;
//! `docs/operations.md` against what `/metrics` shows; `docs/operations/failure-modes.md` against the tests.
#![expect(clippy::unwrap_used, reason = "a test may stop at once")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use inkstone_core::page::{MAX_LIMIT, MAX_OFFSET};
use inkstone_core::posts::{Excerpt, ImportKey, MAX_AUTHORS, MAX_TAGS, Markdown, Title};
use inkstone_core::redirects::MAX_PATH_BYTES;
use inkstone_core::search::Search;
use inkstone_core::tags::{TagDescription, TagName};
use inkstone_core::text::Slug;
use inkstone_core::users::{Bio, DisplayName, Email, Handle, WebUrl};
use inkstone_testkit::services::Postgres;
use inkstone_testkit::{Inkstone, Options};
use serde_json::json;

use crate::BINARY;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// The sections of which every setting has a row.
const SECTIONS: [&str; 5] = ["server.limits.", "server.drain.", "store.", "cache.", "http."];
/// Of those, the ones that are about something else.
const ELSEWHERE: [&str; 3] = ["http.cors.", "http.v1.", "http.v2."];
const UNTESTED: &str = "not tested";

fn read(path: &str) -> String {
    std::fs::read_to_string(format!("{ROOT}/{path}")).unwrap()
}

/// The cells of every table row, without headings and rules.
fn rows(markdown: &str) -> Vec<Vec<&str>> {
    let lines = markdown.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---"));
    let cells = lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    cells.filter(|cells| !matches!(cells[0], "setting" | "what" | "metric")).collect()
}

/// What stands in backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The settings with their defaults, as the table writes them.
fn defaults() -> BTreeMap<String, String> {
    fn collect(prefix: &str, table: &toml::Table, found: &mut BTreeMap<String, String>) {
        for (key, value) in table {
            match value {
                toml::Value::Table(inner) => collect(&format!("{prefix}{key}."), inner, found),
                toml::Value::String(text) => drop(found.insert(format!("{prefix}{key}"), text.clone())),
                value => drop(found.insert(format!("{prefix}{key}"), value.to_string())),
            }
        }
    }
    let mut found = BTreeMap::new();
    collect("", &read("inkstone.default.toml").parse().unwrap(), &mut found);
    found
}

/// Whether a row is about a setting; `*` stands for one word.
fn is_meant(pattern: &str, setting: &str) -> bool {
    let (mut pattern, mut setting) = (pattern.split('.'), setting.split('.'));
    loop {
        match (pattern.next(), setting.next()) {
            (None, None) => return true,
            (Some(one), Some(other)) if one == "*" || one == other => {}
            _ => return false,
        }
    }
}

#[test]
fn every_limit_that_can_be_set_stands_in_the_table_with_its_default() {
    let (text, defaults) = (read("docs/limits.md"), defaults());
    let mut missing: BTreeSet<&str> = defaults
        .keys()
        .map(String::as_str)
        .filter(|name| SECTIONS.iter().any(|section| name.starts_with(section)))
        .filter(|name| !ELSEWHERE.iter().any(|section| name.starts_with(section)))
        .collect();
    assert!(missing.len() > 50, "the defaults were read");
    for cells in rows(text.split("\n## Fixed").next().unwrap()) {
        let [setting, default, ..] = cells[..] else { panic!("{cells:?}") };
        let (setting, default) = (quoted(setting)[0], quoted(default)[0]);
        let meant: Vec<_> = defaults.iter().filter(|(name, _)| is_meant(setting, name)).collect();
        assert!(!meant.is_empty(), "there is no setting {setting}");
        for (name, real) in meant {
            assert_eq!(default, real, "the default of {name}");
            missing.remove(name.as_str());
        }
    }
    assert!(missing.is_empty(), "docs/limits.md does not say what happens beyond {missing:?}");
}

#[test]
fn every_test_that_the_table_names_exists() {
    let text = read("docs/limits.md");
    let rows = rows(&text);
    assert!(rows.len() > 80, "the tables were read");
    assert_proven(&rows);
}

#[test]
fn every_failure_mode_has_a_test() {
    let text = read("docs/operations/failure-modes.md");
    let rows: Vec<Vec<&str>> = rows(&text).into_iter().filter(|cells| cells[0] != "what fails").collect();
    assert!(rows.len() > 15, "the tables were read");
    assert!(
        rows.iter().all(|cells| cells.len() == 5),
        "what fails, what users see, what is lost, how it recovers, proof"
    );
    assert_proven(&rows);
}

/// What prints figures does so where the script looks that writes them down.
#[test]
fn every_figure_is_where_the_battery_looks() {
    let (script, home) = (read("battery"), format!("{ROOT}/crates/inkstone/tests/e2e"));
    let modules: Vec<&str> = {
        let line = script.lines().find(|line| line.starts_with("MODULES = ")).unwrap();
        line.split('"').skip(1).step_by(2).collect()
    };
    let mut printing = 0;
    for entry in std::fs::read_dir(home).unwrap() {
        let path = entry.unwrap().path();
        let mut sources = String::new();
        collect_sources(&path, &mut sources);
        let name = path.file_stem().unwrap().to_str().unwrap();
        if sources.contains(concat!("println!(\"", "FIGURES ")) || sources.contains(concat!("Trial::", "begin(")) {
            assert!(modules.contains(&name), "./battery does not run the tests of {name}, which print figures");
            printing += 1;
        }
    }
    assert!(printing >= 3, "the sources were read");
}

/// The last cell of each row names tests that exist, or says that there are none.
fn assert_proven(rows: &[Vec<&str>]) {
    let mut sources = String::new();
    for directory in std::fs::read_dir(format!("{ROOT}/crates")).unwrap() {
        collect_sources(&directory.unwrap().path(), &mut sources);
    }
    for cells in rows {
        let [what, .., proof] = cells[..] else { panic!("{cells:?}") };
        assert!(proof == UNTESTED || !quoted(proof).is_empty(), "{what}: {proof:?}");
        for test in quoted(proof) {
            assert!(sources.contains(&format!("fn {test}(")), "{what}: there is no test {test}");
        }
    }
}

fn collect_sources(path: &Path, sources: &mut String) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            collect_sources(&entry.unwrap().path(), sources);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        sources.push_str(&std::fs::read_to_string(path).unwrap());
    }
}

#[test]
fn fixed_limits_are_what_the_table_says() {
    let text = read("docs/limits.md");
    let fixed = rows(text.split("\n## Fixed").nth(1).unwrap());
    let number = |what: &str| -> usize {
        let row = fixed.iter().find(|cells| cells[0] == what).unwrap_or_else(|| panic!("{what} has no row"));
        quoted(row[1])[0].parse().unwrap()
    };
    for (what, real) in [
        ("`limit`, `per_page`", MAX_LIMIT as usize),
        ("posts before a page of v1", usize::try_from(MAX_OFFSET).unwrap()),
        ("nesting of JSON", inkstone_http::extract::json::MAX_DEPTH),
        ("faults in one answer", inkstone_http::problem::MAX_FAULTS),
        ("query parameters", inkstone_http::extract::query::MAX_PARAMETERS),
        ("search (`q`)", Search::MAX_CHARS),
        ("words or phrases in a search", Search::MAX_TERMS),
        ("words in all of them", Search::MAX_WORDS),
        ("words with `*` in a search", Search::MAX_PREFIXES),
        ("cursor", inkstone_http::cursor::MAX_BYTES),
        ("entity tags in one header", inkstone_http::extract::conditional::MAX_TAGS),
        ("bearer token", inkstone_http::extract::call::MAX_TOKEN_BYTES),
        ("`Idempotency-Key`", inkstone_http::extract::idempotency::MAX_KEY_CHARS),
        ("`Inkstone-Change`", inkstone_http::changes::MAX_DIGITS),
        ("title of a post", Title::MAX_CHARS),
        ("Markdown of a post", Markdown::MAX_BYTES),
        ("excerpt", Excerpt::MAX_CHARS),
        ("slug", Slug::MAX_CHARS),
        ("tags of a post", MAX_TAGS),
        ("authors of a post", MAX_AUTHORS),
        ("name of a tag", TagName::MAX_CHARS),
        ("description of a tag", TagDescription::MAX_CHARS),
        ("handle", Handle::MAX_CHARS),
        ("e-mail address", Email::MAX_BYTES),
        ("display name", DisplayName::MAX_CHARS),
        ("biography", Bio::MAX_CHARS),
        ("address of a picture", WebUrl::MAX_BYTES),
        ("old path of an imported post", MAX_PATH_BYTES),
        ("name of a file that is imported, with its folders", ImportKey::MAX_KEY_CHARS),
        ("source of an import, with `markdown:` before its name", ImportKey::MAX_SOURCE_CHARS),
    ] {
        assert_eq!(number(what), real, "{what}");
    }
}

#[tokio::test]
async fn the_operations_guide_names_every_metric() {
    let set = |name: &str, value: &str| (format!("INKSTONE__{name}"), value.to_owned());
    // A shared cache and a replica have metrics whether or not anything listens where they should be.
    let database = Postgres::shared().url(&Postgres::shared().database());
    let env = vec![
        set("HTTP__RATE_LIMITS__AUTH__REQUESTS", "1"),
        set("CACHE__SHARED__URL", "redis://127.0.0.1:1"),
        set("STORE__URL", &database),
        set("STORE__REPLICAS", "postgres://127.0.0.1:1/blog"),
    ];
    let server = Inkstone::start_with(BINARY, Options { env, ..Options::default() });
    // What is only counted once it happened: a request, and one too many.
    for _ in 0..2 {
        server.client().post("/api/v2/auth/login", &json!({"login": "nobody", "password": "x"})).await;
    }
    let metrics = server.operations().get("/metrics").await.expect(200).text();
    let types = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let shown: BTreeSet<String> = types
        .map(|(name, kind)| match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        })
        .collect();
    let text = read("docs/operations.md");
    let named = rows(&text).into_iter().map(|cells| cells[0].trim_matches('`').to_owned());
    let named: BTreeSet<String> = named.filter(|name| name.starts_with("inkstone_")).collect();
    assert_eq!(shown, named);
}
