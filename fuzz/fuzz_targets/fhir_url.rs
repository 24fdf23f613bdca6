//! Requests: what is accepted has one meaning whatever its method and form, and no call made for it names another patient.
#![no_main]

use std::sync::LazyLock;

use fhir::ResourceType;
use fhir::request::{Asked, Body, Conditions, Interaction, Method, QUERY_BYTES_MAX, Raw, Search, read};
use hilum_fuzz::{Held, speaks_of_another};
use libfuzzer_sys::fuzz_target;
use policy::{UpstreamAnswer, UpstreamBody, UpstreamCall};
use testkit::world::run;

static HELD: LazyLock<Held> = LazyLock::new(|| Held::new("cruds"));

// `[METHOD ]path[?query]`, then perhaps an empty line and a body.
fuzz_target!(|text: &str| {
    let (line, body) = text.split_once("\n\n").map_or((text, None), |(line, body)| (line, Some(body)));
    let (method, target) = method(line);
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let media = match method {
        Method::Patch => "application/json-patch+json",
        Method::Post if path.ends_with("_search") => "application/x-www-form-urlencoded",
        _ => "application/fhir+json",
    };
    let body = body.map(|body| Body { media: Some(media), bytes: body.as_bytes() });
    let raw = Raw {
        body,
        conditions: Conditions { if_match: Some("W/\"1\""), ..Conditions::default() },
        ..Raw::plain(method, path, query)
    };
    let Ok(interaction) = read(&raw) else { return };
    assert!(Interaction::NAMES.contains(&interaction.name()));
    if matches!(method, Method::Get | Method::Head) {
        assert!(
            !matches!(interaction, Interaction::Write(_) | Interaction::Bundle(_)),
            "a safe method changes something"
        );
    }
    if let Interaction::Search(search) = &interaction
        && search.inference.is_empty()
        && !matches!(search.asked, Asked::LastN(_))
    {
        reads_alike(search);
    }
    let Interaction::Bundle(_) = interaction else {
        let ran =
            run(HELD.world.decide(interaction, None), &mut |_| UpstreamAnswer { status: 404, ..Default::default() });
        return ran.calls.iter().for_each(names_nobody);
    };
});

fn method(line: &str) -> (Method, &str) {
    let (word, rest) = line.split_once(' ').unwrap_or(("", line));
    match word {
        "GET" => (Method::Get, rest),
        "HEAD" => (Method::Head, rest),
        "POST" => (Method::Post, rest),
        "PUT" => (Method::Put, rest),
        "PATCH" => (Method::Patch, rest),
        "DELETE" => (Method::Delete, rest),
        "OPTIONS" => (Method::Other, rest),
        _ => (Method::Get, line),
    }
}

/// Its canonical query, as a query and as a form, is the same search.
fn reads_alike(search: &Search) {
    let canonical = search.canonical_query();
    // Encoded it is up to three times as long, and past the bound it is read by nobody.
    if canonical.len() > QUERY_BYTES_MAX {
        return;
    }
    let below = |place: &str| match &search.compartment {
        Some(patient) => format!("/Patient/{patient}/{}{place}", search.kind),
        None => format!("/{}{place}", search.kind),
    };
    let path = below("");
    let by_get = read(&Raw::plain(Method::Get, &path, Some(&canonical)));
    let body = Body { media: Some("application/x-www-form-urlencoded"), bytes: canonical.as_bytes() };
    let path = below("/_search");
    let by_form = read(&Raw { body: Some(body), ..Raw::plain(Method::Post, &path, None) });
    for (asked, again) in [(Asked::Get, by_get), (Asked::Form, by_form)] {
        let wanted = Interaction::Search(Search { asked, ..search.clone() });
        assert_eq!(again, Ok(wanted), "`{canonical}`");
    }
}

fn names_nobody(call: &UpstreamCall) {
    assert!(!speaks_of_another(&call.path), "{}", call.path);
    let Ok(kind) = call.path.split('/').next().unwrap_or("").parse::<ResourceType>() else { return };
    let form = match &call.body {
        Some(UpstreamBody::Form(form)) => form.as_str(),
        _ => "",
    };
    // Free text of a string parameter is a value, not a reference, so only reference parameters are looked at.
    for pair in call.query.split('&').chain(form.split('&')) {
        let (key, values) = pair.split_once('=').unwrap_or((pair, ""));
        let name = key.split(':').next().unwrap_or("");
        if fhir::params::find(kind, name).is_some_and(|param| param.patient) {
            assert!(!values.split(',').any(|value| speaks_of_another(&value.replace("%3A", ":"))), "{pair}");
        }
    }
}
