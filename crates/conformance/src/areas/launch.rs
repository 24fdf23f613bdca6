//! Launches from an EHR that a person takes part in: the handle in the authorization request (A.4).

use crate::browser::{Browser, End, PageKind};
use crate::flow::{Fields, Landing, exchange, landed};
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
        sends: "such a handle again; by another client; in another browser",
        expects: "invalid_request, no code",
        check: |suite, cases| Box::pin(misused(suite, cases)),
    },
];

/// An app in front of which a launch has put a browser, with the handle it got.
struct Launch<'a> {
    app: &'a Fixture,
    browser: Browser,
    handle: String,
}

/// The app that the EHR launches, else one that handles can be minted for.
fn app(suite: &Suite) -> Result<&Fixture, Stop> {
    let all = [Who::Pub, Who::Asy, Who::Sym, Who::Asyu];
    let mut apps = all.into_iter().filter_map(|who| suite.client(who).ok());
    if suite.config.ehr.is_some() {
        let found = apps.find(|client| client.spec.launch_url.is_some());
        return found.ok_or_else(|| Stop::Skip("no app client of the configuration file has a `launch_url`".into()));
    }
    suite.client(Who::Launcher)?;
    let found = apps.find(|client| client.spec.task.is_some());
    found.ok_or_else(|| Stop::Skip("there is no [ehr], and no app client names a `task` to be launched for".into()))
}

/// A launch for P1: by the EHR in a browser of its own, or minted by the launcher.
async fn launched(suite: &Suite) -> Result<Launch<'_>, Stop> {
    let app = app(suite)?;
    let mut browser = suite.browser(&suite.ask(app, "")?);
    let (Some(ehr), Some(url)) = (&suite.config.ehr, &app.spec.launch_url) else {
        return Ok(Launch { app, browser, handle: suite.launch_handle(app, suite.p1()?).await? });
    };
    browser.also_at(url);
    let fields: Fields = ehr.fields.clone().into_iter().collect();
    let walk = browser.walk(Send::form(&ehr.launch, &fields), &suite.conduct(None, None)).await;
    let opened = landed(&walk)?;
    match opened.get("launch") {
        "" => Err(Stop::Fail(format!("the EHR's launch gave no handle, but `{}`", opened.get("error")))),
        handle => Ok(Launch { app, handle: handle.to_owned(), browser }),
    }
}

fn scope(suite: &Suite) -> String {
    suite.config.scopes.base.replace("launch/patient", "launch")
}

async fn resolved(suite: &Suite, cases: &mut Cases) -> Checked {
    let (p1, Launch { app, mut browser, handle }) = (suite.p1()?, launched(suite).await?);
    let ask = suite.ask(app, &scope(suite))?.set("launch", &handle);
    let walk = browser.walk(suite.opening(app, &ask).await?, &suite.conduct(Some(suite.alice()?), None)).await;
    let picked = walk.pages.iter().any(|page| page.kind() == Some(PageKind::Picker));
    cases.expect("no picker", !picked, "the person was asked which patient");
    let code = landed(&walk)?.get("code").to_owned();
    let grant = suite.granted(app, suite.token(app, exchange(&ask, &code)).await?)?;
    cases.expect("that patient", grant.text("patient") == p1, "another one, or none");
    Ok(())
}

async fn misused(suite: &Suite, cases: &mut Cases) -> Checked {
    let conduct = suite.conduct(Some(suite.alice()?), Some(suite.p1()?));
    let Launch { app, mut browser, handle } = launched(suite).await?;
    let ask = suite.ask(app, &scope(suite))?.set("launch", &handle);
    let code = landed(&browser.walk(suite.opening(app, &ask).await?, &conduct).await)?.get("code").to_owned();
    suite.granted(app, suite.token(app, exchange(&ask, &code)).await?)?;
    let again = suite.ask(app, &scope(suite))?.set("launch", &handle);
    let mut tries = vec![("again", browser, again)];
    let all = [Who::Other, Who::Pub, Who::Asy, Who::Sym];
    let other = all
        .into_iter()
        .filter_map(|who| suite.client(who).ok())
        .find(|other| other.spec.id != app.spec.id && !other.spec.redirect_uri.is_empty());
    match other {
        Some(other) => {
            let Launch { mut browser, handle, .. } = launched(suite).await?;
            browser.also_at(&other.spec.redirect_uri);
            tries.push(("by another client", browser, suite.ask(other, &scope(suite))?.set("launch", &handle)));
        }
        None => cases.skip("by another client", "the configuration file has no second app client"),
    }
    if suite.config.ehr.is_some() {
        let Launch { handle, .. } = launched(suite).await?;
        let ask = suite.ask(app, &scope(suite))?.set("launch", &handle);
        tries.push(("in another browser", suite.browser(&ask), ask));
    }
    for (name, mut browser, ask) in tries {
        let walk = browser.walk(Send::get(&suite.authorize_url(&ask.params)?), &conduct).await;
        let code = matches!(&walk.end, End::App(location) if !Landing::read(location).get("code").is_empty());
        cases.expect(name, !code, "a code came");
    }
    Ok(())
}
