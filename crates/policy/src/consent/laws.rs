//! Laws that hold for any Consents at all.

use domain::Millis;
use fhir::json::Document;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::tests::{BASE, class, consent, denies, labels, observation, purposes, read, treatment, with};
use super::{ConsentContext, Consents};

/// One provision as far as these laws need it: what it says, whether it matches, and its exceptions.
#[derive(Clone, Debug)]
struct Rule {
    permits: bool,
    matches: Option<bool>,
    exceptions: Vec<Rule>,
}

fn rule() -> impl Strategy<Value = Rule> {
    let leaf = (any::<bool>(), any::<Option<bool>>()).prop_map(|(permits, matches)| Rule {
        permits,
        matches,
        exceptions: Vec::new(),
    });
    leaf.prop_recursive(3, 8, 3, |inner| {
        (any::<bool>(), any::<Option<bool>>(), prop::collection::vec(inner, 0..3))
            .prop_map(|(permits, matches, exceptions)| Rule { permits, matches, exceptions })
    })
}

impl Rule {
    /// As R4 writes it, for a release of an Observation.
    fn provision(&self) -> Json {
        let criterion = match self.matches {
            Some(true) => json!({"class": class("Observation")}),
            Some(false) => json!({"class": class("Condition")}),
            None => json!({"actor": [{"reference": {"reference": "Organization/1"}}]}),
        };
        let exceptions: Vec<Json> = self.exceptions.iter().map(Rule::provision).collect();
        with(criterion, json!({"type": if self.permits { "permit" } else { "deny" }, "provision": exceptions}))
    }

    fn unknowns(&self) -> u32 {
        u32::from(self.matches.is_none()) + self.exceptions.iter().map(Rule::unknowns).sum::<u32>()
    }

    /// What it says if the unknown is as the bits of `world` have it: plain two-valued logic.
    fn says(&self, world: &mut u32) -> Option<bool> {
        let matches = self.matches.unwrap_or_else(|| {
            let bit = *world & 1 == 1;
            *world >>= 1;
            bit
        });
        let said: Vec<Option<bool>> = self.exceptions.iter().map(|exception| exception.says(world)).collect();
        let said = if said.contains(&Some(false)) { Some(false) } else { said.into_iter().flatten().next() };
        matches.then(|| said.unwrap_or(self.permits))
    }
}

/// JSON in the words of Consent, right and wrong.
fn any_json() -> impl Strategy<Value = Json> {
    let word = prop::sample::select(vec![
        "Consent",
        "active",
        "inactive",
        "Patient/P1",
        "Patient/P2",
        "Observation/O1",
        "deny",
        "permit",
        "instance",
        "TREAT",
        "PSY",
        "R",
        "access",
        "2026-01-01",
        "2026-11-24T12:00:00Z",
        "http://hl7.org/fhir/resource-types",
        "",
    ]);
    let leaf = prop_oneof![
        4 => word.prop_map(|word| json!(word)),
        1 => any::<i32>().prop_map(|number| json!(number)),
        1 => any::<bool>().prop_map(|truth| json!(truth)),
        1 => Just(Json::Null),
    ];
    leaf.prop_recursive(6, 60, 6, |inner| {
        let key = prop::sample::select(vec![
            "resourceType",
            "id",
            "status",
            "scope",
            "patient",
            "reference",
            "meta",
            "security",
            "provision",
            "type",
            "period",
            "start",
            "end",
            "purpose",
            "class",
            "code",
            "coding",
            "system",
            "securityLabel",
            "data",
            "meaning",
            "action",
            "actor",
            "modifierExtension",
            "policyRule",
            "category",
        ]);
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Json::Array),
            2 => prop::collection::vec((key, inner), 0..6)
                .prop_map(|members| members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

/// A Consent of ours in which anything may stand.
fn any_consent() -> impl Strategy<Value = Json> {
    prop_oneof![
        any_json(),
        any_json().prop_map(consent),
        rule().prop_map(|rule| consent(rule.provision())),
        (any_json(), any::<bool>()).prop_map(|(value, permits)| {
            let criterion = json!({"type": if permits { "permit" } else { "deny" }, "code": value});
            consent(json!({"type": "permit", "provision": [criterion]}))
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    /// Denied exactly if, among all that the unknown may be, there is a world in which it is denied.
    #[test]
    fn s3_10_a_doubt_is_a_denial_and_nothing_more_is(rule in rule()) {
        let worlds = 0..1_u32 << rule.unknowns();
        let denied = worlds.into_iter().any(|mut world| rule.says(&mut world) == Some(false));
        prop_assert_eq!(denies(&read(&[consent(rule.provision())]), &treatment(), &observation()), denied);
    }

    /// A denial wins: no further Consent, whatever it says, takes one back.
    #[test]
    fn s3_10_another_consent_never_lets_go(known in prop::collection::vec(any_consent(), 0..4), more in any_consent()) {
        let before = denies(&read(&known), &treatment(), &observation());
        let after = denies(&read(&[&known[..], &[more]].concat()), &treatment(), &observation());
        prop_assert!(!before || after);
    }

    /// A Consent that denies this very thing, put anywhere among others, denies it.
    #[test]
    fn s3_10_a_denial_denies(known in prop::collection::vec(any_consent(), 0..4), at in any::<prop::sample::Index>()) {
        let mut consents = known;
        let deny = json!({"type": "deny", "class": class("Observation"), "purpose": purposes(&["TREAT"])});
        consents.insert(at.index(consents.len() + 1), consent(deny));
        prop_assert!(denies(&read(&consents), &treatment(), &observation()));
    }

    /// Nothing that stands in a Consent or a resource makes it panic.
    #[test]
    fn s3_10_no_json_makes_it_panic(consents in prop::collection::vec(any_consent(), 0..3), resource in any_json(), now in any::<i64>()) {
        let context = ConsentContext { now: Millis::from(now), purpose_of_use: "", actions: &[] };
        let labelled = with(observation(), json!({"meta": {"security": labels(&["PSY"])}, "extra": resource}));
        let text = resource.to_string();
        let document = Document::parse(text.as_bytes()).unwrap();
        let consents = read(&consents);
        denies(&consents, &context, &labelled);
        consents.denies(&context, fhir::ResourceType::BASIC, "", document.root());
        crate::labels::restricted(document.root());
    }

    #[test]
    fn s3_10_no_bytes_make_it_panic(text in r#"[\[\]{}:,"a-z0-9\\]{0,60}"#) {
        if let Ok(document) = Document::parse(text.as_bytes()) {
            let consents = Consents::read([document.root()], &"P1".parse().unwrap(), BASE);
            consents.denies(&treatment(), fhir::ResourceType::BASIC, "", document.root());
        }
    }
}
