//! Every statement fits the schema, and none of them goes through a large table.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeSet;

use inkstone_store::db::check::{Plan, plans};
use inkstone_store::statements;

/// Statements that may go through a whole table, and why.
const SCANS: &[(&str, &str)] = &[
    ("users.any_can_sign_in", "stops at the first account with a password; asked while nobody has signed in yet"),
    ("users.count", "for administrators; people are few, and an index is enough"),
    ("tags.count", "tags are few, and an index is enough"),
    ("signing_keys.list", "there are three or four keys"),
    ("personal_tokens.list_all", "for administrators; walks along the key and stops at its limit"),
];

/// Lists that sort what they found, and why.
const SORTS: &[(&str, &str)] = &[
    ("posts.list_tag_", "other orders than by publication read one tag's posts, not the blog"),
    ("posts.list_author_", "other orders than by publication read one person's posts, not the blog"),
    ("posts.list_found_", "the index of words knows no orders; reads the posts that have the words, not the blog"),
];

fn is_walk(statement: &str) -> bool {
    ["posts.list_tag_published_", "posts.list_author_published_"].iter().any(|start| statement.starts_with(start))
}

/// A step that reads all of something that can be large. The list that came with the request is
/// small, and so is the page of ids that the inner part of a list of posts gives to the outer.
fn is_scan(plan: &Plan, step: &str) -> bool {
    let is_page = step == "SCAN k" && plan.steps.iter().any(|step| step == "MATERIALIZE k");
    // The index of words, asked for words (`M`) or for one post (`=`).
    let is_lookup = [":M", ":="].iter().any(|how| step.contains(" VIRTUAL TABLE INDEX ") && step.contains(how));
    step.starts_with("SCAN ") && !step.starts_with("SCAN j VIRTUAL TABLE") && !is_page && !is_lookup
}

fn all() -> Vec<Plan> {
    plans(&statements()).unwrap()
}

#[test]
fn every_statement_has_a_name_of_its_own() {
    let statements = statements();
    let names: BTreeSet<_> = statements.iter().map(|statement| statement.name).collect();
    assert_eq!(names.len(), statements.len());
    assert!(statements.len() > 100, "{}", statements.len());
}

#[test]
fn no_statement_goes_through_a_large_table() {
    for plan in all() {
        let scans: Vec<_> = plan.steps.iter().filter(|step| is_scan(&plan, step)).collect();
        let allowed = SCANS.iter().any(|(name, _)| *name == plan.statement);
        assert_eq!(!scans.is_empty(), allowed, "{}: {:#?}", plan.statement, plan.steps);
    }
}

#[test]
fn no_public_list_is_sorted() {
    for plan in all() {
        let sorts = plan.steps.iter().any(|step| step.contains("TEMP B-TREE"));
        let allowed = SORTS.iter().any(|(start, _)| plan.statement.starts_with(start)) && !is_walk(plan.statement);
        assert_eq!(sorts, allowed, "{}: {:#?}", plan.statement, plan.steps);
    }
}

#[test]
fn lists_read_bodies_in_no_case() {
    for plan in all().iter().filter(|plan| plan.statement.starts_with("posts.list_")) {
        assert!(plan.steps.iter().all(|step| !step.contains("revisions")), "{}", plan.statement);
    }
}

#[test]
fn pages_walk_along_an_index_that_covers_them() {
    for plan in all().iter().filter(|plan| plan.statement.starts_with("posts.list_")) {
        if SORTS.iter().any(|(start, _)| plan.statement.starts_with(start)) && !is_walk(plan.statement) {
            continue;
        }
        let walks = plan.steps.iter().filter(|step| step.starts_with("SEARCH l USING COVERING INDEX")).count();
        assert_eq!(walks, 1, "{}: {:#?}", plan.statement, plan.steps);
    }
}
