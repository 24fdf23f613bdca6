//! The page on which a person sees what they allowed, and takes it back (US-04, US-05).

use askama::Template;
use domain::Millis;
use http::StatusCode;
use time::OffsetDateTime;
use time::macros::format_description;

use super::headers::STYLE;
use super::{Csrf, Page, Place, Shown, page};

/// One application that has access.
#[derive(Clone, Debug)]
pub struct GrantRow {
    /// What the form sends to revoke it.
    pub value: String,
    /// The application's name.
    pub app: Shown,
    /// Who makes it.
    pub vendor: Shown,
    /// Whose record; empty for the person's own.
    pub patient: Shown,
    /// What it may do, in words (`oauth::words::scope`).
    pub scopes: Vec<String>,
    /// When it was allowed.
    pub since: Millis,
    /// When it ends unless it is renewed.
    pub until: Millis,
    /// When it was last used.
    pub used: Option<Millis>,
}

impl GrantRow {
    fn since_text(&self) -> String {
        day(self.since)
    }

    fn until_text(&self) -> String {
        day(self.until)
    }

    fn used_text(&self) -> String {
        self.used.map_or_else(|| "not yet".to_owned(), day)
    }
}

/// What a person granted.
#[derive(Clone, Debug, Template)]
#[template(path = "granted.html")]
pub struct Granted {
    /// Whose page.
    pub place: Place,
    /// Where a revocation is sent.
    pub action: String,
    /// Where signing out is sent; empty leaves it out.
    pub sign_out: String,
    /// Proves the forms are ours.
    pub csrf: Csrf,
    /// Who is signed in.
    pub person: Shown,
    /// What has access now.
    pub grants: Vec<GrantRow>,
    /// The application whose access has just ended.
    pub revoked: Option<Shown>,
}

impl Granted {
    /// The page.
    #[must_use]
    pub fn render(&self) -> Page {
        page(self, &self.place, StatusCode::OK)
    }

    fn style(&self) -> &'static str {
        STYLE
    }
}

/// A moment as people read it, in UTC since no browser says where it is.
fn day(at: Millis) -> String {
    let moment = OffsetDateTime::from_unix_timestamp(at.div_euclid(1000)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let form = format_description!("[day padding:none] [month repr:long] [year], [hour]:[minute] UTC");
    moment.format(form).unwrap_or_else(|_| "unknown".to_owned())
}

#[test]
fn moments_are_readable() {
    assert_eq!(day(1_775_000_000_000), "31 March 2026, 23:33 UTC");
    assert_eq!(day(i64::MAX), "1 January 1970, 00:00 UTC");
}
