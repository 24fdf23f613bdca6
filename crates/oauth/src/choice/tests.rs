//! What un-ticking leaves, by table and by chance.

use std::collections::BTreeSet;

use domain::{Actions, Scope, ScopeSet};
use proptest::prelude::*;

use super::{Choice, InvalidChoice, choices, keep};

const LAB: &str = "http://terminology.hl7.org/CodeSystem/observation-category|laboratory";
const VITAL: &str = "http://terminology.hl7.org/CodeSystem/observation-category|vital-signs";

fn set(text: &str) -> ScopeSet {
    text.parse().unwrap()
}

fn ids(granted: &ScopeSet) -> BTreeSet<String> {
    choices(granted).into_iter().map(|choice| choice.id).collect()
}

/// What stays when the rows with these endings are un-ticked.
fn without(granted: &str, off: &[&str]) -> String {
    let granted = set(granted);
    let mut ticked = ids(&granted);
    for ending in off {
        let before = ticked.len();
        ticked.retain(|id| !id.ends_with(ending));
        assert!(ticked.len() < before, "`{ending}` is no row of {ticked:?}");
    }
    keep(&granted, &ticked).unwrap().to_string()
}

fn rows(granted: &str) -> Vec<(String, String, Option<String>)> {
    let row = |choice: Choice| (choice.words, choice.may, choice.parent);
    choices(&set(granted)).into_iter().map(row).collect()
}

#[test]
fn d_09_all_ticked_is_the_grant_as_it_was_spelled() {
    for text in [
        "patient/Observation.read patient/Condition.rs patient/Patient.r",
        "patient/Observation.* patient/Observation.rs?category=laboratory patient/Observation.cruds",
        "user/Observation.rs?category=a,b&status=final patient/Patient.rs patient/Patient.rs",
        "patient/*.read patient/Observation.write",
    ] {
        let granted = set(text);
        assert_eq!(keep(&granted, &ids(&granted)).unwrap().to_string(), text);
    }
}

/// US-03: a type that is un-ticked is gone, with every clause of it.
#[test]
fn us_03_types_go_one_by_one() {
    let granted = "patient/Patient.rs patient/Encounter.rs patient/Encounter.cu patient/Condition.read";
    assert_eq!(without(granted, &["/Encounter"]), "patient/Patient.rs patient/Condition.read");
    assert_eq!(without(granted, &["/Condition"]), "patient/Patient.rs patient/Encounter.rs patient/Encounter.cu");
}

/// SC-17, US-04: categories go one by one even when the whole type was asked, in either spelling.
#[test]
fn us_04_categories_go_one_by_one() {
    let system = "http://terminology.hl7.org/CodeSystem/condition-category";
    for (asked, letters) in [("patient/Condition.read", "rs"), ("patient/Condition.cruds", "cruds")] {
        assert_eq!(
            without(asked, &["|health-concern"]),
            format!(
                "patient/Condition.{letters}?category={system}|problem-list-item \
                 patient/Condition.{letters}?category={system}|encounter-diagnosis"
            )
        );
    }
    let five = without("patient/Patient.rs patient/Observation.rs", &["|sdoh"]);
    assert_eq!(five.split(' ').count(), 6, "{five}");
    assert!(
        five.starts_with("patient/Patient.rs patient/Observation.rs?category=") && !five.contains("sdoh"),
        "{five}"
    );
    // Writes are narrowed like reads, and a query that was there stays.
    let off = ["|sdoh", "|survey", "|social-history", "|clinical-test", "|vital-signs"];
    assert_eq!(
        without("patient/Observation.rs?status=final patient/Observation.cu", &off),
        format!("patient/Observation.rs?status=final&category={LAB} patient/Observation.cu?category={LAB}")
    );
}

#[test]
fn categories_without_their_type_and_types_without_categories_are_nothing() {
    let granted = set("patient/Observation.rs");
    let all = ids(&granted);
    let only_type: BTreeSet<String> = all.iter().filter(|id| !id.contains('?')).cloned().collect();
    let only_slices: BTreeSet<String> = all.iter().filter(|id| id.contains('?')).cloned().collect();
    assert_eq!((only_type.len(), only_slices.len()), (1, 6));
    assert!(keep(&granted, &only_type).unwrap().is_empty());
    assert!(keep(&granted, &only_slices).unwrap().is_empty());
    assert!(keep(&granted, &BTreeSet::new()).unwrap().is_empty(), "NEG-040");
}

#[test]
fn what_was_not_offered_is_refused() {
    let granted = set("patient/Condition.rs");
    for id in ["patient/Observation", "patient/Condition?category=laboratory", "", "user/Condition", "*"] {
        let mut ticked = ids(&granted);
        ticked.insert(id.to_owned());
        assert_eq!(keep(&granted, &ticked), Err(InvalidChoice), "`{id}`");
    }
    assert_eq!(keep(&ScopeSet::default(), &BTreeSet::from(["patient/Patient".to_owned()])), Err(InvalidChoice));
}

#[test]
fn a_query_on_category_shows_its_own_slice_only() {
    let lab = format!("patient/Observation.rs?category={LAB}");
    assert_eq!(rows(&lab), [("Laboratory results".to_owned(), "see".to_owned(), None)]);
    let two = format!("{lab} patient/Observation.rus?category={VITAL}");
    let parent = Some("patient/Observation".to_owned());
    assert_eq!(
        rows(&two),
        [
            ("Measurements and test results".to_owned(), "see and change".to_owned(), None),
            ("Laboratory results".to_owned(), "see".to_owned(), parent.clone()),
            ("Vital signs".to_owned(), "see and change".to_owned(), parent),
        ]
    );
    assert_eq!(without(&two, &["|laboratory"]), format!("patient/Observation.rus?category={VITAL}"));
    // A code alone is the category it names, and an `or` loses only what goes.
    let either = format!("patient/Observation.rs?category=laboratory,{VITAL},odd&status=final");
    assert_eq!(rows(&either).len(), 4);
    assert_eq!(without(&either, &["|laboratory"]), format!("patient/Observation.rs?category={VITAL},odd&status=final"));
}

/// A slice beside the whole type is no way around un-ticking it.
#[test]
fn an_unticked_category_is_gone_from_every_clause() {
    let granted =
        "patient/Observation.rs patient/Observation.rs?category=laboratory patient/Observation.rs?status=final";
    let left = without(granted, &["|laboratory"]);
    assert!(!left.contains("laboratory"), "{left}");
    for scope in set(&left).0 {
        assert!(scope.filter.unwrap().pairs.iter().any(|(name, _)| name == "category"));
    }
}

#[test]
fn writing_alone_is_not_divided_and_a_wildcard_is_one_row() {
    assert_eq!(
        rows("patient/Observation.cud"),
        [("Measurements and test results".to_owned(), "add, change and delete".to_owned(), None)]
    );
    assert_eq!(
        rows("patient/*.rs patient/Observation.c"),
        [("The whole record".to_owned(), "see and add".to_owned(), None)]
    );
    let rows = choices(&set("user/Patient.rs patient/Observation.cu patient/Patient.rs"));
    assert_eq!(
        rows.iter().map(|row| (row.id.as_str(), row.writes)).collect::<Vec<_>>(),
        [("patient/Patient", false), ("patient/Observation", true), ("user/Patient", false)]
    );
}

#[test]
fn other_queries_are_said_in_words() {
    let rows = choices(&set("patient/MedicationRequest.rs?intent=order"));
    assert_eq!(rows[0].detail.last().unwrap(), "Only where intent is order");
    let rows = choices(&set("patient/Encounter.rs patient/Encounter.u?status=planned"));
    assert_eq!(rows[0].detail.last().unwrap(), "Change where status is planned");
}

/// Whether `scope` is within one clause of `granted`: letters, type and every pair of its query, values being any-of.
fn within(scope: &Scope, granted: &ScopeSet) -> bool {
    granted.0.iter().any(|wide| {
        let own: Vec<_> = scope.filter.iter().flat_map(|filter| filter.pairs.clone()).collect();
        let mut pairs = wide.filter.iter().flat_map(|filter| &filter.pairs);
        let held = |(name, value): &(String, String)| {
            let wide: BTreeSet<&str> = value.split(',').collect();
            own.iter().any(|(own, text)| own == name && text.split(',').all(|part| wide.contains(part)))
        };
        wide.level == scope.level
            && wide.resource == scope.resource
            && wide.actions.contains(scope.actions)
            && scope.actions != Actions::NONE
            && pairs.all(held)
    })
}

fn clause() -> impl Strategy<Value = String> {
    let level = prop_oneof![Just("patient"), Just("patient"), Just("user")];
    let kind = prop_oneof![4 => Just("Observation"), 2 => Just("Condition"), 2 => Just("Patient"), 1 => Just("*")];
    let letters = prop_oneof![Just("r"), Just("s"), Just("rs"), Just("cruds"), Just("read"), Just("write"), Just("cu")];
    let filter = prop_oneof![
        3 => Just(String::new()),
        1 => Just("?status=final".to_owned()),
        1 => Just("?category=laboratory".to_owned()),
        1 => Just(format!("?category={LAB},{VITAL}")),
        1 => Just("?category=odd&category=survey,laboratory&status=final".to_owned()),
        1 => Just("?category=health-concern".to_owned()),
    ];
    (level, kind, letters, filter).prop_map(|(level, kind, letters, filter)| {
        let filter = if matches!(letters, "read" | "write") { String::new() } else { filter };
        format!("{level}/{kind}.{letters}{filter}")
    })
}

proptest! {
    /// Un-ticking never widens, never leaves what was un-ticked, and its text means the same when it is read again.
    #[test]
    fn sc_17_what_is_kept_is_within_the_grant(
        clauses in prop::collection::vec(clause(), 1..8),
        off in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let granted = set(&clauses.join(" "));
        let rows = choices(&granted);
        let all: BTreeSet<String> = rows.iter().map(|row| row.id.clone()).collect();
        prop_assert_eq!(all.len(), rows.len(), "each row has an id of its own");
        for row in &rows {
            prop_assert!(row.parent.as_ref().is_none_or(|parent| all.contains(parent)));
            prop_assert!(!row.words.is_empty() && !row.may.is_empty());
        }
        let gone: BTreeSet<String> = off.iter().map(|index| rows[index.index(rows.len())].id.clone()).collect();
        let ticked: BTreeSet<String> = all.difference(&gone).cloned().collect();
        let kept = keep(&granted, &ticked).unwrap();
        if gone.is_empty() {
            prop_assert_eq!(&kept, &granted);
        }
        prop_assert_eq!(&set(&kept.to_string()), &kept);
        for scope in &kept.0 {
            prop_assert!(within(scope, &granted), "`{}` is not within `{}`", scope, granted);
        }
        // Rows of what is left name nothing that was un-ticked.
        for id in ids(&kept) {
            prop_assert!(!gone.contains(&id), "`{}` came back in `{}`", id, kept);
        }
    }

    #[test]
    fn no_ticks_and_no_words_panic(text: String, ticked: BTreeSet<String>) {
        if let Ok(granted) = text.parse::<ScopeSet>() {
            let _ = (choices(&granted), keep(&granted, &ticked));
        }
    }
}
