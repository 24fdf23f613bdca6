//! Refresh, offline and online access (A.6, C.6).

use serde_json::Value;

use super::assertions::at_once;
use super::questions::is_alive;
use crate::flow::Grant;
use crate::http::{Send, pairs};
use crate::jose::nonce;
use crate::row::{Cases, Checked, Row, Stop};
use crate::suite::{Fixture, Suite, Who};

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "RF-04",
        clause: "SMART App Launch 2.2, App Launch, refresh; R110-R114 R118",
        sends: "a refresh",
        expects: "access_token, token_type, expires_in, scope as granted, context kept, no-store; the token works",
        check: |suite, cases| Box::pin(honest(suite, cases)),
    },
    Row {
        id: "RF-03",
        clause: "SMART App Launch 2.2, App Launch, request-7; R109",
        sends: "scope equal to the granted set; a part of it; in another order",
        expects: "granted so",
        check: |suite, cases| Box::pin(subsets(suite, cases)),
    },
    Row {
        id: "NEG-163",
        clause: "RFC 6749 §6; R103 R104 R109; PF-09",
        sends: "scope that adds a type, a letter, a level, a wildcard, openid",
        expects: "400 invalid_scope",
        check: |suite, cases| Box::pin(wider(suite, cases)),
    },
    Row {
        id: "NEG-165",
        clause: "RFC 6749 §6; PF-09",
        sends: "the whole type for a granular grant; another part of it",
        expects: "400 invalid_scope",
        check: |suite, cases| Box::pin(granular(suite, cases)),
    },
    Row {
        id: "NEG-166",
        clause: "RFC 6749 §6",
        sends: "granted .rs, asked .r",
        expects: "narrower, and only that",
        check: |suite, cases| Box::pin(narrower(suite, cases)),
    },
    Row {
        id: "NEG-160",
        clause: "RFC 9700 §4.14.2; RF-08; PF-08",
        sends: "a rotated refresh token of a public client again, after its successor was used",
        expects: "400 invalid_grant, and the whole family is dead",
        check: |suite, cases| Box::pin(reuse(suite, cases)),
    },
    Row {
        id: "NEG-161",
        clause: "RFC 9700 §4.14.2; D-04",
        sends: "the same refresh token twice in a row",
        expects: "the same answer again, or a refusal: never two live branches",
        check: |suite, cases| Box::pin(twice(suite, cases)),
    },
    Row {
        id: "NEG-061r",
        clause: "RFC 9700 §4.14.2; issue: concurrency",
        sends: "the same refresh token of a public client 50 times at once",
        expects: "at most one successor",
        check: |suite, cases| Box::pin(parallel(suite, cases)),
    },
    Row {
        id: "NEG-162",
        clause: "RFC 6749 §6, §10.4; RF-02; R103",
        sends: "another client's refresh token; one made up; an access token; a code; none",
        expects: "400 invalid_grant (invalid_request for none); the real one is unhurt",
        check: |suite, cases| Box::pin(foreign(suite, cases)),
    },
    Row {
        id: "NEG-164",
        clause: "RFC 6749 §3.2.1",
        sends: "a confidential client's refresh token without its proof",
        expects: "400 or 401 invalid_client",
        check: |suite, cases| Box::pin(unproved(suite, cases)),
    },
    Row {
        id: "RF-01",
        clause: "SMART App Launch 2.2, App Launch, refresh; R100 R101",
        sends: "a request without offline_access and online_access",
        expects: "no refresh token",
        check: |suite, cases| Box::pin(unasked(suite, cases)),
    },
];

/// The base scopes and whatever gives this client a refresh token.
pub(super) fn scope(suite: &Suite, client: &Fixture) -> String {
    let asked = client.spec.scope.split_whitespace().find(|scope| matches!(*scope, "offline_access" | "online_access"));
    let usual = if suite.target.can("permission-offline") { "offline_access" } else { "online_access" };
    format!("{} {}", suite.config.scopes.base, asked.unwrap_or(usual))
}

async fn granted<'a>(suite: &'a Suite, app: &'a Fixture, more: &str) -> Result<Grant<'a>, Stop> {
    let grant = suite.grant(app, format!("{} {more}", scope(suite, app)).trim()).await?;
    grant.refresh()?;
    Ok(grant)
}

async fn honest(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    let grant = granted(suite, app, "").await?;
    let answer = suite.refresh(app, grant.refresh()?, None).await?;
    let next = suite.granted(app, answer)?;
    cases.expect("token_type", next.text("token_type") == grant.text("token_type"), next.text("token_type"));
    cases.expect("expires_in", next.body.get("expires_in").is_some_and(Value::is_u64), next.answer.shown());
    let sorted = |grant: &Grant<'_>| {
        let mut scopes: Vec<String> = grant.scopes().into_iter().map(str::to_owned).collect();
        scopes.sort();
        scopes
    };
    cases.expect("scope", sorted(&next) == sorted(&grant), next.text("scope"));
    let cache = next.answer.header("cache-control");
    cases.expect("no-store (TK-05)", cache.contains("no-store"), cache);
    cases.expect("another access token", next.access() != grant.access(), "the same one came");
    let read = suite.fhir(&next, &format!("Patient/{}", suite.p1()?)).await?;
    cases.status("context is kept (RF-05)", &read, &[200]);
    if let Some(patient) = next.body.get("patient") {
        cases.expect("patient", Some(patient) == grant.body.get("patient"), "another patient");
    }
    Ok(())
}

async fn subsets(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    let grant = granted(suite, app, "").await?;
    let all = grant.scopes();
    let reversed: Vec<&str> = all.iter().rev().copied().collect();
    let mut refresh = grant.refresh()?.to_owned();
    for (name, scope) in [
        ("the whole set", all.join(" ")),
        ("in another order", reversed.join(" ")),
        ("a part", "patient/Patient.rs".to_owned()),
    ] {
        let answer = suite.refresh(app, &refresh, Some(&scope)).await?;
        let got = answer.member("scope");
        let held =
            answer.status == 200 && got.split_whitespace().all(|have| scope.split(' ').any(|asked| asked == have));
        cases.expect(name, held && !got.is_empty(), format!("{}; asked `{scope}`", answer.shown()));
        let next = answer.member("refresh_token");
        if !next.is_empty() {
            refresh = next;
        }
    }
    Ok(())
}

async fn wider(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    for extra in [
        "patient/Immunization.rs",
        "patient/Patient.cruds",
        "user/Patient.rs",
        "patient/*.rs",
        "openid",
        "system/Patient.rs",
        "nope",
    ] {
        let grant = granted(suite, app, "").await?;
        if grant.scopes().contains(&extra) {
            continue;
        }
        let asked = format!("{} {extra}", grant.text("scope"));
        let answer = suite.refresh(app, grant.refresh()?, Some(&asked)).await?;
        cases.refused(extra, &answer, &[400], &["invalid_scope"]);
    }
    Ok(())
}

async fn granular(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    let scopes = &suite.config.scopes;
    let grant = granted(suite, app, &scopes.granular).await?;
    if !grant.scopes().contains(&scopes.granular.as_str()) || grant.scopes().contains(&scopes.wide.as_str()) {
        return Err(Stop::Skip(format!("`{}` was not granted as asked", scopes.granular)));
    }
    for asked in [&scopes.wide, &scopes.granular_other, &scopes.v1] {
        let grant = granted(suite, app, &scopes.granular).await?;
        let answer = suite.refresh(app, grant.refresh()?, Some(asked)).await?;
        cases.refused(asked.as_str(), &answer, &[400], &["invalid_scope"]);
    }
    Ok(())
}

async fn narrower(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    let grant = granted(suite, app, "").await?;
    let answer = suite.refresh(app, grant.refresh()?, Some("patient/Patient.r")).await?;
    let next = suite.granted(app, answer)?;
    cases.expect("scope", next.text("scope") == "patient/Patient.r", next.text("scope"));
    let p1 = suite.p1()?;
    cases.status("it reads", &suite.fhir(&next, &format!("Patient/{p1}")).await?, &[200]);
    cases.status("it does not search", &suite.fhir(&next, &format!("Patient?_id={p1}")).await?, &[403]);
    Ok(())
}

/// A public client's grant whose refresh token was exchanged: the old one, and its successor.
async fn rotated(suite: &Suite) -> Result<(&Fixture, String, Grant<'_>), Stop> {
    let app = suite.client(Who::Pub)?;
    let grant = granted(suite, app, "").await?;
    let old = grant.refresh()?.to_owned();
    let next = suite.granted(app, suite.refresh(app, &old, None).await?)?;
    if next.text("refresh_token").is_empty() || next.text("refresh_token") == old {
        if app.proof.is_some() {
            return Err(Stop::Skip("the token is bound to a key and does not rotate".into()));
        }
        return Err(Stop::Fail("a public client's refresh token neither rotates nor is it bound".into()));
    }
    Ok((app, old, next))
}

async fn reuse(suite: &Suite, cases: &mut Cases) -> Checked {
    let (app, old, next) = rotated(suite).await?;
    // The successor was used: the grace for an answer that was lost on its way is over.
    let last = suite.granted(app, suite.refresh(app, next.refresh()?, None).await?)?;
    cases.expect("alive before", is_alive(suite, &last).await?, "a new token is dead");
    cases.refused("the first again", &suite.refresh(app, &old, None).await?, &[400], &["invalid_grant"]);
    let dead = suite.refresh(app, last.refresh()?, None).await?;
    cases.refused("the newest refresh token then", &dead, &[400], &["invalid_grant"]);
    cases.expect("the newest access token then", !is_alive(suite, &last).await?, "it is still alive");
    Ok(())
}

async fn twice(suite: &Suite, cases: &mut Cases) -> Checked {
    let (app, old, next) = rotated(suite).await?;
    let again = suite.refresh(app, &old, None).await?;
    if !again.has_token() {
        cases.refused("the second", &again, &[400], &["invalid_grant"]);
        return Ok(());
    }
    let branch = again.member("refresh_token");
    if branch == next.text("refresh_token") || branch.is_empty() {
        cases.expect("the same successor", true, "");
        return Ok(());
    }
    // Two successors: one of them must be dead once the other was used.
    let first = suite.refresh(app, next.refresh()?, None).await?;
    let second = suite.refresh(app, &branch, None).await?;
    let live = [&first, &second].iter().filter(|answer| answer.has_token()).count();
    cases.expect("one live branch", live <= 1, "both successors work");
    Ok(())
}

async fn parallel(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.client(Who::Pub)?;
    if app.proof.is_some() {
        return Err(Stop::Skip("this client must prove possession".into()));
    }
    let grant = granted(suite, app, "").await?;
    let fields = pairs(&[("grant_type", "refresh_token"), ("refresh_token", grant.refresh()?)]);
    let send = suite.authenticated(app, &suite.endpoint("token_endpoint")?, fields)?;
    let answers = at_once(app, 50, |_| send.clone()).await?;
    let mut successors: Vec<String> =
        answers.iter().map(|answer| answer.member("refresh_token")).filter(|token| !token.is_empty()).collect();
    successors.sort();
    successors.dedup();
    cases.expect("successors", successors.len() <= 1, format!("{} different refresh tokens", successors.len()));
    let broken = answers.iter().filter(|answer| answer.status >= 500 && answer.status != 503).count();
    cases.expect("no faults", broken == 0, format!("{broken} of 50 were 5xx"));
    Ok(())
}

async fn foreign(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    let grant = granted(suite, app, "").await?;
    let refresh = grant.refresh()?;
    let wrong = [
        ("made up", nonce()),
        ("an access token", grant.access().to_owned()),
        ("a code", grant.code.as_ref().map(|(code, _)| code.clone()).unwrap_or_default()),
        ("cut", refresh.get(1..).unwrap_or_default().to_owned()),
        ("10 kB", "r".repeat(10_000)),
    ];
    for (name, token) in wrong {
        // A spent code sent as a refresh token is not the replay of that code.
        cases.refused(name, &suite.refresh(app, &token, None).await?, &[400], &["invalid_grant", "invalid_request"]);
    }
    let none = suite.token(app, pairs(&[("grant_type", "refresh_token")])).await?;
    cases.refused("none", &none, &[400], &["invalid_request"]);
    match [Who::Other, Who::Asy, Who::Sym]
        .into_iter()
        .filter_map(|who| suite.client(who).ok())
        .find(|other| other.spec.id != app.spec.id)
    {
        Some(other) => {
            let answer = suite.refresh(other, refresh, None).await?;
            cases.refused("by another client", &answer, &[400], &["invalid_grant", "unauthorized_client"]);
        }
        None => cases.skip("by another client", "the configuration file has no second app client"),
    }
    cases.status("the real one is unhurt", &suite.refresh(app, refresh, None).await?, &[200]);
    Ok(())
}

async fn unproved(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.first(&[Who::Asy, Who::Sym, Who::Asyu])?;
    let grant = granted(suite, app, "").await?;
    let fields =
        pairs(&[("grant_type", "refresh_token"), ("refresh_token", grant.refresh()?), ("client_id", &app.spec.id)]);
    let answer = suite.send(Send::form(&suite.endpoint("token_endpoint")?, &fields)).await?;
    cases.refused("its name alone", &answer, &[400, 401], &["invalid_client", "invalid_request"]);
    Ok(())
}

async fn unasked(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    let grant = suite.grant(app, &suite.config.scopes.base).await?;
    cases.expect("no refresh token", grant.body.get("refresh_token").is_none(), "one came unasked");
    Ok(())
}
