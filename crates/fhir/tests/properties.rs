//! What must hold for every request: reading never panics, and a canonical query has one meaning.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

use fhir::ResourceType;
use fhir::params::{self, ParamKind};
use fhir::references;
use fhir::request::{Interaction, Method, Raw, Search, read};
use proptest::prelude::*;

fn get<'a>(path: &'a str, query: &'a str) -> Raw<'a> {
    Raw::plain(Method::Get, path, Some(query))
}

fn search(path: &str, query: &str) -> Option<Search> {
    match read(&get(path, query)) {
        Ok(Interaction::Search(search)) => Some(search),
        _ => None,
    }
}

/// A value that fits `kind`, before escaping.
fn value(kind: ParamKind, name: &str, seed: &str) -> String {
    match kind {
        _ if name == "_id" => "P1".to_owned(),
        ParamKind::Reference => "Patient/P1".to_owned(),
        ParamKind::Date => "ge2020-01-31T10:00:00+01:00".to_owned(),
        ParamKind::Number => "lt1.50".to_owned(),
        ParamKind::Quantity => "gt5.4|http://unitsofmeasure.org|mg".to_owned(),
        _ => seed.to_owned(),
    }
}

fn encode_all(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// A type by number, and a query over some of its parameters, each byte encoded or not.
fn queries() -> impl Strategy<Value = (String, String)> {
    let pieces = proptest::collection::vec((any::<u16>(), "[a-zA-Z0-9 |,\\\\éß%&=+:;/$-]{1,12}", any::<bool>()), 0..6);
    let controls = proptest::sample::subsequence(
        vec![
            "_count=20",
            "_total=none",
            "_elements=code,status",
            "_pretty=true",
            "_format=json",
            "_sort=-_lastUpdated",
        ],
        0..=6,
    );
    (any::<u16>(), pieces, controls).prop_map(|(kind, pieces, controls)| {
        let kinds: Vec<ResourceType> = ResourceType::all().collect();
        let kind = kinds[usize::from(kind) % kinds.len()];
        let all = params::all(kind);
        let mut parts: Vec<String> = controls.into_iter().map(str::to_owned).collect();
        for (which, seed, encoded_key) in pieces {
            let param = &all[usize::from(which) % all.len()];
            let text = value(param.kind, param.name, &seed).replace('\\', "\\\\").replace(',', "\\,");
            let key = if encoded_key { encode_all(param.name) } else { param.name.to_owned() };
            parts.push(format!("{key}={}", encode_all(&text)));
        }
        (format!("/{kind}"), parts.join("&"))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reading_never_panics(path in "\\PC{0,80}", query in "\\PC{0,160}", accept in "\\PC{0,40}", method in 0..7u8) {
        let methods =
            [Method::Get, Method::Head, Method::Post, Method::Put, Method::Patch, Method::Delete, Method::Other];
        let raw = Raw { accept: Some(&accept), ..Raw::plain(methods[usize::from(method)], &path, Some(&query)) };
        let _outcome = read(&raw);
        let below = format!("/Observation/{path}");
        let _outcome = read(&get(&below, &query));
        let _outcome = read(&get("/Observation", &query));
        let _outcome = references::parse(&path);
    }

    #[test]
    fn query_like_bytes_never_panic(query in "[a-zA-Z_:.,=&%+\\\\0-9-]{0,200}") {
        if let Some(search) = search("/Observation", &query).filter(|search| search.inference.is_empty()) {
            let again = search_of(&search);
            prop_assert_eq!(again, Some(search));
        }
    }

    /// "No two meanings": what is written back reads as the same search, and writes back the same bytes.
    #[test]
    fn the_canonical_query_is_a_fixed_point((path, query) in queries()) {
        let first = search(&path, &query);
        if let Some(first) = first {
            let canonical = first.canonical_query();
            let second = search(&path, &canonical);
            prop_assert_eq!(second.as_ref(), Some(&first));
            prop_assert_eq!(second.unwrap().canonical_query(), canonical);
        } else {
            prop_assert!(path == "/Binary" || refused_for_its_values(&path, &query), "{} {}", path, query);
        }
    }
}

fn search_of(search: &Search) -> Option<Search> {
    self::search(&format!("/{}", search.kind), &search.canonical_query())
}

/// Some parameters point to other types than Patient and so on; the query itself must be the reason for a refusal.
fn refused_for_its_values(path: &str, query: &str) -> bool {
    let refusal = read(&get(path, query)).unwrap_err();
    matches!(refusal.kind, fhir::request::InvalidKind::Malformed | fhir::request::InvalidKind::NotSupported)
}

#[test]
fn the_generated_queries_are_mostly_read() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let read = (0..200)
        .filter(|_| {
            let (path, query) = queries().new_tree(&mut runner).unwrap().current();
            search(&path, &query).is_some()
        })
        .count();
    assert!(read > 140, "only {read} of 200 are read, so the property above says little");
}
