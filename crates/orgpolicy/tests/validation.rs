//! What is refused before it is ever in force, and how policies are told apart.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use fhir::ResourceType;
use orgpolicy::{DEFAULT_TEXT, Policies, SCHEMA_TEXT, Stability};

fn refused(text: &str) -> String {
    let problems = Policies::parse(text, 1).expect_err(text);
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_shipped_policies_are_valid_and_lasting() {
    let shipped = common::parse(DEFAULT_TEXT);
    assert_eq!(shipped.infos().len(), 4);
    assert!(shipped.infos().all(|info| info.stability == Stability::Session && info.id.starts_with("hilum-")));
}

#[test]
fn the_schema_knows_every_type_action_and_class() {
    for kind in ResourceType::all() {
        let text = format!("@id(\"a\") permit (principal, action, resource == Type::\"{kind}\");");
        assert!(Policies::parse(&text, 1).is_ok(), "{kind}");
        assert!(SCHEMA_TEXT.contains(&format!("\"{kind}\"")));
    }
    for action in orgpolicy::Action::ALL {
        let text = format!("@id(\"a\") permit (principal, action == Action::\"{}\", resource);", action.name());
        assert!(Policies::parse(&text, 1).is_ok(), "{action:?}");
    }
}

#[test]
fn mistakes_are_named_with_their_place() {
    for (text, says) in [
        ("permit (principal, action, resource);", "1:1: a policy has no id"),
        ("@id(\"A b\") permit (principal, action, resource);", "must be 1 to 64"),
        (
            "@id(\"a\") permit (principal, action, resource);\n@id(\"a\") permit (principal, action, resource);",
            "is there twice",
        ),
        ("@id(\"a\")\npermit (principal, action resource);", "2:27: "),
        ("@id(\"a\")\npermit (principal, action, resource == Type::\"Observaton\");", "Observaton"),
        (
            "@id(\"a\") permit (principal, action, resource) when { principal.class == Class::\"clinical\" };",
            "clinical",
        ),
        ("@id(\"a\") permit (principal, action, resource) when { principal.colour == 1 };", "colour"),
        ("@id(\"a\") permit (principal, action, resource) when { context.session.task == 1 };", "1:"),
        ("@id(\"a\") permit (principal == ?principal, action, resource);", "templates"),
        ("@id(\"a\") permit (principal, action == Action::\"fly\", resource);", "fly"),
        // Unguarded use of what may be unknown.
        ("@id(\"a\") forbid (principal, action, resource) when { context.session.person.mfa };", "has person"),
        (
            "@id(\"a\") permit (principal, action, resource) when { context.session.relationship == Relationship::\"rule\" };",
            "relationship",
        ),
        // S2-03: no network makes anybody trusted.
        (
            "@id(\"a\") permit (principal, action, resource) when { context.request.address.isInRange(ip(\"10.0.0.0/8\")) };",
            "being on a network proves nothing",
        ),
        (
            "@id(\"a\") permit (principal, action, resource) when { context.answer.labels.contains(\"R\") };",
            "decided before anything is asked",
        ),
        // A policy that can never apply is a mistake, not a guardrail.
        ("@id(\"a\") forbid (principal, action, resource) when { 1 == 2 };", "policy"),
    ] {
        let problems = refused(text);
        assert!(problems.contains(says), "{text}\n{problems}");
    }
}

#[test]
fn text_has_bounds_and_no_text_overflows_the_parser() {
    assert!(refused(&"a".repeat(70_000)).contains("longer than"));
    let deep = format!("@id(\"a\") permit (principal, action, resource) when {{ {}true }};", "(".repeat(5_000));
    assert!(refused(&deep).contains("nested deeper"));
    let long =
        format!("@id(\"a\") permit (principal, action, resource) when {{ [1{}].contains(1) }};", ",1".repeat(5_000));
    assert!(refused(&long).contains("longer than 8192"));
    let chained = |link: &str, count: usize, end: &str| {
        let links = link.repeat(count);
        format!(
            "@id(\"a\") permit (principal, action, resource) when {{ principal.class == Class::\"analytics\"{links}{end} }};"
        )
    };
    for (link, count) in [("||1<2", 1_500), (" && if true then true else true", 150), (" || 1 + 1 == 2", 150)] {
        assert!(refused(&chained(link, count, "")).contains("operators"), "{link}");
    }
    // As deep as one may be, on a small stack: it is checked to its far end.
    let far = chained("||1<2", 60, "||context.session.task==1");
    let deep = std::thread::Builder::new().stack_size(1 << 20).spawn(move || refused(&far)).unwrap().join().unwrap();
    assert!(deep.contains("String"), "the mistake at the end is seen: {deep}");
    let fits = chained("||1<2", 62, "");
    let policies = Policies::parse(&fits, 1).unwrap();
    let slice = policies.slice(&common::agent()).unwrap();
    let (action, kind) = (orgpolicy::Action::Read, "Patient".parse().unwrap());
    assert!(slice.decide(&common::session(), action, kind, &common::request()).allows());
    // A comment ends where Cedar says it does, and hides nothing behind it.
    for hidden in ["\r", "\n"] {
        let text =
            format!("@id(\"a\") permit (principal, action, resource) when {{ //{hidden}{}true }};", "(".repeat(50));
        assert!(refused(&text).contains("nested deeper"));
    }
    let many: String = (0..257).map(|n| format!("@id(\"p{n}\") permit (principal, action, resource);\n")).collect();
    assert!(refused(&many).contains("at most 256"));
    for odd in [
        "@id(\"",
        "@id(\"a\") permit (",
        "\"\\\"",
        "//",
        ";;;;",
        "\u{0}",
        "é@id(\"é\")permit(principal,action,resource);",
    ] {
        let _ = Policies::parse(odd, 1);
    }
}

#[test]
fn stability_is_what_the_least_stable_read_allows() {
    for (condition, stability) in [
        ("principal.class == Class::\"analytics\"", Stability::Session),
        ("context.session.task == \"scheduling\"", Stability::Session),
        ("context.session has person.mfa && context.session.person.mfa", Stability::Session),
        ("context.request.hour > 7 && context.session.task == \"scheduling\"", Stability::Request),
        ("context.request.address.isInRange(ip(\"10.0.0.0/8\"))", Stability::Request),
        ("context.answer.labels.contains(\"PSY\")", Stability::Answer),
        ("context.answer.labels.contains(\"PSY\") && context.request.hour > 7", Stability::Answer),
    ] {
        let text = format!("@id(\"a\") forbid (principal, action, resource) when {{ {condition} }};");
        let found: Vec<_> = common::parse(&text).infos().map(|info| info.stability).collect();
        assert_eq!(found, [stability], "{condition}");
    }
}
