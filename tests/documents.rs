//! What the documents name is there.

#![allow(clippy::unwrap_used, reason = "the helpers belong to the tests")]

use std::fs;
use std::path::Path;

fn sources(dir: &Path, found: &mut String) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

/// All Rust that may hold tests.
fn all_sources(root: &Path) -> String {
    let mut all = String::new();
    for dir in ["src", "tests", "crates"] {
        sources(&root.join(dir), &mut all);
    }
    all
}

/// Fails unless each of the names in the last column of a table's row is a test.
fn all_exist(row: &str, all: &str) {
    let tests = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
    for name in tests.split(", ").map(|name| name.trim_matches('`')) {
        assert!(all.contains(&format!("fn {name}(")), "{row}: {name}");
    }
}

#[test]
fn every_test_that_holds_a_claim_about_durability_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let all = all_sources(root);
    let page = fs::read_to_string(root.join("docs/durability.md")).unwrap();
    let rows: Vec<&str> = page.lines().filter(|row| row.ends_with("` |")).collect();
    assert!(rows.len() > 25, "{}", rows.len());
    rows.iter().for_each(|row| all_exist(row, &all));
}

#[test]
fn every_test_that_shows_a_weakness_closed_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let all = all_sources(root);
    let table = fs::read_to_string(root.join("docs/swarm-weaknesses.md")).unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| W")).collect();
    assert_eq!(rows.len(), 25);
    for (n, row) in rows.iter().enumerate() {
        assert!(row.starts_with(&format!("| W{} |", n + 1)), "{row}");
        all_exist(row, &all);
    }
}
