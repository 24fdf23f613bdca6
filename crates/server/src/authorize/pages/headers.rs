//! What a browser is told about every page: no script, nothing from elsewhere, no framing, no cache, no referrer
//! (AZ-13, AZ-15, AZ-16, NEG-034). There is never a CORS header here.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, PRAGMA, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::Place;

/// The style sheet, part of every page; the policy names it by its hash, so that no other style is applied.
pub(super) const STYLE: &str = include_str!("../../../templates/pages.css");

/// The source expression of [`STYLE`].
static STYLE_SOURCE: LazyLock<String> = LazyLock::new(|| {
    let hash = digest::digest(&digest::SHA256, STYLE.as_bytes());
    format!("'sha256-{}'", STANDARD.encode(hash))
});

/// Most sources in one directive; a registration with more redirect URIs at once is none.
const SOURCES_MAX: usize = 16;
/// Schemes that run or show what they carry; no redirect goes there, whatever was registered.
const SCHEMES_NEVER: [&str; 8] =
    ["javascript", "data", "blob", "vbscript", "about", "file", "filesystem", "view-source"];

/// Who may show a page in a frame (AZ-15).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Frames {
    /// Nobody.
    Nobody,
    /// These origins: the exception of a client that an EHR embeds.
    Origins(Vec<String>),
}

/// Whether the window that opened a page keeps a handle on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Opener {
    /// It loses it.
    Severed,
    /// It keeps it: an app that signs in through a pop-up waits for its window to come back.
    Kept,
}

/// The headers of a page at `place`.
pub(super) fn of(place: &Place) -> HeaderMap {
    let frames: Vec<String> = match &place.frames {
        Frames::Nobody => Vec::new(),
        Frames::Origins(origins) => {
            origins.iter().filter_map(|origin| origin_source(origin)).take(SOURCES_MAX).collect()
        }
    };
    let mut targets: Vec<String> = Vec::new();
    for source in place.redirects.iter().filter_map(|uri| redirect_source(uri)) {
        if targets.len() < SOURCES_MAX && !targets.contains(&source) {
            targets.push(source);
        }
    }
    let mut forms = String::from("'self'");
    targets.iter().for_each(|source| {
        forms.push(' ');
        forms.push_str(source);
    });
    let framed = if frames.is_empty() { "'none'".to_owned() } else { frames.join(" ") };
    let policy = format!(
        "default-src 'none'; style-src {}; img-src 'none'; form-action {forms}; frame-ancestors {framed}; base-uri 'none'",
        *STYLE_SOURCE
    );
    // A policy that were no header value could only be a mistake of ours; then nothing at all may happen on the page.
    let policy = HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static(
        "default-src 'none'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    ));
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    if frames.is_empty() {
        // For browsers that know no `frame-ancestors`; it cannot name origins, so with any it is left out.
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    }
    let opener = match place.opener {
        Opener::Severed => "same-origin",
        Opener::Kept => "unsafe-none",
    };
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static(opener));
    for (name, value) in FIXED {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
}

const FIXED: [(HeaderName, &str); 6] = [
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
    (PRAGMA, "no-cache"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), \
         midi=(), payment=(), usb=()",
    ),
];

/// The source for one origin of a web page; anything else is none.
fn origin_source(text: &str) -> Option<String> {
    let uri: Uri = text.parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| ["https", "http"].contains(scheme))?;
    host_source(scheme, &uri)
}

/// The source that lets a form's answer redirect to `uri`: an origin, or for an app's own scheme that scheme.
fn redirect_source(uri: &str) -> Option<String> {
    let (scheme, _) = uri.split_once(':')?;
    let scheme = scheme.to_ascii_lowercase();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let named = scheme.bytes().next().is_some_and(|first| first.is_ascii_alphabetic()) && scheme.bytes().all(plain);
    if !named || SCHEMES_NEVER.contains(&scheme.as_str()) {
        return None;
    }
    if scheme != "https" && scheme != "http" {
        return Some(format!("{scheme}:"));
    }
    let uri: Uri = uri.split('#').next()?.parse().ok()?;
    // CSP has no source for an IPv6 address (CSP 3 §2.3.1), and a native app may listen on `[::1]`.
    if uri.host().is_some_and(|host| host == "[::1]") {
        return Some(format!("{scheme}:"));
    }
    host_source(&scheme, &uri)
}

fn host_source(scheme: &str, uri: &Uri) -> Option<String> {
    let host = uri.host()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    if host.is_empty() || !host.bytes().all(plain) || uri.authority()?.as_str().contains('@') {
        return None;
    }
    Some(match uri.port_u16() {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::Shown;
    use super::*;

    fn place(frames: &[&str], redirects: &[&str]) -> Place {
        let mut place = Place::new(Shown::new("Hospital"));
        place.redirects = redirects.iter().map(|uri| (*uri).to_owned()).collect();
        if !frames.is_empty() {
            place.frames = Frames::Origins(frames.iter().map(|origin| (*origin).to_owned()).collect());
        }
        place
    }

    fn directive(place: &Place, name: &str) -> String {
        let policy = of(place).get(CONTENT_SECURITY_POLICY).unwrap().to_str().unwrap().to_owned();
        let all: Vec<&str> = policy.split("; ").collect();
        (*all.iter().find_map(|directive| directive.strip_prefix(&format!("{name} "))).as_ref().unwrap()).to_owned()
    }

    /// AZ-13, AZ-15, AZ-16, NEG-034.
    #[test]
    fn neg_034_nothing_is_framed_cached_shared_or_referred_to() {
        let headers = of(&place(&[], &[]));
        let text = |name: &str| headers.get(name).unwrap().to_str().unwrap().to_owned();
        assert_eq!(text("x-frame-options"), "DENY");
        assert_eq!(text("referrer-policy"), "no-referrer");
        assert_eq!(text("cache-control"), "no-store");
        assert_eq!(text("x-content-type-options"), "nosniff");
        assert_eq!(text("cross-origin-opener-policy"), "same-origin");
        assert!(text("permissions-policy").contains("camera=()"));
        assert!(headers.keys().all(|name| !name.as_str().starts_with("access-control-")), "AZ-13");
        let policy = text("content-security-policy");
        for part in
            ["default-src 'none'", "img-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "style-src 'sha256-"]
        {
            assert!(policy.contains(part), "{part} in {policy}");
        }
        assert!(!policy.contains("script-src") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(directive(&place(&[], &[]), "form-action"), "'self'");
    }

    /// AZ-15: the exception is a client's own list, and what is no origin is not in it.
    #[test]
    fn az_15_frames_are_allowed_by_origin_only() {
        let framed = place(&["https://ehr.example", "http://localhost:9000"], &[]);
        assert_eq!(directive(&framed, "frame-ancestors"), "https://ehr.example http://localhost:9000");
        assert!(!of(&framed).contains_key(X_FRAME_OPTIONS));
        for bad in
            ["*", "https://*", "ehr.example", "https://a.example; script-src *", "data:x", "https://u@a.example", ""]
        {
            let refused = place(&[bad], &[]);
            assert_eq!(directive(&refused, "frame-ancestors"), "'none'", "`{bad}`");
            assert!(of(&refused).contains_key(X_FRAME_OPTIONS), "`{bad}`");
        }
    }

    #[test]
    fn a_form_may_lead_to_the_redirect_uris_of_the_client() {
        for (uri, source) in [
            ("https://app.example/callback?x=1", "'self' https://app.example"),
            ("https://app.example:8443/cb", "'self' https://app.example:8443"),
            ("http://127.0.0.1:52100/cb", "'self' http://127.0.0.1:52100"),
            ("http://[::1]:52100/cb", "'self' http:"),
            ("com.example.app:/callback", "'self' com.example.app:"),
            ("Com.Example.App://callback", "'self' com.example.app:"),
            ("javascript:alert(1)", "'self'"),
            ("data:text/html,x", "'self'"),
            ("https://a.example;script-src */", "'self'"),
            ("not a uri", "'self'"),
            ("1x:y", "'self'"),
            ("", "'self'"),
        ] {
            assert_eq!(directive(&place(&[], &[uri]), "form-action"), source, "`{uri}`");
        }
        let twice = place(&[], &["https://app.example/a", "https://app.example/b"]);
        assert_eq!(directive(&twice, "form-action"), "'self' https://app.example");
    }
}
