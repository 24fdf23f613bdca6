//! The pages a person sees at the authorization server: plain structs with public fields in, HTML and its headers out.
//!
//! No page needs a script or loads anything from elsewhere. Text from outside comes in as [`Shown`], which nothing hostile
//! survives, and askama escapes all of it. What comes back is read in [`forms`].

mod consent;
pub mod forms;
mod granted;
mod headers;
mod notice;
mod shown;
mod sign_in;

use askama::Template;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use subtle::ConstantTimeEq as _;

pub use self::consent::{Consent, ConsentProblem, Kept, Section};
pub use self::granted::{GrantRow, Granted};
pub use self::headers::{Frames, Opener};
pub use self::notice::{Failed, LaunchFailed, Refusal, SignedOut, Waiting};
pub use self::shown::Shown;
pub use self::sign_in::{Picker, PickerProblem, PickerRow, SignIn, SignInProblem};

/// Random bytes of a CSRF token: 128 bits cannot be guessed in the life of an interaction.
pub const CSRF_BYTES: usize = 16;

/// What every page has in common: whose it is, and how a browser may use it.
#[derive(Clone, Debug)]
pub struct Place {
    /// The organisation, at the top of each page.
    pub organisation: Shown,
    /// Who may frame it (AZ-15).
    pub frames: Frames,
    /// Whether the window that opened it keeps its handle.
    pub opener: Opener,
    /// Where the answer to its form may send the browser: the redirect URIs of this interaction. Chromium holds
    /// `form-action` against redirects after a form too.
    pub redirects: Vec<String>,
}

impl Place {
    /// A page that nobody frames, nobody opened and that leads nowhere else.
    #[must_use]
    pub fn new(organisation: Shown) -> Self {
        Self { organisation, frames: Frames::Nobody, opener: Opener::Severed, redirects: Vec::new() }
    }
}

/// The secret in a form that proves it is of a page we made for this browser.
#[derive(Clone)]
pub struct Csrf(String);

impl std::fmt::Debug for Csrf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Csrf([sealed])")
    }
}

impl Csrf {
    /// A token of random bytes.
    #[must_use]
    pub fn new(random: &[u8; CSRF_BYTES]) -> Self {
        Self(URL_SAFE_NO_PAD.encode(random))
    }

    /// A token derived elsewhere, e.g. from the person's session; `None` unless it is base64url of at least [`CSRF_BYTES`].
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let long = URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() >= CSRF_BYTES);
        long.then(|| Self(text.to_owned()))
    }

    /// Its text, for what remembers it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a form brought it back; takes as long wherever the two differ.
    #[must_use]
    pub fn matches(&self, sent: &str) -> bool {
        self.0.as_bytes().ct_eq(sent.as_bytes()).into()
    }
}

/// A page on its way out.
#[derive(Clone, Debug)]
pub struct Page {
    /// The status.
    pub status: StatusCode,
    /// The document.
    pub html: String,
    /// Every header it needs, its content type among them.
    pub headers: HeaderMap,
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        (self.status, self.headers, self.html).into_response()
    }
}

/// Renders a template. One that fails (only the formatter can) becomes a plain 500: half a page is worse than none.
fn page(template: &impl Template, place: &Place, status: StatusCode) -> Page {
    let (status, html) = match template.render() {
        Ok(html) => (status, html),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, BROKEN.to_owned()),
    };
    let mut headers = headers::of(place);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    Page { status, html, headers }
}

const BROKEN: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Something went wrong</title></head>\
    <body><main><h1>Something went wrong</h1><p>This page could not be made. Nothing was granted.</p></main></body></html>";
