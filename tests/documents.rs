//! What the documents name is there, and what the sources must not have is not.

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

/// The predicates of every `cfg` in `source`: the text in its parentheses, of `cfg_attr` the first part.
fn predicates(source: &str) -> Vec<&str> {
    let starts = ["cfg(", "cfg!(", "cfg_attr("];
    let found = starts.iter().flat_map(|start| source.match_indices(start));
    let predicate = |(at, start): (usize, &str)| {
        let rest = &source[at + start.len()..];
        let mut depth = 0;
        let end = rest.find(|c| match c {
            '(' => {
                depth += 1;
                false
            }
            ')' if depth > 0 => {
                depth -= 1;
                false
            }
            ')' => true,
            ',' => depth == 0 && start == "cfg_attr(",
            _ => false,
        });
        &rest[..end.unwrap()]
    };
    found.map(predicate).collect()
}

/// The names in a predicate that are set from outside, but for those of the compiler and of cargo.
fn plain_names(predicate: &str) -> Vec<&str> {
    const KNOWN: [&str; 10] = [
        "all",
        "any",
        "debug_assertions",
        "doctest",
        "feature",
        "not",
        "target_arch",
        "target_os",
        "test",
        "unix",
    ];
    // Every other part is a text in quotes.
    let outside = predicate.split('"').step_by(2);
    let words = outside.flat_map(|part| part.split(|c: char| !c.is_alphanumeric() && c != '_'));
    let named = |word: &&str| !word.is_empty() && !KNOWN.contains(word);
    words.filter(named).filter(|word| !word.starts_with("nodeseal_")).collect()
}

/// `RUSTFLAGS` reach every crate of a build: a name that others may use as well must change nothing here.
#[test]
fn every_cfg_of_the_sources_is_the_compilers_or_bears_the_crates_name() {
    assert_eq!(plain_names(r#"all(unsealed, not(feature = "x"))"#), ["unsealed"]);
    assert_eq!(predicates("#[cfg_attr(a, path = \"(\")] cfg!(all(b, c))"), ["all(b, c)", "a"]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = String::new();
    sources(&root.join("src"), &mut all);
    sources(&root.join("crates/nodeseal-cli/src"), &mut all);
    let found = predicates(&all);
    assert!(found.len() > 200, "{}", found.len());
    let plain: Vec<&str> = found.into_iter().flat_map(plain_names).collect();
    assert!(plain.is_empty(), "{plain:?}");
    assert!(!all.contains("benches/"), "the sources know of a benchmark");
}
