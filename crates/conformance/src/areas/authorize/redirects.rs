//! Where an answer may go: to the registered redirect URI byte by byte, or nowhere (AZ-08, AZ-09).

use super::{ask, tried};
use crate::browser::{End, Walk};
use crate::jose::nonce;
use crate::row::{Cases, Checked};
use crate::suite::Suite;

/// An error page and no redirect to anywhere but the server's own pages.
pub(super) fn never_redirected(suite: &Suite, cases: &mut Cases, name: &str, walk: &Walk) {
    match &walk.end {
        End::App(_) => cases.expect(name, false, "it redirected there"),
        End::Page(page) if page.kind().is_some() && page.answer.status < 400 => {
            if suite.alice().is_err() {
                cases.skip(name, "the server asks to sign in first, and the file has no [people.alice]");
            } else {
                cases.expect(name, false, "the person is asked on");
            }
        }
        End::Page(page) => {
            cases.expect(name, (400..500).contains(&page.answer.status), format!("a page with {}", page.answer.status));
        }
        End::Lost(why) => cases.expect(name, false, why.clone()),
    }
}

pub(super) async fn redirects(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    let right = app.spec.redirect_uri.as_str();
    let (scheme, rest) = right.split_once("://").unwrap_or(("http", right));
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let variants = [
        ("a slash behind", format!("{right}/")),
        ("in other case", format!("{scheme}://{host}/{}", path.to_uppercase())),
        ("a query", format!("{right}?x=1")),
        ("an empty query", format!("{right}?")),
        ("a fragment", format!("{right}#x")),
        ("a path behind", format!("{right}/x")),
        ("dots", format!("{scheme}://{host}/x/../{path}")),
        ("encoded dots", format!("{scheme}://{host}/x/%2e%2e/{path}")),
        ("encoded letters", format!("{scheme}://{host}/%2f{path}")),
        ("a double slash", format!("{scheme}://{host}//{path}")),
        ("a back slash", format!("{scheme}://{host}\\@attacker.invalid/{path}")),
        ("user info", format!("{scheme}://user@{host}/{path}")),
        ("the host as user info", format!("{scheme}://{host}@attacker.invalid/{path}")),
        ("a sub-domain", format!("{scheme}://x.{host}/{path}")),
        ("a suffix", format!("{scheme}://{host}.attacker.invalid/{path}")),
        ("another scheme", format!("ftp://{host}/{path}")),
        ("javascript", "javascript:alert(1)".to_owned()),
        ("data", "data:text/html,x".to_owned()),
        ("another host", "https://attacker.invalid/cb".to_owned()),
        ("no scheme", format!("//attacker.invalid/{path}")),
        ("a path alone", format!("/{path}")),
        ("a space before", format!(" {right}")),
        ("a line break", format!("{right}\r\nx: y")),
        ("empty", String::new()),
        ("nonsense", "nonsense".to_owned()),
    ];
    for (name, uri) in variants.iter().filter(|(_, uri)| uri != right) {
        let ask = ask(suite, app)?.set("redirect_uri", uri);
        never_redirected(suite, cases, name, &tried(suite, app, &ask).await?);
    }
    // RFC 8252 §7.3: a native app's loopback port may differ, and nothing else may.
    let loopback = host.starts_with("127.0.0.1") || host.starts_with("[::1]");
    let bare = host.rsplit_once(':').map_or(host, |(bare, _)| bare);
    let other_port = format!("{scheme}://{bare}:65000/{path}");
    let ask = ask(suite, app)?.set("redirect_uri", &other_port);
    let walk = tried(suite, app, &ask).await?;
    if loopback {
        let saw = matches!(&walk.end, End::App(location) if location.starts_with(&other_port));
        let page = matches!(&walk.end, End::Page(page) if page.answer.status >= 400);
        cases.expect(
            "another port on loopback: there or refused",
            saw || page || suite.alice().is_err(),
            format!("{:?}", walk.hops.len()),
        );
    } else {
        never_redirected(suite, cases, "another port", &walk);
    }
    Ok(())
}

pub(super) async fn clients(suite: &Suite, cases: &mut Cases) -> Checked {
    let app = suite.app()?;
    let right = ask(suite, app)?;
    let variants = [
        ("an unknown client", right.clone().set("client_id", &format!("nobody-{}", nonce()))),
        ("no client", right.clone().without("client_id")),
        ("an empty client", right.clone().set("client_id", "")),
        ("a client in other case", right.clone().set("client_id", &flipped(&app.spec.id))),
        ("no redirect URI", right.clone().without("redirect_uri")),
        ("markup as client", right.clone().set("client_id", "<script>alert(1)</script>")),
    ];
    for (name, ask) in &variants {
        let walk = tried(suite, app, ask).await?;
        // RFC 6749 §3.1.2.3 lets the only registered URI stand for a missing one; SMART asks for the parameter.
        never_redirected(suite, cases, name, &walk);
        if let End::Page(page) = &walk.end {
            let echoed = page.answer.text().contains("<script>alert(1)");
            cases.expect(format!("{name}: no markup echoed"), !echoed, "the page repeats markup it was sent");
        }
    }
    if let Some(other) = [crate::suite::Who::Other, crate::suite::Who::Asy, crate::suite::Who::Sym]
        .into_iter()
        .filter_map(|who| suite.client(who).ok())
        .find(|other| {
            other.spec.id != app.spec.id
                && !other.spec.redirect_uri.is_empty()
                && other.spec.redirect_uri != app.spec.redirect_uri
        })
    {
        let ask = right.set("redirect_uri", &other.spec.redirect_uri);
        never_redirected(suite, cases, "another client's redirect URI", &tried(suite, app, &ask).await?);
    } else {
        cases.skip("another client's redirect URI", "no other client with a redirect URI of its own");
    }
    Ok(())
}

fn flipped(text: &str) -> String {
    text.chars().map(|c| if c.is_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }).collect()
}
