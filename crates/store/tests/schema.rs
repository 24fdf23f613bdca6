//! The two migration folders say the same schema (HOUSE, "Storage").
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

use std::fs;
use std::path::Path;

fn texts(engine: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(engine);
    let mut out: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(path).unwrap())
        })
        .collect();
    out.sort();
    out
}

/// Statements without comments, words split by single spaces.
fn plain(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("--").next().unwrap_or_default());
    lines.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

#[test]
fn both_engines_get_one_schema() {
    let (sqlite, postgres) = (texts("sqlite"), texts("postgres"));
    assert!(!sqlite.is_empty());
    assert_eq!(sqlite.len(), postgres.len());
    for ((name, sqlite), (other, postgres)) in sqlite.iter().zip(&postgres) {
        assert_eq!(name, other);
        let sqlite = plain(sqlite);
        // STRICT tables refuse a value of another type; 64-bit numbers on both sides.
        for table in sqlite.split("CREATE TABLE").skip(1) {
            assert!(table.split(';').next().unwrap().ends_with(") STRICT"), "every SQLite table is STRICT: {table}");
        }
        let mapped = sqlite.replace(") STRICT;", ");").replace(" INTEGER", " BIGINT").replace(" BLOB", " BYTEA");
        assert_eq!(mapped, plain(postgres), "{name}");
        assert!(!plain(postgres).contains(" INTEGER"), "32 bits hold no time");
    }
}
