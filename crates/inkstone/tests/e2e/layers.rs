//! The layers are what `ARCHITECTURE.md` says: its table against `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

#[test]
fn crates_depend_on_what_the_table_allows() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let real: BTreeMap<String, BTreeSet<String>> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let ours = dependencies
                .filter(|dependency| dependency["kind"].is_null())
                .filter_map(|dependency| dependency["name"].as_str()?.strip_prefix("inkstone-").map(str::to_owned));
            (package["name"].as_str().unwrap().to_owned(), ours.collect())
        })
        .collect();
    let text = std::fs::read_to_string(format!("{root}/ARCHITECTURE.md")).unwrap();
    let mut table = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `inkstone")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let name = cells[1].trim_matches('`').to_owned();
        let allowed: BTreeSet<String> = match cells[3] {
            "all of them" => real
                .keys()
                .filter_map(|name| name.strip_prefix("inkstone-"))
                .filter(|name| *name != "testkit")
                .map(str::to_owned)
                .collect(),
            cell => cell.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect(),
        };
        table.insert(name, allowed);
    }
    assert_eq!(real.keys().collect::<Vec<_>>(), table.keys().collect::<Vec<_>>(), "every crate has a row");
    for (name, ours) in &real {
        assert!(ours.is_subset(&table[name]), "{name} depends on {ours:?}, the table allows {:?}", table[name]);
    }
}
