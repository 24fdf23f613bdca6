//! Login, picker and consent as pages (A.3, A.7, A.17, C.2): headers, forged submissions, what un-ticking does.

use crate::browser::{Browser, Conduct, Decision, End, Page, PageKind, Walk, submit};
use crate::flow::{Ask, landed};
use crate::http::Send;
use crate::row::{Cases, Checked, Row, Stop};
use crate::suite::{Fixture, Suite, Who};

/// The rows.
pub const ROWS: &[Row] = &[
    Row {
        id: "NEG-034",
        clause: "RFC 9700 §2.6, §4.2, §4.16; AZ-13, AZ-15, AZ-16",
        sends: "every page of a walk",
        expects: "CSP frame-ancestors, X-Frame-Options, no CORS, Referrer-Policy, no-store, nothing from elsewhere",
        check: |suite, cases| Box::pin(headers(suite, cases)),
    },
    Row {
        id: "NEG-036",
        clause: "RFC 9700 §4.12; AZ-14",
        sends: "every redirect after a form",
        expects: "303 or 302, never 307 or 308",
        check: |suite, cases| Box::pin(redirects(suite, cases)),
    },
    Row {
        id: "NEG-035",
        clause: "RFC 6749 §10.12; RFC 9700 §4.7",
        sends: "the consent form without its token, with a foreign one, from another session, from another origin",
        expects: "403 (or 400), no code",
        check: |suite, cases| Box::pin(forged(suite, cases)),
    },
    Row {
        id: "NEG-042",
        clause: "CX-09; PF-18",
        sends: "a picker submission that names a patient who was not offered",
        expects: "refused, no code for that patient",
        check: |suite, cases| Box::pin(picker(suite, cases)),
    },
    Row {
        id: "CX-09",
        clause: "CX-07, CX-09; SMART App Launch 2.2, Scopes; R167",
        sends: "the picker as Alice, and as Bob",
        expects: "Alice is not offered P2; Bob picks P2 and gets it",
        check: |suite, cases| Box::pin(offered(suite, cases)),
    },
    Row {
        id: "NEG-040",
        clause: "SMART App Launch 2.2, Scopes; R79 R145; PF-22",
        sends: "consent with nothing ticked",
        expects: "access_denied, or a token that opens nothing; never the default set",
        check: |suite, cases| Box::pin(nothing(suite, cases)),
    },
    Row {
        id: "SC-17",
        clause: "(g)(10) 9.26-9.28; US-03, US-04; SC-08, SC-16",
        sends: "a whole type asked, one category of it un-ticked",
        expects: "the granted scope leaves it out, and says so in category scopes",
        check: |suite, cases| Box::pin(unticked(suite, cases)),
    },
    Row {
        id: "NEG-041",
        clause: "SMART App Launch 2.2, Scopes; PF-22",
        sends: "a submission that adds a box that was not there",
        expects: "never granted",
        check: |suite, cases| Box::pin(added(suite, cases)),
    },
    Row {
        id: "US-02",
        clause: "(g)(10) attestation; US-02",
        sends: "offline_access; online_access",
        expects: "the consent page speaks of access that goes on",
        check: |suite, cases| Box::pin(told(suite, cases)),
    },
    Row {
        id: "NEG-047",
        clause: "RFC 6749 §10.12; OWASP session fixation",
        sends: "a wrong password; an empty one; the login form posted again with another's cookies",
        expects: "no code",
        check: |suite, cases| Box::pin(logins(suite, cases)),
    },
    Row {
        id: "NEG-048",
        clause: "RFC 6265 §4.1.2; synthesis",
        sends: "every cookie of a walk",
        expects: "HttpOnly, SameSite, and Secure on https",
        check: |suite, cases| Box::pin(cookies(suite, cases)),
    },
];

fn alice(suite: &Suite) -> Result<Conduct, Stop> {
    Ok(suite.conduct(Some(suite.alice()?), Some(suite.p1()?)))
}

fn start(suite: &Suite, scope: &str) -> Result<(Ask, Browser, Send), Stop> {
    let app = suite.app()?;
    let ask = suite.ask(app, scope)?;
    let send = Send::get(&suite.authorize_url(&ask.params)?);
    let browser = suite.browser(&ask);
    Ok((ask, browser, send))
}

async fn whole(suite: &Suite, scope: &str) -> Result<(Ask, Walk), Stop> {
    let app = suite.app()?;
    let ask = suite.ask(app, scope)?;
    let walk = suite.walk(app, &ask, &alice(suite)?).await?;
    Ok((ask, walk))
}

/// Walks until a page of this kind is there, unanswered.
async fn stopped(suite: &Suite, kind: PageKind, scope: &str, conduct: &Conduct) -> Result<(Ask, Browser, Page), Stop> {
    stopped_for(suite, suite.app()?, kind, scope, conduct).await
}

/// The first app whose people pick a patient: a patient's own app may be about nobody else, and then has no such page.
async fn picking<'a>(suite: &'a Suite, conduct: &Conduct) -> Result<&'a Fixture, Stop> {
    let mut last = Stop::Skip("the configuration file has no app that people use".into());
    for app in [Who::Pub, Who::Asy, Who::Sym, Who::Asyu].into_iter().filter_map(|who| suite.client(who).ok()) {
        match stopped_for(suite, app, PageKind::Picker, &suite.config.scopes.base, conduct).await {
            Ok(_) => return Ok(app),
            Err(why @ Stop::Skip(_)) => last = why,
            Err(why) => return Err(why),
        }
    }
    Err(last)
}

async fn stopped_for(
    suite: &Suite,
    app: &Fixture,
    kind: PageKind,
    scope: &str,
    conduct: &Conduct,
) -> Result<(Ask, Browser, Page), Stop> {
    let ask = suite.ask(app, scope)?;
    let mut browser = suite.browser(&ask);
    let conduct = Conduct { stop_at: Some(kind), ..conduct.clone() };
    let opening = suite.opening(app, &ask).await?;
    let walk = browser.walk(opening, &conduct).await;
    match walk.end {
        End::Page(page) if page.kind() == Some(kind) => Ok((ask, browser, *page)),
        End::App(_) => Err(Stop::Skip(format!("the server showed no page of kind {kind:?}"))),
        _ => landed(&walk).map(drop).and(Err(Stop::Fail(format!("no page of kind {kind:?} came")))),
    }
}

async fn headers(suite: &Suite, cases: &mut Cases) -> Checked {
    let own = url::Url::parse(&suite.endpoint("authorization_endpoint")?).ok().map(|url| url.origin());
    let mut pages = match whole(suite, &suite.config.scopes.base).await {
        Ok((_, walk)) => walk.pages,
        Err(Stop::Skip(_)) => Vec::new(),
        Err(why) => return Err(why),
    };
    // The error page too, for which nobody needs to sign in.
    let error = suite.authorize_url(&crate::http::pairs(&[("client_id", "nobody"), ("response_type", "code")]))?;
    let answer = suite.send(Send::get(&error).header("origin", "https://app.invalid")).await?;
    pages.push(Page { url: error, html: crate::html::read(&answer.text()), answer, asks: None });
    let same = |page: &Page| url::Url::parse(&page.url).ok().map(|url| url.origin()) == own;
    for page in pages.iter().filter(|page| same(page)) {
        let name = page.kind().map_or("error page".to_owned(), |kind| format!("{kind:?}"));
        let header = |of: &str| page.answer.header(of).to_ascii_lowercase();
        let csp = header("content-security-policy");
        cases.expect(format!("{name}: frame-ancestors"), csp.contains("frame-ancestors"), format!("CSP `{csp}`"));
        let unsafe_script = csp.contains("'unsafe-inline'") && !csp.contains("style-src 'unsafe-inline'");
        cases.expect(format!("{name}: no unsafe-inline script"), !unsafe_script, csp.clone());
        let framed = csp.contains("frame-ancestors 'none'");
        cases.expect(
            format!("{name}: X-Frame-Options"),
            !framed || !header("x-frame-options").is_empty(),
            "it is missing",
        );
        cases.expect(format!("{name}: no CORS"), header("access-control-allow-origin").is_empty(), "it is there");
        let referrer = header("referrer-policy");
        cases.expect(format!("{name}: Referrer-Policy"), referrer.contains("no-referrer"), format!("`{referrer}`"));
        cases.expect(
            format!("{name}: no-store"),
            header("cache-control").contains("no-store"),
            header("cache-control"),
        );
        cases.expect(format!("{name}: nosniff"), header("x-content-type-options") == "nosniff", "it is missing");
        let elsewhere: Vec<&String> = page.html.loads.iter().filter(|load| is_elsewhere(&page.url, load)).collect();
        cases.expect(format!("{name}: nothing from elsewhere"), elsewhere.is_empty(), format!("{elsewhere:?}"));
    }
    Ok(())
}

fn is_elsewhere(page: &str, load: &str) -> bool {
    let base = url::Url::parse(page).ok();
    let target = base.as_ref().and_then(|base| base.join(load).ok());
    base.zip(target).is_none_or(|(base, target)| target.scheme() != "data" && target.origin() != base.origin())
}

async fn redirects(suite: &Suite, cases: &mut Cases) -> Checked {
    let (_, walk) = whole(suite, &suite.config.scopes.base).await?;
    landed(&walk)?;
    let after: Vec<_> = walk.hops.iter().filter(|hop| hop.after_post).collect();
    if after.is_empty() {
        return Err(Stop::Skip("no form was answered with a redirect".into()));
    }
    for hop in after {
        cases.status("after a form", &hop.answer, &[302, 303]);
    }
    Ok(())
}

/// Sends a form with other fields and says whether a code came of it.
async fn try_form(
    browser: &mut Browser,
    page: &Page,
    fields: &[(String, String)],
    origin: Option<&str>,
) -> Result<Option<u16>, Stop> {
    let form = page.form().ok_or_else(|| Stop::Fail("the page has no form".into()))?;
    let mut send = submit(page, form, fields).ok_or_else(|| Stop::Fail("the form cannot be sent".into()))?;
    if let Some(origin) = origin {
        send.headers.retain(|(name, _)| name != "origin" && name != "sec-fetch-site");
        send = send.header("origin", origin).header("sec-fetch-site", "cross-site");
    }
    let walk = browser.walk(send, &Conduct::default()).await;
    Ok(match walk.end {
        End::App(location) if location.contains("code=") => None,
        End::Page(page) => Some(page.answer.status),
        _ => Some(0),
    })
}

/// The fields of the consent form as "allow" sends them.
fn allowing(suite: &Suite, page: &Page) -> Vec<(String, String)> {
    let mut fields = page.form().map(crate::html::Form::fields).unwrap_or_default();
    let allow = suite.config.forms.allow.iter().find_map(|meant| meant.split_once('='));
    let there = allow.filter(|(name, value)| {
        page.form().is_some_and(|form| form.buttons().any(|button| button.name == *name && button.value == *value))
    });
    fields.extend(there.map(|(name, value)| (name.to_owned(), value.to_owned())));
    fields
}

async fn forged(suite: &Suite, cases: &mut Cases) -> Checked {
    let conduct = alice(suite)?;
    let csrf = &suite.config.forms.csrf;
    let base = suite.config.scopes.base.clone();
    for name in ["no token", "a foreign token", "an empty token", "another session's cookies", "no cookies"] {
        let (ask, mut browser, page) = stopped(suite, PageKind::Consent, &base, &conduct).await?;
        let mut fields = allowing(suite, &page);
        if !fields.iter().any(|(field, _)| field == csrf) {
            return Err(Stop::Skip(format!("the consent form has no field `{csrf}`; name it in [forms]")));
        }
        match name {
            "no token" => fields.retain(|(field, _)| field != csrf),
            "a foreign token" => {
                let (_, _, other) = stopped(suite, PageKind::Consent, &base, &conduct).await?;
                let foreign = allowing(suite, &other).into_iter().find(|(field, _)| field == csrf);
                fields.retain(|(field, _)| field != csrf);
                fields.extend(foreign);
            }
            "an empty token" => {
                fields.iter_mut().filter(|(field, _)| field == csrf).for_each(|(_, value)| value.clear())
            }
            "another session's cookies" => browser = stopped(suite, PageKind::Consent, &base, &conduct).await?.1,
            _ => browser = suite.browser(&ask),
        }
        let status = try_form(&mut browser, &page, &fields, None).await?;
        cases.expect(name, status.is_some(), "a code came of it");
        if let Some(status) = status {
            cases.expect(format!("{name}: 403 or 400"), matches!(status, 403 | 400 | 401), format!("{status}"));
        }
    }
    let (_, mut browser, page) = stopped(suite, PageKind::Consent, &base, &conduct).await?;
    let fields: Vec<_> = allowing(suite, &page).into_iter().filter(|(field, _)| field != csrf).collect();
    let status = try_form(&mut browser, &page, &fields, Some("https://attacker.invalid")).await?;
    cases.expect("from another origin", status.is_some(), "a code came of it");
    Ok(())
}

async fn picker(suite: &Suite, cases: &mut Cases) -> Checked {
    let (conduct, p2) = (alice(suite)?, suite.p2()?);
    let field = &suite.config.forms.patient;
    let app = picking(suite, &conduct).await?;
    for name in [p2, "no-such-patient-0", "../x", ""] {
        let (_, mut browser, page) =
            stopped_for(suite, app, PageKind::Picker, &suite.config.scopes.base, &conduct).await?;
        let mut fields = page.form().map(crate::html::Form::fields).unwrap_or_default();
        fields.retain(|(have, _)| have != field);
        fields.push((field.clone(), name.to_owned()));
        let form = page.form().ok_or_else(|| Stop::Fail("the page has no form".into()))?;
        let send = submit(&page, form, &fields).ok_or_else(|| Stop::Fail("the form cannot be sent".into()))?;
        let walk = browser.walk(send, &conduct).await;
        // A refusal may ask again; then the walk picks P1, which is honest.
        let patient = match &walk.end {
            End::App(location) if location.contains("code=") => {
                walk.pages.iter().any(|page| page.kind() == Some(PageKind::Picker))
            }
            _ => true,
        };
        cases.expect(format!("`{name}`"), patient, "the walk went on with that patient");
    }
    Ok(())
}

async fn offered(suite: &Suite, cases: &mut Cases) -> Checked {
    let p2 = suite.p2()?;
    let field = &suite.config.forms.patient;
    let (conduct, base) = (alice(suite)?, &suite.config.scopes.base);
    let app = picking(suite, &conduct).await?;
    let (_, _, page) = stopped_for(suite, app, PageKind::Picker, base, &conduct).await?;
    let offers = |page: &Page, id: &str| {
        page.form().is_some_and(|form| {
            form.controls.iter().any(|control| {
                control.name == *field && (control.value == id || control.value == format!("Patient/{id}"))
            })
        })
    };
    cases.expect("Alice is offered P1", offers(&page, suite.p1()?), "she is not");
    cases.expect("Alice is not offered P2", !offers(&page, p2), "she is");
    let Ok(bob) = suite.bob() else {
        cases.skip("Bob", "the configuration file has no [people.bob]");
        return Ok(());
    };
    let ask = suite.ask(app, &suite.config.scopes.base)?;
    let walk = suite.walk(app, &ask, &suite.conduct(Some(bob), Some(p2))).await?;
    let code = landed(&walk)?.get("code").to_owned();
    let grant = suite.granted(app, suite.token(app, crate::flow::exchange(&ask, &code)).await?)?;
    cases.expect("Bob picked P2", grant.text("patient") == p2, "another patient came");
    Ok(())
}

async fn nothing(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    let ask = suite.ask(app, &suite.config.scopes.base)?;
    let conduct = Conduct { decision: Decision::Without(vec![String::new()]), ..alice(suite)? };
    let walk = suite.walk(app, &ask, &conduct).await?;
    let landing = match &walk.end {
        // Asking again is as good as refusing.
        End::Page(page) if page.answer.status < 500 => {
            cases.expect(
                "asked again",
                page.kind() == Some(PageKind::Consent) || page.answer.status >= 400,
                "another page",
            );
            return Ok(());
        }
        _ => landed(&walk)?,
    };
    if landing.get("code").is_empty() {
        cases.expect(
            "access_denied",
            matches!(landing.get("error"), "access_denied" | "invalid_scope"),
            landing.get("error"),
        );
        return Ok(());
    }
    let answer = suite.token(app, crate::flow::exchange(&ask, landing.get("code"))).await?;
    let clinical = answer
        .member("scope")
        .split_whitespace()
        .filter(|scope| scope.contains('/') && !scope.starts_with("launch"))
        .count();
    cases.expect("no clinical scope", clinical == 0, answer.member("scope"));
    Ok(())
}

async fn granted_without(suite: &Suite, app: &Fixture, scope: &str, words: Vec<String>) -> Result<String, Stop> {
    let ask = suite.ask(app, scope)?;
    let conduct = Conduct { decision: Decision::Without(words), ..alice(suite)? };
    let walk = suite.walk(app, &ask, &conduct).await?;
    let code = landed(&walk)?.get("code").to_owned();
    let answer = suite.token(app, crate::flow::exchange(&ask, &code)).await?;
    Ok(suite.granted(app, answer)?.text("scope").to_owned())
}

async fn unticked(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    let scopes = &suite.config.scopes;
    let asked = format!("{} {}", scopes.base, scopes.wide);
    let (_, _, page) = stopped(suite, PageKind::Consent, &asked, &alice(suite)?).await?;
    let word = scopes.untick.to_lowercase();
    let boxes = page.form().map(|form| {
        form.controls
            .iter()
            .filter(|control| {
                control.name == suite.config.forms.grant
                    && (control.label.to_lowercase().contains(&word) || control.value.to_lowercase().contains(&word))
            })
            .count()
    });
    cases.expect("the category has a box of its own", boxes.unwrap_or(0) > 0, format!("no box says `{word}`"));
    let whole = granted_without(suite, app, &asked, vec!["no box says this".into()]).await?;
    cases.expect("ticked: the whole type", whole.split(' ').any(|scope| scope == scopes.wide), whole);
    let part = granted_without(suite, app, &asked, vec![word.clone()]).await?;
    cases.expect("un-ticked: not the whole type", !part.split(' ').any(|scope| scope == scopes.wide), part.clone());
    cases.expect("un-ticked: not that category", !part.to_lowercase().contains(&word), part.clone());
    let kind = scopes.wide.split(['/', '.']).nth(1).unwrap_or_default();
    cases.expect("the rest of it by category", part.contains(&format!("/{kind}.")) && part.contains('?'), part);
    Ok(())
}

async fn added(suite: &Suite, cases: &mut Cases) -> Checked {
    let (ask, mut browser, page) = stopped(suite, PageKind::Consent, &suite.config.scopes.base, &alice(suite)?).await?;
    let app = suite.app()?;
    let mut fields = allowing(suite, &page);
    for extra in ["patient/Immunization.rs", "user/*.cruds", "system/*.rs", "99"] {
        fields.push((suite.config.forms.grant.clone(), extra.to_owned()));
    }
    fields.push(("scope".into(), "patient/*.cruds".into()));
    let form = page.form().ok_or_else(|| Stop::Fail("the page has no form".into()))?;
    let send = submit(&page, form, &fields).ok_or_else(|| Stop::Fail("the form cannot be sent".into()))?;
    let walk = browser.walk(send, &Conduct::default()).await;
    let code = match &walk.end {
        End::App(location) => crate::flow::Landing::read(location).get("code").to_owned(),
        _ => String::new(),
    };
    if code.is_empty() {
        cases.expect("refused", true, "");
        return Ok(());
    }
    let scope = suite.token(app, crate::flow::exchange(&ask, &code)).await?.member("scope");
    let held = !scope.contains("Immunization") && !scope.contains("cruds") && !scope.contains("system/");
    cases.expect("never granted", held, scope);
    Ok(())
}

async fn told(suite: &Suite, cases: &mut Cases) -> Checked {
    let scope = super::refresh::scope(suite, suite.app()?);
    let (_, _, page) = stopped(suite, PageKind::Consent, &scope, &alice(suite)?).await?;
    let text = page.html.text.to_lowercase();
    let words = ["offline", "stay", "keep", "longer", "until you", "not here", "signed in", "continue", "later"];
    cases.expect(
        "it speaks of it",
        words.iter().any(|word| text.contains(word)),
        "the page says nothing of access that goes on",
    );
    Ok(())
}

async fn logins(suite: &Suite, cases: &mut Cases) -> Checked {
    let right = alice(suite)?;
    for (name, value) in [("a wrong password", "wrong"), ("an empty password", ""), ("a long password", "x")] {
        let mut conduct = right.clone();
        let value = if name.starts_with("a long") { value.repeat(100_000) } else { value.to_owned() };
        if let Some((_, field)) = conduct.fields.iter_mut().find(|(field, _)| field.contains("pass")) {
            *field = value;
        } else {
            return Err(Stop::Skip("no field of people.alice is a password".into()));
        }
        let (_, mut browser, send) = start(suite, &suite.config.scopes.base)?;
        let walk = browser.walk(send, &conduct).await;
        let inside = matches!(&walk.end, End::App(location) if location.contains("code="));
        let beyond = walk.pages.iter().any(|page| matches!(page.kind(), Some(PageKind::Picker | PageKind::Consent)));
        cases.expect(name, !inside && !beyond, "it let them in");
    }
    let (_, _, page) = stopped(suite, PageKind::Login, &suite.config.scopes.base, &right).await?;
    let (ask, mut stranger, _) = start(suite, &suite.config.scopes.base)?;
    let _ = ask;
    let send = stranger.fill(&page, &right).ok_or_else(|| Stop::Fail("the login cannot be filled in".into()))?;
    let walk = stranger.walk(send, &right).await;
    let inside = matches!(&walk.end, End::App(location) if location.contains("code="));
    cases.expect("the form in a browser that did not ask for it (login CSRF)", !inside, "it let them in");
    Ok(())
}

async fn cookies(suite: &Suite, cases: &mut Cases) -> Checked {
    let (_, walk) = whole(suite, &suite.config.scopes.base).await?;
    let answers = walk.pages.iter().map(|page| (&page.url, &page.answer));
    let hops = walk.hops.iter().map(|hop| (&suite.target.issuer, &hop.answer));
    let mut seen = 0;
    for (url, answer) in answers.chain(hops) {
        for cookie in answer.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok()) {
            let name = cookie.split('=').next().unwrap_or_default();
            let lower = cookie.to_ascii_lowercase();
            seen += 1;
            cases.expect(format!("{name}: HttpOnly"), lower.contains("httponly"), "it is missing");
            cases.expect(format!("{name}: SameSite"), lower.contains("samesite="), "it is missing");
            cases.expect(
                format!("{name}: Secure"),
                lower.contains("secure") || url.starts_with("http://"),
                "it is missing",
            );
        }
    }
    if seen == 0 {
        return Err(Stop::Skip("no cookie was set".into()));
    }
    Ok(())
}
