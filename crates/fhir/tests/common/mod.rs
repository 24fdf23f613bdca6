//! Asking for the cases of the catalogue.
#![allow(clippy::panic, dead_code, missing_docs)]

use fhir::request::{Interaction, InvalidKind, InvalidRequest, Method, Modifier, Raw, Search, read};

pub fn ask(method: Method, target: &str) -> Result<Interaction, InvalidRequest> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    read(&Raw::plain(method, path, query))
}

pub fn get(target: &str) -> Result<Interaction, InvalidRequest> {
    ask(Method::Get, target)
}

pub fn search(target: &str) -> Search {
    match get(target) {
        Ok(Interaction::Search(search)) => search,
        other => panic!("{target}: {other:?}"),
    }
}

pub fn values(target: &str) -> Vec<(&'static str, Option<Modifier>, Vec<String>)> {
    search(target).params.into_iter().map(|param| (param.name, param.modifier, param.values)).collect()
}

pub fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

/// Each target is refused with `kind`.
pub fn refused(kind: InvalidKind, targets: &[&str]) {
    for target in targets {
        match get(target) {
            Err(refusal) => assert_eq!(refusal.kind, kind, "{target}: {}", refusal.what),
            Ok(read) => panic!("{target} was read: {read:?}"),
        }
    }
}

pub const FORBIDDEN: InvalidKind = InvalidKind::Forbidden;
pub const MALFORMED: InvalidKind = InvalidKind::Malformed;
pub const METHOD: InvalidKind = InvalidKind::Method { allow: "GET, HEAD" };
pub const NOT_ACCEPTABLE: InvalidKind = InvalidKind::NotAcceptable;
pub const NOT_FOUND: InvalidKind = InvalidKind::NotFound;
pub const NOT_SUPPORTED: InvalidKind = InvalidKind::NotSupported;
