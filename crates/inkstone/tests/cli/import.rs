//! `inkstone import`.

use super::Home;

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
