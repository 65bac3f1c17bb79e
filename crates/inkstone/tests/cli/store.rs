//! `inkstone store copy`.

use inkstone_testkit::Inkstone;
use inkstone_testkit::services::{MariaDb, Postgres};

use super::{BINARY, Home};

#[test]
fn a_blog_is_copied_to_another_directory_once() {
    let home = Home::new();
    home.run(&["user", "add", "ada", "--no-password"]).ok();
    let (from, to) = (home.data_dir().display().to_string(), home.path().join("other").display().to_string());
    let text = home.run(&["store", "copy", "--from", &from, "--to", &format!("sqlite:{to}")]).ok();
    assert!(text.starts_with("table             rows  sha256\nusers             1     "), "{text}");
    assert!(text.ends_with(" rows in 24 tables, the same in both.\n"), "{text}");
    assert!(text.contains(&format!("\nCopied {from}/inkstone.db to {to}/inkstone.db: ")), "{text}");
    let users = home.run(&["user", "list", "--json", "--data-dir", &to]).json();
    assert_eq!(users, home.run(&["user", "list", "--json"]).json());

    let again = ["store", "copy", "--from", &from, "--to", &to, "--json"];
    let report = home.run(&again).json();
    assert_eq!((&report["outcome"], &report["tables"][0]["rows"]), (&"unchanged".into(), &1.into()));
    assert_eq!(report["tables"][0]["sha256"].as_str().unwrap().len(), 64);
    let same = home.run(&["store", "copy", "--from", &from, "--to", &to, "--verify"]).ok();
    assert!(same.ends_with("Both are the same.\n"), "{same}");

    home.run(&["user", "add", "bob", "--no-password", "--data-dir", &to]).ok();
    home.run(&again).fails(1, &["is not empty: users (2)", "audit_log (2)", "hint: name a new database"]);
    let verify = home.run(&["store", "copy", "--from", &from, "--to", &to, "--verify"]);
    assert_eq!(verify.code, 1, "{verify:?}");
    assert!(
        verify.out.contains("DIFFERENT") && verify.err.contains("users, outbox, audit_log, counters"),
        "{verify:?}"
    );
    // The other way round a row is missing, and a number that it has could be given to another.
    let made = ["token", "create", "--user", "ada", "--name", "t", "--scopes", "read", "--data-dir", &to];
    home.run(&made).ok();
    let verify = home.run(&["store", "copy", "--from", &to, "--to", &from, "--verify"]);
    let said = verify.err.lines().next().unwrap();
    assert!(said.contains(": rows of users, outbox, "), "{said}");
    assert!(said.contains(", personal_tokens, ") && said.ends_with("; next numbers of personal_tokens"), "{said}");
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_made() {
    let home = Home::new();
    let to = home.path().join("other").display().to_string();
    let copy = |from: &str, to: &str| home.run(&["store", "copy", "--from", from, "--to", to]);
    copy("redis://host/blog", &to).fails(2, &["--from: must be postgres://", "mysql://", "sqlite:"]);
    copy(&to, "postgres://user:secret@host").fails(2, &["--to: ", "names no database"]);
    copy(&to, "mariadb://user:secret@host").fails(2, &["--to: ", "names no database"]);
    copy(&to, &format!("sqlite:{to}/inkstone.db")).fails(2, &["are the same database"]);
    copy("@/does/not/exist", &to).fails(2, &["--from: /does/not/exist cannot be read"]);
    copy(&to, "elsewhere").fails(1, &["there is no blog in", "--data-dir"]);
    home.run(&["store", "copy", "--from", &to]).fails(2, &["--to"]);
    home.run(&["store", "copy", "--from", &to, "--to", "x", "--verify", "--restart"]).fails(2, &["--restart"]);
    assert!(!home.path().join("other").exists());
}

#[test]
fn one_database_under_two_names_is_refused_and_two_are_not() {
    let home = Home::new();
    let copy = |from: &str, to: &str| home.run(&["store", "copy", "--from", from, "--to", to]);
    let is_one = "are the same database";
    let (postgres, mariadb) = (Postgres::shared(), MariaDb::shared());
    for [one, other, second] in [
        {
            let (name, second) = (postgres.database(), postgres.database());
            let other = postgres.url_through(&format!("localhost:{}", postgres.port()), &name);
            [postgres.url(&name), other, postgres.url(&second)]
        },
        {
            let (name, second) = (mariadb.database(), mariadb.database());
            let other = mariadb.url_through(&format!("localhost:{}", mariadb.port()), &name);
            [mariadb.url(&name), other, mariadb.url(&second)]
        },
    ] {
        home.run(&["migrate", "--database", &one]).ok();
        copy(&one, &other).fails(2, &[is_one]);
        copy(&other, &one).fails(2, &[is_one]);
        copy(&one, &second).ok();
    }
    // A file that has two names.
    home.run(&["user", "add", "ada", "--no-password"]).ok();
    let linked = home.path().join("linked");
    std::fs::create_dir(&linked).unwrap();
    std::fs::hard_link(home.data_dir().join("inkstone.db"), linked.join("inkstone.db")).unwrap();
    copy(&home.data_dir().display().to_string(), &linked.display().to_string()).fails(2, &[is_one]);
}

#[test]
fn nothing_is_copied_beside_a_server() {
    let server = Inkstone::start_with(BINARY, inkstone_testkit::Options::default().on_sqlite());
    let home = Home::new();
    home.run(&["user", "add", "ada", "--no-password"]).ok();
    let (mine, busy) = (home.data_dir().display().to_string(), server.data_dir().display().to_string());
    for (from, to) in [(&mine, &busy), (&busy, &mine)] {
        home.run(&["store", "copy", "--from", from, "--to", to])
            .fails(1, &["Another process", "is using the data directory", &busy, "Stop it first"]);
    }
}

#[test]
fn the_address_may_stand_in_a_file_and_its_password_is_never_shown() {
    let home = Home::new();
    home.run(&["user", "add", "ada", "--no-password"]).ok();
    let from = home.data_dir().display().to_string();
    let (postgres, file) = (Postgres::shared(), home.path().join("address"));
    let url = postgres.url(&postgres.database());
    let password = url.split([':', '@']).nth(2).unwrap().to_owned();
    std::fs::write(&file, format!("{url}\n")).unwrap();
    let to = format!("@{}", file.display());
    let text = home.run(&["store", "copy", "--from", &from, "--to", &to]).ok();
    assert!(text.contains("to postgres://") && !text.contains(&password), "{text}");
    let back = home.path().join("back").display().to_string();
    let report = home.run(&["store", "copy", "--from", &to, "--to", &back, "--json"]).json();
    assert_eq!(report["outcome"], "copied");
}

#[test]
fn an_older_source_is_refused_and_an_unfinished_copy_opens_for_nobody() {
    let home = Home::new();
    home.run(&["user", "add", "ada", "--no-password"]).ok();
    let (from, to) = (home.data_dir().display().to_string(), home.path().join("other").display().to_string());
    let postgres = Postgres::shared();
    let database = postgres.database();
    let url = postgres.url(&database);
    home.run(&["migrate", "--database", &url]).ok();
    postgres.sql(&database, "delete from schema_migrations where number > 1");
    home.run(&["store", "copy", "--from", &url, "--to", &to])
        .fails(1, &["is older than this program", "inkstone migrate"]);

    let database = postgres.database();
    let url = postgres.url(&database);
    home.run(&["migrate", "--database", &url]).ok();
    postgres.sql(&database, "insert into counters (name, value) values ('store.copy', 7)");
    let words = ["unfinished copy", "inkstone store copy"];
    home.run(&["user", "list", "--database", &url]).fails(1, &words);
    home.run(&["store", "copy", "--from", &from, "--to", &url]).fails(1, &["unfinished copy", "--restart"]);
    home.run(&["store", "copy", "--from", &url, "--to", &to]).fails(1, &words);
    home.run(&["store", "copy", "--from", &from, "--to", &url, "--restart"]).ok();
    home.run(&["user", "list", "--database", &url]).ok();
}
