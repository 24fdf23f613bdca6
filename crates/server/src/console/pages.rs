//! The pages themselves, filled in. Templates escape everything that is put into them.

use askama::Template;
use store::{ANYBODY, LoginRequest, Means, Passkey};

use super::door::Visitor;
use crate::registry::AdminProvider;
use crate::registry::api::show_time;

/// What every page needs: the token for its forms, and who is signed in.
struct Frame {
    csrf: String,
    person: String,
}

impl Frame {
    fn of(visitor: &Visitor) -> Self {
        let person = visitor.signed_in.as_ref().map(|(caller, _)| caller.person.to_string());
        Self { csrf: visitor.csrf(), person: person.unwrap_or_default() }
    }

    fn nobody() -> Self {
        Self { csrf: String::new(), person: String::new() }
    }
}

#[derive(Template)]
#[template(path = "console/sign_in.html")]
struct SignIn<'a> {
    frame: Frame,
    wrong: &'a str,
    request: &'a str,
    waiting_for: &'a str,
    name: &'a str,
    providers: &'a [AdminProvider],
}

#[derive(Template)]
#[template(path = "console/confirm.html")]
struct Confirm<'a> {
    frame: Frame,
    request: &'a LoginRequest,
    here: String,
    elsewhere: bool,
}

#[derive(Template)]
#[template(path = "console/passkeys.html")]
struct Passkeys {
    frame: Frame,
    passphrase: bool,
    rows: Vec<Row>,
}

struct Row {
    id: String,
    name: String,
    created: String,
    used: String,
}

#[derive(Template)]
#[template(path = "console/onward.html")]
struct Onward<'a> {
    frame: Frame,
    name: &'a str,
    url: &'a str,
}

#[derive(Template)]
#[template(path = "console/signed_out.html")]
struct SignedOut<'a> {
    frame: Frame,
    elsewhere: &'a str,
}

#[derive(Template)]
#[template(path = "console/notice.html")]
struct Notice<'a> {
    frame: Frame,
    title: &'a str,
    says: &'a str,
}

/// Only memory can fail a template whose parts are all text; the page is then empty, and grants nothing.
fn filled(template: &impl Template) -> String {
    template.render().unwrap_or_default()
}

/// Something said, to whoever it may be.
pub(super) fn notice(title: &str, says: &str) -> String {
    filled(&Notice { frame: Frame::nobody(), title, says })
}

/// Something said to who is signed in.
pub(super) fn signed_in_notice(visitor: &Visitor, title: &str, says: &str) -> String {
    filled(&Notice { frame: Frame::of(visitor), title, says })
}

/// Leads a browser on: by itself where it may, else by a link.
pub(super) fn onward(name: &str, url: &str) -> String {
    filled(&Onward { frame: Frame::nobody(), name, url })
}

/// Signed out here; `elsewhere` is where to sign out at the identity provider too.
pub(super) fn signed_out(elsewhere: &str) -> String {
    filled(&SignedOut { frame: Frame::nobody(), elsewhere })
}

/// The ways to sign in. `wrong`: what was wrong the last time; `name`: who it was then.
pub(super) fn sign_in(
    visitor: &Visitor,
    wrong: &str,
    request: Option<&LoginRequest>,
    name: &str,
    providers: &[AdminProvider],
) -> String {
    let waiting_for = request.map_or("", |request| request.person.as_str()).trim_start_matches(ANYBODY);
    let name = if name.is_empty() { waiting_for } else { name };
    let request = request.map_or("", |request| request.id.as_str());
    filled(&SignIn { frame: Frame::of(visitor), wrong, request, waiting_for, name, providers })
}

/// The code to compare, and yes or no.
pub(super) fn confirm(visitor: &Visitor, request: &LoginRequest) -> String {
    let here = visitor.peer.to_string();
    let elsewhere = here != request.peer;
    filled(&Confirm { frame: Frame::of(visitor), request, here, elsewhere })
}

/// A person's passkeys.
pub(super) fn passkeys(visitor: &Visitor, passkeys: &[Passkey]) -> String {
    let day = |time| show_time(time).split('T').next().unwrap_or_default().to_owned();
    let rows = passkeys.iter().map(|one| Row {
        id: one.id.clone(),
        name: one.name.clone(),
        created: day(one.created_at),
        used: one.used_at.map_or_else(|| "not yet".to_owned(), day),
    });
    let passphrase = visitor.signed_in.as_ref().is_some_and(|(_, means)| *means == Means::Passphrase);
    filled(&Passkeys { frame: Frame::of(visitor), passphrase, rows: rows.collect() })
}
