//! Tables and properties of scopes (S1-22, SC-01 … SC-14, NEG-190 … NEG-195).

use proptest::prelude::*;

use super::*;

#[test]
fn a_scope_parses_whole_or_is_refused() {
    for (text, valid) in [
        ("patient/Observation.rs?category=laboratory", true),
        (
            "patient/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|vital-signs",
            true,
        ),
        ("system/*.read", true),
        ("patient/Observation.read", true),
        ("patient/Observation.dus", false),
        ("patient/Observation.sr", false),
        ("patient/Observation.rr", false),
        ("patient/Observation.RS", false),
        ("patient/Observation.", false),
        ("patient/Observation", false),
        ("patient/Observation.rs?", false),
        ("patient/Observation.rs?=", false),
        ("patient/Observation.rs?category=", false),
        ("patient/Observation.rs?category:in=x", false),
        ("patient/Observation.rs?subject.name=x", false),
        ("patient/Observation.read?category=x", false),
        ("patient/observation.rs", false),
        ("patients/Observation.rs", false),
        ("Patient/Observation.rs", false),
        ("patient/Nope.rs", false),
        ("patient/Observation.rs ", false),
    ] {
        assert_eq!(text.parse::<Scope>().is_ok(), valid, "`{text}`");
    }
}

#[test]
fn v1_words_mean_their_letters_and_print_as_asked() {
    for (text, actions) in [
        ("patient/Observation.read", Actions::V1_READ),
        ("patient/Observation.write", Actions::V1_WRITE),
        ("patient/Observation.*", Actions::ALL),
    ] {
        let scope: Scope = text.parse().unwrap();
        assert_eq!(scope.actions, actions);
        assert_eq!(scope.to_string(), text);
    }
}

fn any_scope() -> impl Strategy<Value = Scope> {
    let level = prop_oneof![Just(Level::Patient), Just(Level::User), Just(Level::System)];
    let resource = prop_oneof![
        Just(ResourceMatch::Every),
        Just(ResourceMatch::One(ResourceType::OBSERVATION)),
        Just(ResourceMatch::One(ResourceType::CONDITION)),
    ];
    let filter =
        proptest::option::of(proptest::collection::vec(("[a-z_-]{1,8}", "[^\\x00-\\x1f\\x7f-\\u{9f}]{1,12}"), 1..3));
    (level, resource, 1u8..32, filter).prop_map(|(level, resource, letters, pairs)| Scope {
        level,
        resource,
        actions: Actions(letters),
        filter: pairs.map(|pairs| Filter { pairs }),
        spelling: Spelling::V2,
    })
}

proptest! {
    #[test]
    fn printing_then_parsing_gives_the_same_scope(scope in any_scope()) {
        prop_assert_eq!(scope.to_string().parse::<Scope>().unwrap(), scope);
    }

    #[test]
    fn parsing_never_panics(text in "\\PC{0,60}") {
        let _ = text.parse::<Scope>();
        let _ = RequestedScope::read_all(&text);
    }

    /// S1-22: whatever both sides are, each clause of the result is inside a clause of each side.
    #[test]
    fn narrowing_never_widens(a in proptest::collection::vec(any_scope(), 0..5), b in proptest::collection::vec(any_scope(), 0..5)) {
        let (asked, ceiling) = (ScopeSet(a), ScopeSet(b));
        let inside = |scope: &Scope, set: &ScopeSet| set.0.iter().any(|outer| {
            outer.level == scope.level
                && outer.actions.contains(scope.actions)
                && (outer.resource == ResourceMatch::Every || outer.resource == scope.resource)
                && outer.filter.as_ref().is_none_or(|outer| {
                    scope.filter.as_ref().is_some_and(|inner| outer.pairs.iter().all(|pair| inner.pairs.contains(pair)))
                })
        });
        for scope in &asked.narrow(&ceiling).0 {
            prop_assert!(inside(scope, &asked), "{} not in request", scope);
            prop_assert!(inside(scope, &ceiling), "{} not in ceiling", scope);
        }
    }
}
