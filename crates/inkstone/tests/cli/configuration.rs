//! `inkstone config`, and where settings come from.

use super::Home;

#[test]
fn the_printed_defaults_are_a_valid_configuration() {
    let home = Home::new();
    let text = home.run(&["config", "default"]).ok();
    assert!(text.contains("[server.limits]"));
    let file = home.path().join("all.toml");
    std::fs::write(&file, text).unwrap();
    let said = home.run(&["config", "check", "--config", file.to_str().unwrap()]).ok();
    assert!(said.contains("valid") && said.contains("all.toml"), "{said}");
}

#[test]
fn what_is_wrong_is_said_all_at_once_with_its_place_and_the_nearest_name() {
    let home = Home::new();
    let file = home.path().join("site.toml");
    std::fs::write(&file, "[server]\nlisen = \"127.0.0.1:1\"\n\n[log]\nformat = \"jsn\"\n").unwrap();
    let file = file.to_str().unwrap();
    let expected = [
        "site.toml:2",
        "Did you mean server.listen?",
        "site.toml:5",
        "Did you mean \"json\"?",
        "INKSTONE__STORE__READER)",
    ];
    let env = [("INKSTONE__STORE__READER", "1")];
    home.run_with(&["config", "check", "--config", file], "", &env).fails(2, &expected);
    // The same faults for programs, and before anything is done by any other command.
    let outcome = home.run_with(&["config", "check", "--json", "--config", file], "", &env);
    let report: serde_json::Value = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!((outcome.code, &report["valid"]), (2, &false.into()));
    assert_eq!(report["faults"].as_array().unwrap().len(), 3);
    assert_eq!(report["faults"][0]["setting"], "server.lisen");
    home.run_with(&["serve", "--config", file], "", &env).fails(2, &expected);
    home.run_with(&["user", "list", "--config", file], "", &env).fails(2, &expected);
    assert!(!home.data_dir().exists());
}

#[test]
fn settings_in_effect_are_shown_with_where_they_come_from() {
    let home = Home::new();
    std::fs::create_dir(home.data_dir()).unwrap();
    std::fs::write(home.data_dir().join("inkstone.toml"), "[http]\nbody_bytes = \"2 MiB\"\n").unwrap();
    let env = [("INKSTONE__LOG__FILTER", "warn")];
    let shown = home.run_with(&["config", "show", "--json", "--set", "server.threads=3"], "", &env).json();
    let line = |setting: &str| {
        let line = shown.as_array().unwrap().iter().find(|line| line["setting"] == setting).unwrap();
        (line["value"].as_str().unwrap().to_owned(), line["origin"].as_str().unwrap().to_owned())
    };
    let (value, origin) = line("http.body_bytes");
    assert_eq!(value, "\"2 MiB\"");
    assert!(origin.ends_with("data/inkstone.toml:2"), "{origin}");
    assert_eq!(line("log.filter"), ("\"warn\"".to_owned(), "INKSTONE__LOG__FILTER".to_owned()));
    assert_eq!(line("server.threads"), ("3".to_owned(), "--set".to_owned()));
    assert_eq!(line("server.listen"), ("\"127.0.0.1:8080\"".to_owned(), "default".to_owned()));
    assert_eq!(line("store.data_dir").1, "INKSTONE_DATA_DIR");
    let text = home.run_with(&["config", "show"], "", &env).ok();
    let line = text.lines().find(|line| line.starts_with("log.filter")).unwrap();
    assert!(line.ends_with("# INKSTONE__LOG__FILTER"), "{line}");
}

#[test]
fn a_database_may_stand_in_a_file_and_never_be_lost_on_the_way() {
    let home = Home::new();
    let file = home.path().join("database");
    let place = format!("@{}", file.display());
    std::fs::write(&file, "postgres://ink:sesame@localhost/blog\n").unwrap();
    let shown = home.run(&["config", "show", "--database", &place]).ok();
    assert!(shown.contains("store.url = \"postgres://…@localhost/blog\"") && !shown.contains("sesame"), "{shown}");
    std::fs::write(&file, "\n").unwrap();
    home.run(&["serve", "--database", &place]).fails(2, &["--database: ", "is empty"]);
    home.run(&["serve", "--database", "@/no/such/file"]).fails(2, &["--database: /no/such/file cannot be read"]);
    home.run(&["serve", "--database", ""]).fails(2, &["store.url (--database): is empty", "sqlite:"]);
    let named = [("INKSTONE__STORE__URL_FILE", file.to_str().unwrap())];
    home.run_with(&["serve"], "", &named).fails(2, &["named by INKSTONE__STORE__URL_FILE", "the file is empty"]);
    assert!(!home.data_dir().exists(), "no blog was made");
}
