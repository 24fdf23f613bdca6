//! The golden corpus: every resource at hand through the built-in profile, looked through by a scanner that knows nothing of
//! how it was done.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout, missing_docs)]

#[path = "support/scan.rs"]
mod scan;
mod support;

use std::fs;

use deid::SeededSurrogates;
use scan::{Findings, Secrets};
use serde_json::Value;
use support::{safe_harbor, shared, with};

const FOLDERS: [&str; 6] = [
    "spec-examples-r4",
    "synthea-r4-2019",
    "synthea-uscore-2021",
    "uscore-inferno",
    "smart-scope-fixtures-microsoft",
    "bulk-ndjson-2023",
];

/// Every resource of the corpus with where it is from: a file, or one line of NDJSON.
fn each(visit: &mut dyn FnMut(&str, &str)) -> usize {
    let mut count = 0;
    for folder in FOLDERS {
        let Some(folder) = shared(folder) else {
            println!("skipped: no shared data folder `{folder}` beside the repository");
            continue;
        };
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            let text = fs::read_to_string(&file).unwrap();
            if name.ends_with(".ndjson") {
                for line in text.lines().filter(|line| line.contains("\"resourceType\"")) {
                    visit(&name, line);
                    count += 1;
                }
            } else if name.ends_with(".json") {
                visit(&name, &text);
                count += 1;
            }
        }
    }
    count
}

#[test]
fn nothing_that_identifies_leaves_the_corpus() {
    let profile = safe_harbor();
    let (mut findings, mut secrets_seen, mut bytes, mut refused) = (Findings::default(), 0, (0, 0), 0);
    let mut counts = deid::Counts::default();
    let count = each(&mut |name, text| {
        let done = match with(&profile, text, &mut SeededSurrogates::new(1)) {
            Ok(done) => done,
            Err(why) => {
                println!("{name}: refused: {why}");
                refused += 1;
                return;
            }
        };
        let mut secrets = Secrets::default();
        secrets.collect(&serde_json::from_str(text).unwrap());
        secrets_seen += secrets.len();
        let output: Value = serde_json::from_slice(&done.bytes).unwrap();
        findings.look(&secrets, name, "", &output);
        bytes = (bytes.0 + text.len(), bytes.1 + done.bytes.len());
        counts.kept += done.report.counts.kept;
        counts.known += done.report.counts.known;
        counts.dropped += done.report.counts.dropped;
        counts.not_understood += done.report.counts.not_understood;
        counts.generalized += done.report.counts.generalized;
        counts.surrogates += done.report.counts.surrogates;
    });
    if count == 0 {
        return;
    }
    println!(
        "{count} resources ({refused} refused), {} of {} bytes left, {secrets_seen} secrets looked for in {} strings; \
         left: {} codings, {} quantities, {} codes, {} years; {counts:?}",
        bytes.1, bytes.0, findings.strings, findings.codings, findings.quantities, findings.codes, findings.years
    );
    let shown: Vec<_> = findings.found.iter().take(40).collect();
    assert!(findings.found.is_empty(), "{} findings: {shown:#?}", findings.found.len());
    // What leaves is no empty shell, and what was looked for was there.
    assert!(findings.codings > 1_000 && findings.quantities > 1_000 && secrets_seen > 10_000);
    assert!(refused * 20 < count, "{refused} of {count} refused");
}

/// Puts `canary` in place of every text, but for what says which resource it is, and every second code system.
fn plant(value: &mut Value, name: &str, canary: &str, every: &mut u32) {
    match value {
        Value::String(text) if name == "resourceType" => assert!(!text.is_empty()),
        Value::String(_) if name == "system" && every.is_multiple_of(2) => *every += 1,
        Value::String(text) => {
            *every += 1;
            *text = match *every % 3 {
                0 => canary.to_owned(),
                1 => format!("{text}{canary}"),
                _ => format!("{canary}{text}"),
            };
        }
        Value::Array(items) => items.iter_mut().for_each(|item| plant(item, name, canary, every)),
        Value::Object(members) => members.iter_mut().for_each(|(name, member)| plant(member, name, canary, every)),
        _ => {}
    }
}

#[test]
fn no_canary_in_any_text_of_the_examples_leaves() {
    let profile = safe_harbor();
    let Some(folder) = shared(FOLDERS[0]) else {
        println!("skipped: no shared data folder beside the repository");
        return;
    };
    let mut planted = 0;
    for file in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        for canary in ["Zanzibar", " zanzibar ", "zanzibar@x.example", "-ZANZIBAR1"] {
            let mut value: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
            let mut every = 0;
            plant(&mut value, "", canary, &mut every);
            planted += every;
            if let Ok(done) = with(&profile, &value.to_string(), &mut SeededSurrogates::new(1)) {
                let text = String::from_utf8(done.bytes).unwrap().to_lowercase();
                assert!(!text.contains("zanzibar"), "{}: {text}", file.display());
            }
        }
    }
    println!("{planted} canaries planted, none left");
    assert!(planted > 20_000, "{planted}");
}
