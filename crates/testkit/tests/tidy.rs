//! The tidy test: what the house rules ask of every file and manifest. Its limits only tighten.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

use std::fs;
use std::path::{Path, PathBuf};

/// Longest source file (HOUSE: about 500).
const LINES_MAX: usize = 600;

/// Which crates of ours each may depend on (docs/architecture.md). Dev-dependencies are free but for the last rule below.
const MAY_DEPEND: [(&str, &[&str]); 16] = [
    ("fhir", &[]),
    ("domain", &["fhir"]),
    ("policy", &["fhir", "domain"]),
    ("orgpolicy", &["fhir", "domain"]),
    ("deid", &["fhir"]),
    ("oauth", &["fhir", "domain"]),
    ("vault", &["fhir", "domain"]),
    ("webauthn", &[]),
    ("ledger", &[]),
    ("store", &["fhir", "domain", "ledger", "vault"]),
    ("server", &["fhir", "domain", "policy", "orgpolicy", "deid", "oauth", "vault", "webauthn", "ledger", "store"]),
    (
        "hilum",
        &[
            "fhir",
            "domain",
            "policy",
            "orgpolicy",
            "deid",
            "oauth",
            "vault",
            "ledger",
            "store",
            "server",
            "demo-ehr",
            "conformance",
        ],
    ),
    ("demo-ehr", &["fhir"]),
    // An independent reading of the standards: what it shared with the server, it could not find wrong there.
    ("conformance", &[]),
    ("testkit", &["fhir", "domain", "policy"]),
    ("xtask", &[]),
];

/// No runtime, sockets, files, environment, clock or global random source.
const PURE: [&str; 9] = ["fhir", "domain", "policy", "orgpolicy", "deid", "oauth", "vault", "webauthn", "ledger"];
const FORBIDDEN_IN_PURE: [&str; 13] = [
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant",
    "tokio",
    "hyper",
    "aws_lc_rs::rand",
    "SystemRandom",
    "thread_rng",
    "getrandom",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.map(Result::unwrap) {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["target", ".git", ".cache", "node_modules", "corpus", "artifacts"].contains(&name.as_str()) {
                sources(&path, out);
            }
        } else if name.ends_with(".rs") {
            out.push(path);
        }
    }
}

fn manifest_dir(name: &str) -> PathBuf {
    if name == "xtask" { root().join("xtask") } else { root().join("crates").join(name) }
}

/// Names in one section of a manifest.
fn dependencies(manifest: &str, section: &str) -> Vec<String> {
    let mut inside = false;
    let mut out = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line == format!("[{section}]");
        } else if inside && let Some(name) = line.split(['.', ' ', '=']).next().filter(|name| !name.is_empty()) {
            out.push(name.to_owned());
        }
    }
    out
}

#[test]
fn crates_depend_in_the_allowed_direction_only() {
    let ours: Vec<&str> = MAY_DEPEND.iter().map(|(name, _)| *name).collect();
    let mut wrong = Vec::new();
    for (name, allowed) in MAY_DEPEND {
        let manifest = fs::read_to_string(manifest_dir(name).join("Cargo.toml")).unwrap();
        for dependency in dependencies(&manifest, "dependencies") {
            if ours.contains(&dependency.as_str()) && !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("{name} -> {dependency}"));
            }
        }
    }
    assert!(wrong.is_empty(), "not in docs/architecture.md: {wrong:?}");
    for entry in fs::read_dir(root().join("crates")).unwrap().map(Result::unwrap) {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(ours.contains(&name.as_str()), "crate `{name}` has no row in this table");
    }
}

#[test]
fn pure_crates_touch_nothing_outside_themselves() {
    let mut wrong = Vec::new();
    for name in PURE {
        let manifest = fs::read_to_string(manifest_dir(name).join("Cargo.toml")).unwrap();
        for dependency in dependencies(&manifest, "dependencies") {
            assert!(
                !["tokio", "hyper", "sqlx", "axum", "reqwest", "rand"].contains(&dependency.as_str()),
                "{name} -> {dependency}"
            );
        }
        let mut files = Vec::new();
        sources(&manifest_dir(name).join("src"), &mut files);
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            for (number, line) in code.enumerate() {
                if let Some(word) = FORBIDDEN_IN_PURE.iter().find(|word| line.contains(**word)) {
                    wrong.push(format!("{}: `{word}` in code line {}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_is_short_says_what_it_owns_and_holds_no_stub() {
    let mut files = Vec::new();
    for folder in ["crates", "xtask", "bench", "interop", "fuzz"] {
        sources(&root().join(folder), &mut files);
    }
    assert!(files.len() > 40, "found only {} files", files.len());
    let stub = ["todo", "unimplemented"].map(|name| format!("{name}!("));
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let shown = file.strip_prefix(root()).unwrap().display().to_string();
        let lines = text.lines().count();
        if lines > LINES_MAX {
            wrong.push(format!("{shown}: {lines} lines, at most {LINES_MAX}"));
        }
        // A compile-fail case is shown to people by the error it gives; it needs no heading.
        if !shown.contains("/ui/") && !text.starts_with("//!") && !text.starts_with("#!") {
            wrong.push(format!("{shown}: does not open with `//!` and what it owns"));
        }
        if stub.iter().any(|stub| text.contains(stub)) {
            wrong.push(format!("{shown}: holds a stub"));
        }
        if text.lines().any(|line| line.trim() == "#[ignore]") {
            wrong.push(format!("{shown}: an ignored test without a reason"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn manifests_share_the_house_lints() {
    for (name, _) in MAY_DEPEND.iter().filter(|(name, _)| *name != "xtask") {
        let manifest = fs::read_to_string(manifest_dir(name).join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name} does not use the workspace lints");
    }
}
