//! The authorization request (A.3, C.2): what is refused, how, and where the answer goes.

mod redirects;

use self::redirects::{clients, never_redirected, redirects};
use crate::browser::{Decision, End, Walk};
use crate::flow::{Ask, Landing, landed};
use crate::http::Send;
use crate::jose::nonce;
use crate::row::{Cases, Checked, Row, Stop};
use crate::suite::{Fixture, Suite};

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "AZ-05",
        clause: "SMART App Launch 2.2, App Launch, response; R56 R57 R59",
        sends: "an honest request by GET",
        expects: "a code and byte-exact state at the redirect URI",
        check: |suite, cases| Box::pin(honest(suite, cases)),
    },
    Row {
        id: "NEG-033",
        clause: "SMART App Launch 2.2, App Launch; AZ-01; R48 R49",
        sends: "the same by POST with a form",
        expects: "the same",
        check: |suite, cases| Box::pin(by_post(suite, cases)),
    },
    Row {
        id: "AZ-02",
        clause: "SMART App Launch 2.2, App Launch, request",
        sends: "each required parameter missing, and empty",
        expects: "invalid_request (unsupported_response_type for response_type), no code",
        check: |suite, cases| Box::pin(missing(suite, cases)),
    },
    Row {
        id: "AZ-03",
        clause: "SMART App Launch 2.2, App Launch; RFC 8707 §2",
        sends: "aud of another server, of the issuer, in other case, with a path behind, of the host alone",
        expects: "refused, no code; a slash at the end is accepted or refused",
        check: |suite, cases| Box::pin(audience(suite, cases)),
    },
    Row {
        id: "NEG-020",
        clause: "RFC 9700 §2.1, §4.1; AZ-08, AZ-09",
        sends: "redirect_uri: slash, case, query, fragment, dots, user info, port, scheme, sub-domain, other host",
        expects: "an error page, never a redirect there",
        check: |suite, cases| Box::pin(redirects(suite, cases)),
    },
    Row {
        id: "NEG-021",
        clause: "RFC 6749 §4.1.2.1; RFC 9700 §4.11; AZ-08",
        sends: "an unknown client, none, another client's redirect URI",
        expects: "an error page, never a redirect",
        check: |suite, cases| Box::pin(clients(suite, cases)),
    },
    Row {
        id: "NEG-024",
        clause: "RFC 7636 §4.3, §4.4.1; SMART App Launch 2.2, PKCE; AZ-04; R14 R15",
        sends: "code_challenge_method plain, missing, s256, S512; no challenge",
        expects: "invalid_request, no code",
        check: |suite, cases| Box::pin(methods(suite, cases)),
    },
    Row {
        id: "NEG-025",
        clause: "RFC 7636 §4.2",
        sends: "a challenge of 42 or 44 characters, not base64url, empty, very long",
        expects: "invalid_request, no code",
        check: |suite, cases| Box::pin(challenges(suite, cases)),
    },
    Row {
        id: "NEG-026",
        clause: "RFC 9700 §2.1.2; RFC 6749 §4.1.2.1; AZ-17",
        sends: "response_type token, id_token, code token, code id_token, Code, none",
        expects: "unsupported_response_type, no token",
        check: |suite, cases| Box::pin(response_types(suite, cases)),
    },
    Row {
        id: "NEG-027",
        clause: "OAuth 2.0 Multiple Response Types §2.1; RFC 9700 §4.3.1",
        sends: "response_mode fragment, form_post, unknown",
        expects: "the code never in a fragment; refused or ignored",
        check: |suite, cases| Box::pin(response_modes(suite, cases)),
    },
    Row {
        id: "NEG-028",
        clause: "RFC 8707 §2",
        sends: "resource that differs from aud",
        expects: "invalid_target or invalid_request",
        check: |suite, cases| Box::pin(resource(suite, cases)),
    },
    Row {
        id: "NEG-029",
        clause: "SMART App Launch 2.2, App Launch, request",
        sends: "no state",
        expects: "invalid_request, no code",
        check: |suite, cases| Box::pin(no_state(suite, cases)),
    },
    Row {
        id: "AZ-11",
        clause: "SMART App Launch 2.2, App Launch; R59",
        sends: "state of odd characters and of 2 kB",
        expects: "returned byte by byte",
        check: |suite, cases| Box::pin(odd_states(suite, cases)),
    },
    Row {
        id: "NEG-031",
        clause: "RFC 6749 §3.1; AZ-10",
        sends: "scope, state, client_id, redirect_uri, response_type, code_challenge twice",
        expects: "invalid_request; no redirect where client or redirect URI is doubtful",
        check: |suite, cases| Box::pin(repeated(suite, cases)),
    },
    Row {
        id: "NEG-032",
        clause: "RFC 6749 §3.1; AZ-10",
        sends: "unknown parameters; an empty launch",
        expects: "ignored; counts as absent",
        check: |suite, cases| Box::pin(unknown_parameters(suite, cases)),
    },
    Row {
        id: "NEG-037",
        clause: "RFC 9207 §2; RFC 9700 §4.4; AZ-12",
        sends: "a success and an error",
        expects: "iss equals the issuer; the metadata says so",
        check: |suite, cases| Box::pin(issuer(suite, cases)),
    },
    Row {
        id: "NEG-038",
        clause: "OpenID Connect Core §3.1.2.1, §3.1.2.6; AZ-18",
        sends: "prompt=none without a session",
        expects: "login_required, interaction_required or consent_required",
        check: |suite, cases| Box::pin(silently(suite, cases)),
    },
    Row {
        id: "NEG-039",
        clause: "SMART App Launch 2.2, App Launch; R54; AZ-07",
        sends: "the person denies",
        expects: "access_denied with state and iss",
        check: |suite, cases| Box::pin(denied(suite, cases)),
    },
    Row {
        id: "NEG-030",
        clause: "RFC 6749 §4.1.2.1; SC-04",
        sends: "no scope; scopes of nobody; ten thousand of them",
        expects: "invalid_scope or invalid_request, or none of them granted; never 5xx",
        check: |suite, cases| Box::pin(scopes(suite, cases)),
    },
    Row {
        id: "NEG-045",
        clause: "SMART App Launch 2.2, App Launch; LN-02, LN-03",
        sends: "launch with a made-up handle; the launch scope without one",
        expects: "invalid_request, no code",
        check: |suite, cases| Box::pin(launch(suite, cases)),
    },
    Row {
        id: "NEG-046",
        clause: "OpenID Connect Core §6; RFC 9101",
        sends: "request and request_uri of an attacker",
        expects: "request_not_supported, request_uri_not_supported, invalid_request or ignored; nothing is fetched",
        check: |suite, cases| Box::pin(request_objects(suite, cases)),
    },
];

/// Walks as Alice, or as nobody where the file has no people: refusals may come before the login.
async fn tried(suite: &Suite, app: &Fixture, ask: &Ask) -> Result<Walk, Stop> {
    let conduct = suite.conduct(suite.alice().ok(), suite.p1().ok());
    let send = Send::get(&suite.authorize_url(&ask.params)?);
    let _ = app;
    Ok(suite.browser(ask).walk(send, &conduct).await)
}

/// Refused: one of the errors at the redirect URI with the state, or an error page. Never a code.
fn refused(suite: &Suite, cases: &mut Cases, name: &str, ask: &Ask, walk: &Walk, errors: &[&str]) {
    match &walk.end {
        End::App(location) => {
            let landing = Landing::read(location);
            let at_home = location.starts_with(&ask.redirect_uri);
            let held = at_home && landing.get("code").is_empty() && errors.contains(&landing.get("error"));
            let state = ask.get("state").is_empty() || landing.get("state") == ask.get("state");
            let tokens = location.contains("access_token=") || location.contains("id_token=");
            let saw =
                format!("error `{}`, code {}, state {}", landing.get("error"), !landing.get("code").is_empty(), state);
            cases.expect(name, held && state && !tokens, format!("{saw}; expected {}", errors.join(" or ")));
        }
        End::Page(page) if page.kind().is_some() && page.answer.status < 400 => {
            if suite.alice().is_err() {
                cases.skip(name, "the server asks to sign in first, and the file has no [people.alice]");
            } else {
                cases.expect(name, false, format!("the person is asked on: {:?}", page.kind()));
            }
        }
        End::Page(page) => {
            cases.expect(name, (400..500).contains(&page.answer.status), format!("a page with {}", page.answer.status));
        }
        End::Lost(why) => cases.expect(name, false, why.clone()),
    }
}

fn ask(suite: &Suite, app: &Fixture) -> Result<Ask, Stop> {
    suite.ask(app, &suite.config.scopes.base)
}

async fn honest(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    let ask = ask(suite, app)?;
    let landing = suite.code(app, &ask).await?;
    cases.expect("state", landing.get("state") == ask.state, "another state came back");
    cases.expect("a code of at least 128 bits", landing.get("code").len() >= 22, "it is shorter");
    Ok(())
}

async fn by_post(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    if app.spec.par {
        return Err(Stop::Skip("this client must push its requests".into()));
    }
    let ask = ask(suite, app)?;
    let endpoint = suite.endpoint("authorization_endpoint")?;
    let conduct = suite.conduct(Some(suite.alice()?), Some(suite.p1()?));
    let walk = suite.browser(&ask).walk(Send::form(&endpoint, &ask.params), &conduct).await;
    let landing = landed(&walk)?;
    cases.expect("a code", !landing.get("code").is_empty(), landing.get("error"));
    cases.expect("state", landing.get("state") == ask.state, "another state came back");
    Ok(())
}

async fn missing(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    for name in ["response_type", "scope", "state", "aud", "code_challenge", "code_challenge_method"] {
        let errors: &[&str] = match name {
            "response_type" => &["invalid_request", "unsupported_response_type"],
            "scope" => &["invalid_request", "invalid_scope"],
            "aud" => &["invalid_request", "invalid_target"],
            _ => &["invalid_request"],
        };
        let without = ask(suite, app)?.without(name);
        refused(suite, cases, &format!("{name} missing"), &without, &tried(suite, app, &without).await?, errors);
        let empty = ask(suite, app)?.set(name, "");
        refused(suite, cases, &format!("{name} empty"), &empty, &tried(suite, app, &empty).await?, errors);
    }
    Ok(())
}

async fn audience(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    let fhir = &suite.target.fhir;
    let host: String = fhir.split('/').take(3).collect::<Vec<_>>().join("/");
    let issuer = suite.target.issuer.as_str();
    let wrong = [
        "https://other.invalid/fhir".to_owned(),
        if issuer == fhir { "urn:x".to_owned() } else { issuer.to_owned() },
        fhir.to_uppercase(),
        format!("{fhir}/Patient"),
        format!("{fhir}.invalid"),
        format!("{fhir}?x=1"),
        format!("{fhir}#x"),
        format!("{fhir}/../fhir"),
        host,
        "nonsense".into(),
    ];
    for aud in wrong.iter().filter(|aud| *aud != fhir) {
        let ask = ask(suite, app)?.set("aud", aud);
        refused(suite, cases, aud, &ask, &tried(suite, app, &ask).await?, &["invalid_request", "invalid_target"]);
    }
    Ok(())
}

async fn methods(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    let variants = [
        ("plain", ask(suite, app)?.set("code_challenge_method", "plain")),
        ("missing", ask(suite, app)?.without("code_challenge_method")),
        ("s256", ask(suite, app)?.set("code_challenge_method", "s256")),
        ("S512", ask(suite, app)?.set("code_challenge_method", "S512")),
        ("no challenge", ask(suite, app)?.without("code_challenge")),
        ("neither", ask(suite, app)?.without("code_challenge").without("code_challenge_method")),
    ];
    for (name, ask) in &variants {
        refused(suite, cases, name, ask, &tried(suite, app, ask).await?, &["invalid_request"]);
    }
    Ok(())
}

async fn challenges(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    let variants = [
        ("42 characters", "a".repeat(42)),
        ("44 characters", "a".repeat(44)),
        ("128 characters", "a".repeat(128)),
        ("10 kB", "a".repeat(10_000)),
        ("not base64url", format!("{}+/=", "a".repeat(40))),
        ("with padding", format!("{}=", "a".repeat(42))),
        ("a space", format!("{} ", "a".repeat(42))),
        ("not ASCII", "ä".repeat(43)),
    ];
    for (name, challenge) in &variants {
        let ask = ask(suite, app)?.set("code_challenge", challenge);
        refused(suite, cases, name, &ask, &tried(suite, app, &ask).await?, &["invalid_request"]);
    }
    Ok(())
}

async fn response_types(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    for kind in ["token", "id_token", "code token", "code id_token", "id_token token", "Code", "none", "code code"] {
        let ask = ask(suite, app)?.set("response_type", kind);
        let walk = tried(suite, app, &ask).await?;
        refused(
            suite,
            cases,
            kind,
            &ask,
            &walk,
            &["unsupported_response_type", "invalid_request", "unauthorized_client"],
        );
    }
    Ok(())
}

async fn response_modes(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    for mode in ["fragment", "form_post", "made_up"] {
        let ask = ask(suite, app)?.set("response_mode", mode);
        let walk = tried(suite, app, &ask).await?;
        let fragment = matches!(&walk.end, End::App(location) if location.contains('#'));
        let lost = matches!(&walk.end, End::Lost(_));
        cases.expect(mode, !fragment && !lost, "the answer came in a fragment, or none came");
    }
    Ok(())
}

async fn resource(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    let ask = ask(suite, app)?.set("resource", "https://other.invalid/fhir");
    refused(suite, cases, "resource", &ask, &tried(suite, app, &ask).await?, &["invalid_target", "invalid_request"]);
    Ok(())
}

async fn no_state(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    let ask = ask(suite, app)?.without("state");
    refused(suite, cases, "state", &ask, &tried(suite, app, &ask).await?, &["invalid_request"]);
    Ok(())
}

async fn odd_states(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    let states = [
        ("odd characters", "a b+c%20d&e=f#g?h/i\"j'k<l>m;n,o:p@q!r~s".to_owned()),
        ("not ASCII", "zustand-ä-状態-🙂".to_owned()),
        ("2 kB", nonce().repeat(48)),
    ];
    for (name, state) in states {
        let ask = ask(suite, app)?.set("state", &state);
        let landing = suite.code(app, &ask).await?;
        cases.expect(name, landing.get("state") == state, "another state came back");
    }
    Ok(())
}

async fn repeated(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    for name in ["scope", "state", "response_type", "code_challenge", "aud"] {
        let ask = ask(suite, app)?;
        let value = ask.get(name).to_owned();
        let ask = ask.also(name, &value);
        let walk = tried(suite, app, &ask).await?;
        // Which of two states to return nobody can say.
        let judged = if name == "state" { ask.clone().without("state") } else { ask };
        refused(suite, cases, name, &judged, &walk, &["invalid_request"]);
    }
    for (name, second) in [
        ("client_id", app.spec.id.clone()),
        ("redirect_uri", "https://attacker.invalid/cb".into()),
        ("redirect_uri", app.spec.redirect_uri.clone()),
    ] {
        let ask = ask(suite, app)?.also(name, &second);
        never_redirected(suite, cases, name, &tried(suite, app, &ask).await?);
    }
    Ok(())
}

async fn unknown_parameters(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    for (name, value) in
        [("x-unknown", "1"), ("launch", ""), ("admin", "true"), ("patient", "other"), ("__proto__", "x")]
    {
        let ask = ask(suite, app)?.also(name, value);
        let landing = suite.code(app, &ask).await;
        cases.ended(&format!("{name}={value}"), landing.map(drop));
    }
    Ok(())
}

async fn issuer(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    let advertised = suite.target.member("authorization_response_iss_parameter_supported");
    cases.expect("advertised", advertised == Some(&true.into()), format!("{advertised:?}"));
    let right = ask(suite, app)?;
    let landing = suite.code(app, &right).await?;
    cases.expect("with a code", landing.get("iss") == suite.target.issuer, landing.get("iss"));
    let wrong = ask(suite, app)?.set("response_type", "token");
    match tried(suite, app, &wrong).await?.end {
        End::App(location) => {
            let landing = Landing::read(&location);
            cases.expect("with an error", landing.get("iss") == suite.target.issuer, landing.get("iss"));
        }
        _ => cases.skip("with an error", "errors are shown on a page here"),
    }
    Ok(())
}

async fn silently(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    let ask = ask(suite, app)?.set("prompt", "none");
    let walk =
        suite.browser(&ask).walk(Send::get(&suite.authorize_url(&ask.params)?), &suite.conduct(None, None)).await;
    let errors = ["login_required", "interaction_required", "consent_required", "account_selection_required"];
    match &walk.end {
        End::App(location) => {
            let landing = Landing::read(location);
            cases.expect("prompt=none", errors.contains(&landing.get("error")), landing.get("error"));
            cases.expect("state", landing.get("state") == ask.state, "another state came back");
        }
        _ => cases.expect("prompt=none", false, "it did not come back to the app"),
    }
    Ok(())
}

async fn denied(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    let ask = ask(suite, app)?;
    let mut conduct = suite.conduct(Some(suite.alice()?), Some(suite.p1()?));
    conduct.decision = Decision::Deny;
    let walk = suite.walk(app, &ask, &conduct).await?;
    let landing = landed(&walk)?;
    cases.expect("access_denied", landing.get("error") == "access_denied", landing.get("error"));
    cases.expect("state", landing.get("state") == ask.state, "another state came back");
    cases.expect("iss", landing.get("iss") == suite.target.issuer, landing.get("iss"));
    cases.expect("no code", landing.get("code").is_empty(), "a code came");
    Ok(())
}

async fn scopes(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    for (name, scope) in [
        ("nobody's", "nope nope/nope".to_owned()),
        ("system/", "system/*.cruds".into()),
        ("control characters", "patient/Patient.rs\u{7}\"\\".into()),
        ("ten thousand", (0..10_000).map(|number| format!("s{number}")).collect::<Vec<_>>().join(" ")),
    ] {
        let ask = ask(suite, app)?.set("scope", &scope);
        let walk = tried(suite, app, &ask).await?;
        let errors = ["invalid_scope", "invalid_request", "access_denied", "unauthorized_client"];
        if name == "ten thousand" {
            // A request line beyond a server's limit is refused before it is read.
            let ok = match &walk.end {
                End::Page(page) => page.answer.status < 500,
                End::App(location) => Landing::read(location).get("code").is_empty(),
                End::Lost(_) => true,
            };
            cases.expect(name, ok, "5xx, or a code");
        } else {
            refused(suite, cases, name, &ask, &walk, &errors);
        }
    }
    Ok(())
}

async fn launch(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    let scope = format!("launch {}", suite.config.scopes.base.replace("launch/patient", ""));
    for (name, ask) in [
        ("a made-up handle", suite.ask(app, &scope)?.set("launch", &nonce())),
        ("a handle of 10 kB", suite.ask(app, &scope)?.set("launch", &"x".repeat(10_000))),
        ("no handle", suite.ask(app, &scope)?),
    ] {
        let walk = tried(suite, app, &ask).await?;
        let errors = ["invalid_request", "invalid_scope", "access_denied", "invalid_grant"];
        refused(suite, cases, name, &ask, &walk, &errors);
    }
    Ok(())
}

async fn request_objects(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    for (name, value) in [
        ("request", "e30.e30."),
        ("request_uri", "https://attacker.invalid/r"),
        ("request_uri", "urn:ietf:params:oauth:request_uri:made-up"),
    ] {
        let ask = ask(suite, app)?.set(name, value);
        let walk = tried(suite, app, &ask).await?;
        let errors = [
            "request_not_supported",
            "request_uri_not_supported",
            "invalid_request",
            "invalid_request_uri",
            "invalid_request_object",
        ];
        refused(suite, cases, &format!("{name}={value}"), &ask, &walk, &errors);
    }
    Ok(())
}
