//! `inkstone import`.

use inkstone_testkit::Inkstone;

use super::{BINARY, Home};

#[test]
fn a_folder_is_imported_and_the_report_says_what_was_done() {
    let home = Home::new();
    let folder = home.path().join("content");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("one.md"), "---\ntitle: One\ndate: 2020-01-01\nlayout: post\n---\nText\n").unwrap();
    let dir = folder.to_str().unwrap();

    let dry = home.run(&["import", "markdown", dir, "--dry-run"]).ok();
    assert!(dry.starts_with("1 files: 1 created (dry run: nothing was written)\n"), "{dry}");
    assert!(!home.data_dir().exists(), "nothing was made so far");

    let text = home.run(&["import", "markdown", dir]).ok();
    assert!(text.starts_with("1 files: 1 created\n  1 published, 0 drafts\n  1 authors, 1 of them new\n"), "{text}");
    assert!(text.contains("Fields that were not understood:\n  layout (1)\n"), "{text}");
    let again = home.run(&["import", "markdown", dir, "--json"]).json();
    assert_eq!((&again["created"], &again["unchanged"]), (&0.into(), &1.into()));
}

#[tokio::test]
async fn an_old_address_that_is_too_long_is_left_out_and_said() {
    let server = Inkstone::start(BINARY);
    let folder = server.home().path().join("content");
    std::fs::create_dir(&folder).unwrap();
    // One character of two bytes, so that characters are not what is counted.
    let (fits, too_long) = (format!("\u{e9}{}", "a".repeat(1022)), "b".repeat(1025));
    let page = format!("---\ntitle: One\ndate: 2020-01-01\naliases:\n- /{fits}/\n- /{too_long}\n- /short\n---\nText\n");
    std::fs::write(folder.join("one.md"), page).unwrap();
    let import = server.cli(&["import", "markdown", folder.to_str().unwrap()]);
    let said = String::from_utf8(import.stdout).unwrap();
    assert!(said.starts_with("1 files: 1 created\n"), "{said}");
    assert!(said.contains("has an address that is too long to keep (1):\n  one.md\n"), "{said}");
    for (path, status) in [(fits.as_str(), 308), ("/short", 308), (&too_long, 400), (&too_long[1..], 404)] {
        let answer = server.client().get(&format!("/api/v2/posts/by-path?path={path}")).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
    }
}

#[test]
fn what_is_skipped_is_named_and_shows_in_the_exit_code() {
    let home = Home::new();
    let folder = home.path().join("content");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("good.md"), "+++\ntitle = \"Good\"\ndate = 2020-01-01\n+++\n").unwrap();
    std::fs::write(folder.join("bad.md"), "+++\ntitle = \"Bad\"\noh no\n+++\n").unwrap();
    let dir = folder.to_str().unwrap();
    let outcome = home.run(&["import", "markdown", dir]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.out.starts_with("2 files: 1 created, 1 skipped\n"), "{outcome:?}");
    assert!(outcome.out.contains("Skipped:\n  bad.md:3: "), "{outcome:?}");

    home.run(&["import", "markdown", "/does/not/exist"]).fails(2, &["is not a folder"]);
    home.run(&["import", "markdown"]).fails(2, &["DIR"]);
}
