//! `inkstone user` and `inkstone token`.

use super::Home;

const PASSWORD: &str = "a long phrase only for these tests\n";

#[test]
fn accounts_are_made_listed_and_changed() {
    let home = Home::new();
    let add = ["user", "add", "ada", "--role", "administrator", "--email", "Ada@Example.org", "--password-stdin"];
    assert_eq!(home.run_with(&add, PASSWORD, &[]).ok(), "Made account 1 (ada), an administrator.\n");
    let bob = home.run(&["user", "add", "bob", "--name", "Bob B.", "--no-password", "--json"]).json();
    assert_eq!((&bob["id"], &bob["role"], &bob["display_name"]), (&2.into(), &"author".into(), &"Bob B.".into()));

    // By handle, e-mail address and number.
    assert!(home.run(&["user", "set-role", "bob", "editor"]).ok().contains("an editor"));
    home.run(&["user", "disable", "2"]).ok();
    home.run_with(&["user", "set-password", "ada@example.org", "--password-stdin"], PASSWORD, &[]).ok();
    let listed = home.run(&["user", "list", "--json"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!((&listed[1]["role"], &listed[1]["disabled"]), (&"editor".into(), &true.into()));
    assert_eq!(listed[0]["email"], "Ada@Example.org");
    home.run(&["user", "enable", "bob"]).ok();
    let table = home.run(&["user", "list"]).ok();
    assert!(table.lines().count() == 3 && table.contains("Bob B.") && !table.contains("disabled"), "{table}");
}

#[test]
fn what_is_wrong_with_an_account_is_said_in_words_and_nothing_is_made() {
    let home = Home::new();
    home.run(&["user", "list"]).fails(1, &["there is no blog in", "--data-dir"]);
    home.run(&["user", "add", "ada"]).fails(1, &["no terminal", "--password-stdin"]);
    home.run_with(&["user", "add", "ada", "--password-stdin"], "", &[]).fails(1, &["no password on stdin"]);
    home.run_with(&["user", "add", "Ada!", "--email", "nobody", "--password-stdin"], PASSWORD, &[])
        .fails(1, &["handle: ", "email: "]);
    assert!(!home.data_dir().exists(), "nothing was made so far");
    home.run_with(&["user", "add", "ada", "--password-stdin"], "short\n", &[]).fails(1, &["At least 15 characters"]);
    home.run_with(&["user", "add", "ada", "--role", "king", "--password-stdin"], PASSWORD, &[])
        .fails(2, &["administrator"]);
    // A password is never an argument: it would stand in the list of processes.
    home.run(&["user", "add", "ada", "--password", "x"]).fails(2, &["unexpected argument"]);
    assert_eq!(home.run(&["user", "list", "--json"]).json(), serde_json::json!([]));

    home.run(&["user", "add", "ada", "--no-password"]).ok();
    home.run(&["user", "add", "ada", "--no-password"]).fails(1, &["handle: "]);
    home.run(&["user", "set-role", "eve", "author"]).fails(1, &["no account \"eve\"", "user list"]);
    home.run(&["user", "disable", "99"]).fails(1, &["no account \"99\""]);
}

#[test]
fn tokens_are_shown_once_listed_without_their_secret_and_ended() {
    let home = Home::new();
    home.run(&["user", "add", "ada", "--no-password"]).ok();
    let create =
        ["token", "create", "--user", "ada", "--name", "a build", "--scopes", "read,posts:write", "--expires", "30d"];
    let text = home.run(&create).ok();
    let secret = text.lines().next().unwrap().to_owned();
    assert!(secret.starts_with("ink_pat_") && text.contains("not shown again"), "{text}");
    let made = home.run(&[&create[..], &["--json"]].concat()).json();
    assert_eq!(made["scopes"], serde_json::json!(["read", "posts:write"]));
    assert_ne!(made["token"].as_str().unwrap(), secret);

    let listed = home.run(&["token", "list", "--json"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let text = format!("{listed}{}", home.run(&["token", "list", "--user", "ada"]).ok());
    assert!(text.contains("a build") && !text.contains(&secret), "{text}");
    assert!(text.contains(&secret[..12]), "its beginning, to recognise it by");

    home.run(&["token", "revoke", "1"]).ok();
    home.run(&["token", "revoke", "1"]).fails(1, &["no such personal token"]);
    let listed = home.run(&["token", "list", "--json"]).json();
    let status = |id: i64| listed.as_array().unwrap().iter().find(|token| token["id"] == id).unwrap()["status"].clone();
    assert_eq!((status(1), status(2)), ("revoked".into(), "live".into()));

    home.run(&["token", "create", "--user", "ada", "--name", "x", "--scopes", "write"]).fails(2, &["posts:write"]);
    home.run(&["token", "create", "--user", "ada", "--name", "x", "--expires", "soon"]).fails(2, &["90d"]);
    home.run(&["token", "create", "--user", "ada", "--name", "x", "--expires", "9999d"]).fails(1, &["366"]);
    home.run(&["token", "create", "--user", "eve", "--name", "x"]).fails(1, &["no account"]);
}
