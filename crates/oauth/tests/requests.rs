//! Request bodies, the scope decision, and that nothing from outside panics.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

use domain::{Class, Scope, ScopeSet};
use oauth::ErrorCode;
use oauth::grant::{Grant, TokenRequest};
use oauth::request::{LaunchRequest, TokenQuestion};
use oauth::scope::{ScopeRefusal, check_class, grant};
use proptest::prelude::*;

const PROOF: &str =
    "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=a.b.c";

fn token(rest: &str) -> Result<TokenRequest, ErrorCode> {
    TokenRequest::read(rest.as_bytes(), None).map_err(|why| why.code)
}

#[test]
fn token_requests_are_read_or_refused_by_code() {
    let good = format!("grant_type=client_credentials&{PROOF}&launch=t&scope=patient%2FPatient.rs");
    let read = token(&good).unwrap();
    assert!(matches!(read.grant, Grant::Ticket(ticket) if ticket == "t"));
    assert_eq!(read.scope.as_deref(), Some("patient/Patient.rs"));
    for (body, code) in [
        (format!("{PROOF}&launch=t"), ErrorCode::InvalidRequest),
        (format!("grant_type=password&{PROOF}"), ErrorCode::UnsupportedGrantType),
        (format!("grant_type=client_credentials&{PROOF}&scope=a&scope=a"), ErrorCode::InvalidRequest),
        (format!("grant_type=client_credentials&{PROOF}&client_secret=x"), ErrorCode::InvalidRequest),
        (format!("grant_type=client_credentials&{PROOF}&launch=t&authorization_details=[]"), ErrorCode::InvalidRequest),
        (
            format!("grant_type=client_credentials&{PROOF}&authorization_details=[]"),
            ErrorCode::InvalidAuthorizationDetails,
        ),
    ] {
        assert_eq!(token(&body).unwrap_err(), code, "{body}");
    }
}

#[test]
fn neg_123_assertion_and_type_come_together() {
    for body in [
        "grant_type=client_credentials&client_assertion=a.b.c",
        "grant_type=client_credentials&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer",
        "grant_type=client_credentials&client_assertion=a.b.c&client_assertion_type=not-a-type",
        "grant_type=client_credentials",
    ] {
        assert_eq!(token(body).unwrap_err(), ErrorCode::InvalidClient, "{body}");
    }
}

#[test]
fn a_token_too_long_to_be_ours_is_merely_unknown() {
    let body = format!("{PROOF}&token={}", "x".repeat(30_000));
    assert_eq!(TokenQuestion::read(body.as_bytes(), None).unwrap().token, "", "NEG-174");
    assert_eq!(TokenQuestion::read(PROOF.as_bytes(), None).unwrap_err().code, ErrorCode::InvalidRequest);
}

#[test]
fn launch_requests_are_strict_json() {
    let body = |rest: &str| {
        format!(
            r#"{{"client_assertion_type":"urn:ietf:params:oauth:client-assertion-type:jwt-bearer","client_assertion":"a.b.c"{rest}}}"#
        )
    };
    let read = |rest: &str| LaunchRequest::read(body(rest).as_bytes(), None);
    let good = read(r#","client_id":"agent-1","task":"scheduling","patient":"Patient/P1","encounter":"E1""#).unwrap();
    assert_eq!((good.patient.as_str(), good.encounter.unwrap().as_str()), ("P1", "E1"));
    for rest in [
        r#","client_id":"agent-1","task":"scheduling""#,
        r#","client_id":"Agent 1","task":"scheduling","patient":"P1""#,
        r#","client_id":"agent-1","task":"scheduling","patient":"Observation/P1""#,
        r#","client_id":"agent-1","task":"scheduling","patient":"P1","patient":"P2""#,
        r#","client_id":"agent-1","task":"scheduling","patient":["P1"]"#,
        r#","client_id":"agent-1","task":"scheduling","patient":"P1","scope":"x""#,
    ] {
        assert_eq!(read(rest).unwrap_err().code, ErrorCode::InvalidRequest, "{rest}");
    }
}

fn asked(class: Class, profile: &str, asked: Option<&str>) -> Result<String, String> {
    let profile: ScopeSet = profile.parse().unwrap();
    let granted = check_class(class, asked, domain::Presence::Unattended)
        .and_then(|items| grant(class, &profile, &items, &|_: &Scope| true));
    granted.map(|granted| granted.text).map_err(|why| why.to_string())
}

#[test]
fn scopes_are_narrowed_and_answered_in_the_askers_spelling() {
    let profile = "patient/Patient.rs patient/Appointment.rs?status=booked";
    for (ask, answer) in [
        (None, profile),
        (Some(""), profile),
        (Some("patient/Patient.read"), "patient/Patient.read"),
        (Some("patient/Patient.r"), "patient/Patient.r"),
        (Some("patient/Patient.cruds patient/Observation.rs"), "patient/Patient.rs"),
        (Some("patient/Appointment.rs"), "patient/Appointment.rs?status=booked"),
        (Some("launch/patient openid patient/Patient.rs nonsense patient/Patient.sr"), "patient/Patient.rs"),
    ] {
        assert_eq!(asked(Class::ClinicalAi, profile, ask).as_deref(), Ok(answer), "{ask:?}");
    }
    for nothing in ["patient/Observation.rs", "patient/Patient.", "patient/Patient.d", "launch"] {
        let why = asked(Class::ClinicalAi, profile, Some(nothing)).unwrap_err();
        assert!(why.contains(profile), "S1-20: the message proposes the profile: {why}");
    }
}

#[test]
fn neg_190_to_196_scopes_mean_one_thing_or_nothing() {
    let profile = "patient/Patient.rs patient/Observation.rs";
    for (ask, answer) in [
        // NEG-191: the old spelling is read and search, not `r` and an `ead`.
        ("patient/Observation.read", Ok("patient/Observation.read")),
        ("patient/Observation.write", Err(())),
        ("patient/Observation.ead", Err(())),
        // NEG-190.
        ("patient/Observation.sr", Err(())),
        ("patient/Observation.RS", Err(())),
        ("patient/Observation.rr", Err(())),
        ("patient/Observation.rs?", Err(())),
        ("patient/observation.rs", Err(())),
        ("patients/Observation.rs", Err(())),
        ("patient/Observation.rs?=", Err(())),
        // NEG-195: both clauses of one type stay.
        (
            "patient/Observation.rs?category=a patient/Observation.rs?category=b",
            Ok("patient/Observation.rs?category=a patient/Observation.rs?category=b"),
        ),
        // NEG-194: decoded once.
        ("patient/Observation.rs?category=http%3A%2F%2Fx%7Ca", Ok("patient/Observation.rs?category=http://x|a")),
    ] {
        let found = asked(Class::ClinicalAi, profile, Some(ask)).map_err(drop);
        assert_eq!(found.as_deref(), answer.as_ref().map(|text| *text).map_err(|()| &()), "{ask}");
    }
    // NEG-194: what is granted means the same when it is read again, also where a value holds a separator.
    let mut granted = 0;
    for value in ["a%26b", "a%2Cb", "a%7Cb", "a%2526b", "a%3Fb", "a%23b", "a%20b", "a%2Bb"] {
        let scope = format!("patient/Observation.rs?category={value}");
        let once = asked(Class::ClinicalAi, profile, Some(&scope));
        assert_eq!(once.is_ok(), scope.parse::<ScopeSet>().is_ok(), "{scope}: {once:?}");
        let Ok(once) = once else { continue };
        granted += 1;
        let read = |text: &str| text.parse::<ScopeSet>().unwrap();
        assert_eq!(read(&once), read(&scope), "{once}");
        assert_eq!(asked(Class::ClinicalAi, profile, Some(&once)).as_ref(), Ok(&once));
    }
    assert!(granted >= 3, "{granted}");
    // NEG-192: a criterion on every type is refused with the wildcard it stands on.
    let why = asked(Class::ClinicalAi, profile, Some("patient/*.rs?category=a")).unwrap_err();
    assert!(why.contains("patient/*.rs"), "{why}");
    // NEG-196: `user/` never stands beside `patient/` for an agent.
    assert!(asked(Class::ClinicalAi, profile, Some("patient/Observation.rs?category=a user/Patient.rs")).is_err());
}

/// S0-04, S1-10, S1-11, S1-18, S1-20.
#[test]
fn s1_11_a_forbidden_clause_refuses_the_whole_request_by_name() {
    for clause in [
        "system/Patient.rs",
        "user/Patient.rs",
        "patient/*.rs",
        "patient/*.read",
        "offline_access",
        "online_access",
        "system/Nope.rs",
        "user/*.dus",
    ] {
        let why =
            asked(Class::ClinicalAi, "patient/Patient.rs", Some(&format!("patient/Patient.rs {clause}"))).unwrap_err();
        assert!(why.contains(clause), "{clause}: {why}");
    }
    let why = asked(Class::ClinicalAi, "system/Patient.rs patient/*.rs", None).unwrap_err();
    assert!(why.contains("nothing"), "S1-11: a profile row cannot grant it either: {why}");
}

#[test]
fn sc_18_what_cannot_be_enforced_is_dropped() {
    let profile: ScopeSet = "patient/Observation.rs patient/Patient.rs".parse().unwrap();
    let items = check_class(
        Class::ClinicalAi,
        Some("patient/Observation.rs?odd=1 patient/Patient.rs"),
        domain::Presence::Unattended,
    )
    .unwrap();
    let plain = |scope: &Scope| scope.filter.is_none();
    assert_eq!(grant(Class::ClinicalAi, &profile, &items, &plain).unwrap().text, "patient/Patient.rs");
    let items =
        check_class(Class::ClinicalAi, Some("patient/Observation.rs?odd=1"), domain::Presence::Unattended).unwrap();
    assert!(matches!(grant(Class::ClinicalAi, &profile, &items, &plain), Err(ScopeRefusal::Empty { .. })));
}

fn clause() -> impl Strategy<Value = String> {
    let kind = prop_oneof![Just("Patient"), Just("Observation"), Just("Appointment"), Just("Condition")];
    let letters = prop_oneof![Just("r"), Just("s"), Just("rs"), Just("cruds"), Just("read"), Just("cu")];
    let filter = prop_oneof![Just(""), Just("?status=final"), Just("?category=laboratory")];
    (kind, letters, filter).prop_map(|(kind, letters, filter)| {
        let filter = if letters == "read" { "" } else { filter };
        format!("patient/{kind}.{letters}{filter}")
    })
}

proptest! {
    #[test]
    fn s1_22_what_is_granted_is_within_request_and_profile(
        request in prop::collection::vec(clause(), 1..6),
        profile in prop::collection::vec(clause(), 1..6),
    ) {
        let (request, profile) = (request.join(" "), profile.join(" "));
        let (wanted, ceiling): (ScopeSet, ScopeSet) = (request.parse().unwrap(), profile.parse().unwrap());
        if let Ok(granted) = asked(Class::ClinicalAi, &profile, Some(&request)) {
            let granted: ScopeSet = granted.parse().unwrap();
            let within = |scope: &Scope, set: &ScopeSet| set.0.iter().any(|wide| {
                let pairs = wide.filter.iter().flat_map(|filter| &filter.pairs);
                let held = |pair| scope.filter.as_ref().is_some_and(|filter| filter.pairs.contains(pair));
                wide.resource == scope.resource && wide.actions.contains(scope.actions) && pairs.into_iter().all(held)
            });
            for scope in &granted.0 {
                prop_assert!(within(scope, &wanted) && within(scope, &ceiling), "{scope}");
            }
        }
    }

    #[test]
    fn nothing_from_outside_panics(bytes in prop::collection::vec(any::<u8>(), 0..600), text in "\\PC{0,200}") {
        let _ = oauth::assertion::read(&bytes);
        let _ = oauth::assertion::read(text.as_bytes());
        let _ = oauth::KeySet::parse(&bytes);
        let _ = TokenRequest::read(&bytes, Some(&text));
        let _ = TokenQuestion::read(text.as_bytes(), None);
        let _ = LaunchRequest::read(&bytes, Some(&text));
        let _ = oauth::details::FhirTask::read(&text);
        let _ = oauth::form::Form::read(text.as_bytes());
    }

    #[test]
    fn nothing_shaped_like_a_jws_panics(head in "[ -~]{0,80}", body in "[ -~]{0,80}", sign in "[A-Za-z0-9_-]{0,80}") {
        use base64::Engine as _;
        let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        let _ = oauth::assertion::read(format!("{}.{}.{sign}", encode(&head), encode(&body)).as_bytes());
    }
}
