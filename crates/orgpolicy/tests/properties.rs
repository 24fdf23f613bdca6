//! Over any set of policies: a `forbid` more never permits more, a `permit` less never permits more, a slice says what the
//! whole would, and parts evaluated apart say what the whole would.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use domain::Class;
use orgpolicy::{Action, Agent, Human, SessionFacts};
use proptest::prelude::*;

const SCOPES: [&str; 5] = [
    "principal, action, resource",
    "principal == Integration::\"scheduler-1\", action, resource",
    "principal == Integration::\"other\", action, resource",
    "principal in Tenant::\"mercy\", action in Action::\"reads\", resource",
    "principal, action == Action::\"read\", resource == Type::\"Patient\"",
];
const CONDITIONS: [&str; 9] = [
    "",
    "when { principal.class == Class::\"clinical-ai\" }",
    "unless { context.session.task == \"scheduling\" }",
    "when { context.session.task == \"intake\" }",
    "when { context.session has person && context.session.person.id == \"dana\" }",
    "unless { context.session has person.mfa && context.session.person.mfa }",
    "unless { context.session has relationship && context.session.relationship == Relationship::\"rule\" }",
    "when { context.request.hour == 11 }",
    "when { context.session.task_version + 9223372036854775806 > 0 }",
];

prop_compose! {
    fn policy(effect: &'static str)(scope in 0..SCOPES.len(), first in 0..CONDITIONS.len(), second in 0..CONDITIONS.len())
        -> String {
        let at = |list: &[&'static str], index: usize| list.get(index).copied().unwrap();
        format!("{effect} ({}) {} {};\n", at(&SCOPES, scope), at(&CONDITIONS, first), at(&CONDITIONS, second))
    }
}

fn allows(policies: &[String], agent: &Agent, session: &SessionFacts) -> bool {
    let text: String =
        policies.iter().enumerate().map(|(index, policy)| format!("@id(\"p{index}\") {policy}")).collect();
    let slice = common::parse(&text).slice(agent).unwrap();
    let kind = "Patient".parse().unwrap();
    let whole = slice.decide(session, Action::Read, kind, &common::request()).allows();
    // What is remembered of the first part is what the first part says.
    let again = slice.passing(session, Action::Read, kind, &common::request());
    assert_eq!(slice.lasting(session, Action::Read, kind).and(again).outcome().allows(), whole);
    whole
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn policies_only_narrow(
        permits in prop::collection::vec(policy("permit"), 1..4),
        forbids in prop::collection::vec(policy("forbid"), 0..3),
        more in policy("forbid"),
        gone in 0usize..4,
        clinical in any::<bool>(),
        version in 1u32..4,
        mfa in prop::option::of(prop::option::of(any::<bool>())),
    ) {
        let class = if clinical { Class::ClinicalAi } else { Class::ClinicianApp };
        let agent = Agent { class, ..common::agent() };
        let mut session = common::session();
        session.task.version = version;
        session.person = mfa.map(|mfa| Human { id: "dana".to_owned(), mfa });
        let all: Vec<String> = permits.iter().chain(&forbids).cloned().collect();
        let before = allows(&all, &agent, &session);
        let mut with = all.clone();
        with.push(more);
        prop_assert!(before || !allows(&with, &agent, &session), "a forbid permitted more");
        let mut without = permits.clone();
        if gone < without.len() {
            without.remove(gone);
        }
        without.extend(forbids);
        let erring = all.iter().any(|policy| policy.contains("9223372036854775806"));
        // A permit that errs denies everything; without it others may permit.
        prop_assert!(before || erring || !allows(&without, &agent, &session), "a permit less permitted more");
    }
}
