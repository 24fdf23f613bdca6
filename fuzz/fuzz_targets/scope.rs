//! Scope strings: printing what was parsed parses to the same, and intersection never widens.
#![no_main]

use domain::{RequestedScope, Scope, ScopeSet};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(scope) = text.parse::<Scope>() {
        let again: Scope = scope.to_string().parse().expect("printed scopes parse");
        assert_eq!(again, scope);
    }
    if let Ok(set) = text.parse::<ScopeSet>() {
        let again: ScopeSet = set.to_string().parse().expect("printed sets parse");
        assert_eq!(again, set);
        let narrowed = set.narrow(&set);
        for clause in &narrowed.0 {
            assert!(set.0.iter().any(|wide| clause.actions.and(wide.actions) == clause.actions));
        }
    }
    let _ = RequestedScope::read_all(text);
});
