//! Launches from an EHR that a person takes part in: the handle in the authorization request (A.4).

use crate::browser::{End, PageKind};
use crate::flow::{Landing, exchange};
use crate::http::Send;
use crate::row::{Cases, Checked, Row, Stop};
use crate::suite::{Fixture, Suite, Who};

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "LN-02",
        clause: "SMART App Launch 2.2, App Launch, launch context",
        sends: "launch scope and a handle for P1",
        expects: "no picker; the token response has that patient",
        check: |suite, cases| Box::pin(resolved(suite, cases)),
    },
    Row {
        id: "NEG-043p",
        clause: "LN-03",
        sends: "such a handle again; by another client",
        expects: "invalid_request, no code",
        check: |suite, cases| Box::pin(misused(suite, cases)),
    },
];

/// An app client that handles can be minted for.
fn app(suite: &Suite) -> Result<&Fixture, Stop> {
    suite.client(Who::Launcher)?;
    let all = [Who::Pub, Who::Asy, Who::Sym, Who::Asyu];
    let found = all.into_iter().filter_map(|who| suite.client(who).ok()).find(|client| client.spec.task.is_some());
    found.ok_or_else(|| Stop::Skip("no app client of the configuration file names a `task` to be launched for".into()))
}

fn scope(suite: &Suite) -> String {
    suite.config.scopes.base.replace("launch/patient", "launch")
}

async fn resolved(suite: &Suite, cases: &mut Cases) -> Checked {
    let (app, p1) = (app(suite)?, suite.p1()?);
    let handle = suite.launch_handle(app, p1).await?;
    let ask = suite.ask(app, &scope(suite))?.set("launch", &handle);
    let walk = suite.walk(app, &ask, &suite.conduct(Some(suite.alice()?), None)).await?;
    let picked = walk.pages.iter().any(|page| page.kind() == Some(PageKind::Picker));
    cases.expect("no picker", !picked, "the person was asked which patient");
    let code = crate::flow::landed(&walk)?.get("code").to_owned();
    let grant = suite.granted(app, suite.token(app, exchange(&ask, &code)).await?)?;
    cases.expect("that patient", grant.text("patient") == p1, "another one, or none");
    Ok(())
}

async fn misused(suite: &Suite, cases: &mut Cases) -> Checked {
    let (app, p1) = (app(suite)?, suite.p1()?);
    let conduct = suite.conduct(Some(suite.alice()?), Some(p1));
    let handle = suite.launch_handle(app, p1).await?;
    let ask = suite.ask(app, &scope(suite))?.set("launch", &handle);
    let code = suite.code(app, &ask).await?.get("code").to_owned();
    suite.granted(app, suite.token(app, exchange(&ask, &code)).await?)?;
    let mut tries = vec![("again", app, suite.ask(app, &scope(suite))?.set("launch", &handle))];
    let all = [Who::Other, Who::Pub, Who::Asy, Who::Sym];
    let other = all
        .into_iter()
        .filter_map(|who| suite.client(who).ok())
        .find(|other| other.spec.id != app.spec.id && !other.spec.redirect_uri.is_empty());
    match other {
        Some(other) => {
            let handle = suite.launch_handle(app, p1).await?;
            tries.push(("by another client", other, suite.ask(other, &scope(suite))?.set("launch", &handle)));
        }
        None => cases.skip("by another client", "the configuration file has no second app client"),
    }
    for (name, _, ask) in &tries {
        let walk = suite.browser(ask).walk(Send::get(&suite.authorize_url(&ask.params)?), &conduct).await;
        let code = matches!(&walk.end, End::App(location) if !Landing::read(location).get("code").is_empty());
        cases.expect(*name, !code, "a code came");
    }
    Ok(())
}
