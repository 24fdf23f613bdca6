//! Scopes as they are granted and enforced (A.7, C.7).

use crate::flow::Grant;
use crate::row::{Cases, Checked, Row, Stop};
use crate::suite::{Fixture, Suite, Who};

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "SC-03",
        clause: "SMART App Launch 2.2, Scopes; R126-R128; D-09",
        sends: "a SMART 1 scope",
        expects: "granted as spelled, and it reads and searches",
        check: |suite, cases| Box::pin(v1(suite, cases)),
    },
    Row {
        id: "NEG-190",
        clause: "SMART App Launch 2.2, Scopes; R129; SC-01, SC-04; PF-15",
        sends: "scopes that are nearly right",
        expects: "never granted",
        check: |suite, cases| Box::pin(nearly(suite, cases)),
    },
    Row {
        id: "NEG-192",
        clause: "SMART App Launch 2.2, Scopes; SC-18",
        sends: "a wildcard type with a search parameter",
        expects: "not granted as asked, unless every type has the parameter",
        check: |suite, cases| Box::pin(wildcard(suite, cases)),
    },
    Row {
        id: "NEG-193",
        clause: "SMART App Launch 2.2, Scopes; SC-18",
        sends: "unknown parameter, modifier, chain, _filter",
        expects: "not granted, and never silently the whole type",
        check: |suite, cases| Box::pin(unenforceable(suite, cases)),
    },
    Row {
        id: "NEG-194",
        clause: "SMART App Launch 2.2, Scopes; D-09",
        sends: "a granular scope with | in its value",
        expects: "the same text in token response, introspection and token",
        check: |suite, cases| Box::pin(same_text(suite, cases)),
    },
    Row {
        id: "NEG-195",
        clause: "SMART App Launch 2.2, Scopes; SC-06",
        sends: "two granular scopes for one type, then a search of each part and of the whole",
        expects: "both parts and nothing else",
        check: |suite, cases| Box::pin(two_parts(suite, cases)),
    },
    Row {
        id: "NEG-197",
        clause: "SMART App Launch 2.2, Scopes; SC-02",
        sends: ".r alone: a search; .s alone: a read, a vread, a history",
        expects: "403",
        check: |suite, cases| Box::pin(letters(suite, cases)),
    },
    Row {
        id: "NEG-196",
        clause: "SMART App Launch 2.2, Scopes; SC-13",
        sends: "patient/ and user/ scopes in one request",
        expects: "possible: each granted or left out, no refusal of the whole",
        check: |suite, cases| Box::pin(mixed(suite, cases)),
    },
    Row {
        id: "CX-02",
        clause: "SMART App Launch 2.2, Scopes; R164 R165",
        sends: "patient/ scopes with and without launch/patient",
        expects: "a patient in context whenever a patient/ scope is granted",
        check: |suite, cases| Box::pin(in_context(suite, cases)),
    },
    Row {
        id: "CX-03",
        clause: "SMART App Launch 2.2, Scopes; R168-R192",
        sends: "a standalone launch with launch/patient",
        expects: "patient a bare id at top level; every other member of its type",
        check: |suite, cases| Box::pin(members(suite, cases)),
    },
];

/// What is granted of base and `more`; empty when it was refused as a whole.
async fn granted(suite: &Suite, more: &str) -> Result<Vec<String>, Stop> {
    granted_to(suite, suite.app()?, more).await
}

async fn granted_to(suite: &Suite, app: &Fixture, more: &str) -> Result<Vec<String>, Stop> {
    let ask = suite.ask(app, format!("{} {more}", suite.config.scopes.base).trim())?;
    let conduct = suite.conduct(Some(suite.alice()?), Some(suite.p1()?));
    let walk = suite.walk(app, &ask, &conduct).await?;
    let landing = crate::flow::landed(&walk)?;
    if landing.get("code").is_empty() {
        return Ok(Vec::new());
    }
    let grant = suite.granted(app, suite.token(app, crate::flow::exchange(&ask, landing.get("code"))).await?)?;
    Ok(grant.scopes().into_iter().map(str::to_owned).collect())
}

async fn grant<'a>(suite: &'a Suite, more: &str) -> Result<Grant<'a>, Stop> {
    suite.grant(suite.app()?, format!("{} {more}", suite.config.scopes.base).trim()).await
}

fn kind(scope: &str) -> &str {
    scope.split(['/', '.']).nth(1).unwrap_or_default()
}

async fn v1(suite: &Suite, cases: &mut Cases) -> Checked {
    if !suite.target.can("permission-v1") {
        return Err(Stop::Skip("permission-v1 is not among the capabilities".into()));
    }
    let scope = &suite.config.scopes.v1;
    let grant = grant(suite, scope).await?;
    cases.expect("as spelled", grant.scopes().contains(&scope.as_str()), grant.text("scope"));
    let answer = suite.fhir(&grant, &format!("{}?patient={}", kind(scope), suite.p1()?)).await?;
    cases.status("it searches", &answer, &[200]);
    Ok(())
}

async fn nearly(suite: &Suite, cases: &mut Cases) -> Checked {
    for scope in [
        "patient/Immunization.",
        "patient/Immunization.sr",
        "patient/Immunization.dus",
        "patient/Immunization.rr",
        "patient/Immunization.RS",
        "patient/Immunization.rs?",
        "patient/Immunization.rs?=",
        "patient/Immunization.rs?x",
        "patient/immunization.rs",
        "patients/Immunization.rs",
        "patient/Nope.rs",
        "Patient/Immunization.rs",
        "patient/Immunization",
        "patient/Immunization.reads",
        "patient/Immunization.read.write",
        "xpatient/Immunization.rs",
        "patient/Immunization.rs/x",
        "patient//Immunization.rs",
        "patient/Immunization.Read",
        "launch/patient/Immunization.rs",
    ] {
        let got = granted(suite, scope).await?;
        let opened = got.iter().any(|have| have.to_lowercase().contains("immunization") || have.contains("Nope"));
        cases.expect(scope, !opened, format!("granted `{}`", got.join(" ")));
    }
    Ok(())
}

async fn wildcard(suite: &Suite, cases: &mut Cases) -> Checked {
    let got = granted(suite, "patient/*.rs?category=laboratory").await?;
    let wide = got.iter().any(|scope| scope.starts_with("patient/*"));
    cases.expect("patient/*.rs?category=…", !wide, got.join(" "));
    Ok(())
}

async fn unenforceable(suite: &Suite, cases: &mut Cases) -> Checked {
    for scope in [
        "patient/Immunization.rs?nope=1",
        "patient/Immunization.rs?status:not=x",
        "patient/Immunization.rs?patient.name=x",
        "patient/Immunization.rs?_filter=x",
        "patient/Immunization.rs?_has:Observation:x:y=z",
    ] {
        let got = granted(suite, scope).await?;
        let opened = got.iter().any(|have| kind(have) == "Immunization");
        cases.expect(scope, !opened, format!("granted `{}`", got.join(" ")));
    }
    Ok(())
}

/// A grant of granular scopes, as asked.
async fn parts<'a>(suite: &'a Suite, scopes: &[&str]) -> Result<Grant<'a>, Stop> {
    let grant = grant(suite, &scopes.join(" ")).await?;
    let missing = scopes.iter().find(|scope| !grant.scopes().contains(scope));
    match missing {
        Some(scope) => Err(Stop::Skip(format!("`{scope}` was not granted as asked"))),
        None => Ok(grant),
    }
}

async fn same_text(suite: &Suite, cases: &mut Cases) -> Checked {
    let scope = suite.config.scopes.granular.as_str();
    let grant = parts(suite, &[scope]).await?;
    let asker = suite.asker(grant.client)?;
    let told = suite.introspect(asker, grant.access()).await?.member("scope");
    cases.expect("introspection", told.split(' ').any(|have| have == scope), told);
    if let Some((_, claims)) = crate::jose::peek(grant.access()) {
        let told = claims.get("scope").and_then(serde_json::Value::as_str).unwrap_or_default();
        cases.expect("the token", told.split(' ').any(|have| have == scope), told);
    }
    Ok(())
}

async fn two_parts(suite: &Suite, cases: &mut Cases) -> Checked {
    let scopes = &suite.config.scopes;
    let grant = parts(suite, &[&scopes.granular, &scopes.granular_other]).await?;
    let p1 = suite.p1()?;
    let query = |scope: &str| scope.split_once('?').map_or("", |(_, query)| query).replace('|', "%7C");
    let mut sum = 0;
    for scope in [&scopes.granular, &scopes.granular_other] {
        let answer = suite.fhir(&grant, &format!("{}?patient={p1}&{}&_count=200", kind(scope), query(scope))).await?;
        cases.status(scope.as_str(), &answer, &[200]);
        let found = answer.json().get("entry").and_then(serde_json::Value::as_array).map_or(0, Vec::len);
        cases.expect(format!("{scope}: not silently empty"), found > 0, "P1 has none; choose other parts in [scopes]");
        sum += found;
    }
    let all = suite.fhir(&grant, &format!("{}?patient={p1}&_count=200", kind(&scopes.granular))).await?;
    let found = all.json().get("entry").and_then(serde_json::Value::as_array).map_or(0, Vec::len);
    let next = all.text().contains("\"next\"");
    cases.expect(
        "the whole type gives both parts and no more (RS-06)",
        found <= sum && (found > 0 || next),
        format!("{found} of {sum}"),
    );
    Ok(())
}

async fn letters(suite: &Suite, cases: &mut Cases) -> Checked {
    let p1 = suite.p1()?;
    let app = suite.app()?;
    let read = suite.grant(app, "launch/patient patient/Patient.r").await?;
    if read.scopes().contains(&"patient/Patient.r") {
        cases.status(".r: a read", &suite.fhir(&read, &format!("Patient/{p1}")).await?, &[200]);
        cases.status(".r: a search", &suite.fhir(&read, &format!("Patient?_id={p1}")).await?, &[403]);
    } else {
        cases.skip(".r", "patient/Patient.r was not granted as asked");
    }
    let search = suite.grant(app, "launch/patient patient/Patient.s").await?;
    if search.scopes().contains(&"patient/Patient.s") {
        for path in ["", "/_history", "/_history/1"] {
            cases.status(format!(".s: {path}"), &suite.fhir(&search, &format!("Patient/{p1}{path}")).await?, &[403]);
        }
    } else {
        cases.skip(".s", "patient/Patient.s was not granted as asked");
    }
    Ok(())
}

async fn mixed(suite: &Suite, cases: &mut Cases) -> Checked {
    // A patient's own app may be of a kind that never holds `user/`; one with a proof of its own is rather a clinician's.
    let app = suite.first(&[Who::Asy, Who::Sym, Who::Asyu, Who::Pub])?;
    let got = granted_to(suite, app, "user/Patient.rs").await?;
    cases.expect("patient/ and user/", !got.is_empty(), "the whole request was refused");
    Ok(())
}

async fn in_context(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    for scope in [suite.config.scopes.base.clone(), suite.config.scopes.base.replace("launch/patient", "")] {
        let ask = suite.ask(app, scope.trim())?;
        let conduct = suite.conduct(Some(suite.alice()?), Some(suite.p1()?));
        let landing = crate::flow::landed(&suite.walk(app, &ask, &conduct).await?)?;
        if landing.get("code").is_empty() {
            cases.expect(format!("`{scope}` refused"), !landing.get("error").is_empty(), "neither code nor error");
            continue;
        }
        let grant = suite.granted(app, suite.token(app, crate::flow::exchange(&ask, landing.get("code"))).await?)?;
        let level = grant.scopes().iter().any(|scope| scope.starts_with("patient/"));
        cases.expect(
            format!("`{scope}`"),
            !level || !grant.text("patient").is_empty(),
            "patient/ scopes without a patient",
        );
    }
    Ok(())
}

async fn members(suite: &Suite, cases: &mut Cases) -> Checked {
    let grant = grant(suite, "").await?;
    let patient = grant.text("patient");
    cases.expect("patient is the one picked", patient == suite.p1()?, "another one, or none");
    cases.expect("a bare id", !patient.contains('/'), "it has a slash");
    let typed = |name: &str, fits: fn(&serde_json::Value) -> bool| grant.body.get(name).is_none_or(fits);
    cases.expect(
        "encounter",
        typed("encounter", |value| value.as_str().is_some_and(|id| !id.contains('/'))),
        "no bare id",
    );
    cases.expect(
        "need_patient_banner (CX-04)",
        typed("need_patient_banner", serde_json::Value::is_boolean),
        "no boolean",
    );
    for name in ["intent", "smart_style_url", "tenant"] {
        cases.expect(format!("{name} (CX-04)"), typed(name, serde_json::Value::is_string), "no string");
    }
    let context = grant.body.get("fhirContext").and_then(serde_json::Value::as_array);
    for item in context.into_iter().flatten() {
        let named = ["reference", "canonical", "identifier"].iter().any(|name| item.get(*name).is_some());
        let relative = item
            .get("reference")
            .and_then(serde_json::Value::as_str)
            .is_none_or(|reference| !reference.contains("://"));
        let role = item.get("role").is_none_or(|role| role.as_str().is_some_and(|role| !role.is_empty()));
        cases.expect("fhirContext (CX-05)", named && relative && role, item.to_string());
    }
    Ok(())
}
