//! Patches against the texts they must give, byte by byte, and against an independent application.

mod fhirpath;
mod rfc6902;

use super::*;
use crate::ResourceType;

fn apply(patch: Result<Patch, InvalidPatch>, resource: &str) -> Result<String, PatchError> {
    patch.unwrap_or_else(|why| panic!("{}", why.what())).apply(ResourceType::PATIENT, resource)
}

#[test]
fn patch_output_for_logs_is_sealed() {
    let patch = Patch::parse_json(br#"[{"op":"add","path":"/a","value":"secret"}]"#);
    assert_eq!(format!("{patch:?}"), "Ok(Patch([sealed]))");
    let refused = Patch::parse_json(br#"[{"op":"secret","path":""}]"#).unwrap_err();
    assert_eq!(refused.what(), "`secret` is no operation");
    assert!(!format!("{refused:?} {refused}").contains("secret"));
    let long = Patch::parse_json(format!(r#"[{{"op":"{}","path":""}}]"#, "é".repeat(1000)).as_bytes()).unwrap_err();
    assert!(long.what().len() < 200, "{}", long.what());
}

#[test]
fn patch_limits_hold() {
    let many = |n: usize| format!("[{}]", vec![r#"{"op":"test","path":"/a","value":1}"#; n].join(","));
    assert!(Patch::parse_json(many(OPERATIONS_MAX).as_bytes()).is_ok());
    assert!(matches!(Patch::parse_json(many(OPERATIONS_MAX + 1).as_bytes()), Err(InvalidPatch::TooLong(_))));
    let long = format!("[{}]", " ".repeat(PATCH_BYTES_MAX));
    assert!(matches!(Patch::parse_json(long.as_bytes()), Err(InvalidPatch::TooLong(_))));
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    assert!(matches!(Patch::parse_json(deep.as_bytes()), Err(InvalidPatch::TooLong(_))));
    // Each copy doubles the text.
    let copies = format!("[{}]", vec![r#"{"op":"copy","from":"/a","path":"/a/-"}"#; OPERATIONS_MAX].join(","));
    assert_eq!(apply(Patch::parse_json(copies.as_bytes()), r#"{"a":[]}"#), Err(PatchError::Limit));
    let copies: Vec<_> = (0..OPERATIONS_MAX).map(|n| format!(r#"{{"op":"copy","from":"","path":"/k{n}"}}"#)).collect();
    let copies = format!("[{}]", copies.join(","));
    let wide = format!(r#"{{"a":"{}"}}"#, "x".repeat(1_000_000));
    assert_eq!(apply(Patch::parse_json(copies.as_bytes()), &wide), Err(PatchError::Limit));
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(RESULT_BYTES_MAX));
    assert_eq!(apply(Patch::parse_json(b"[]"), &long), Err(PatchError::Limit));
    let heavy = format!(r#"{{"a":1,"b":"{}"}}"#, "x".repeat(4 * 1024 * 1024));
    assert_eq!(apply(Patch::parse_json(many(OPERATIONS_MAX).as_bytes()), &heavy), Err(PatchError::Limit));
}
