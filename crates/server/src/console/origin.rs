//! Where the pages are: one origin, whose host passkeys are bound to.

use std::net::IpAddr;

/// The origin of the pages, e.g. `https://gate-admin.mercy.example`.
#[derive(Clone, Debug, Eq, PartialEq)]
// INVARIANT: `url` is scheme, host and port as a browser writes an origin; the host is a name and no address.
pub struct Origin {
    url: String,
    authority: String,
    host: String,
    scheme: Scheme,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Scheme {
    Http,
    Https,
}

impl Origin {
    /// Reads `https://HOST[:PORT]`, or `http://localhost[:PORT]`. An address is no host for passkeys (WebAuthn §5.1.3: the id of a relying
    /// party is a domain), and other hosts take them by https alone.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        let url = url.trim_end_matches('/').to_ascii_lowercase();
        let (scheme, rest, usual) = match url.split_once("://")? {
            ("https", rest) => (Scheme::Https, rest, ":443"),
            ("http", rest) => (Scheme::Http, rest, ":80"),
            _ => return None,
        };
        // A browser leaves out the usual port.
        let authority = rest.strip_suffix(usual).unwrap_or(rest);
        let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
        let named = !host.is_empty()
            && host.len() <= 253
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
            && host.parse::<IpAddr>().is_err()
            && !host.starts_with(['.', '-'])
            && !host.ends_with('.');
        let local = host == "localhost" || host.ends_with(".localhost");
        let fits = named && port.is_none_or(|port| port.parse::<u16>().is_ok()) && (scheme == Scheme::Https || local);
        let word = if scheme == Scheme::Https { "https" } else { "http" };
        fits.then(|| Self {
            url: format!("{word}://{authority}"),
            authority: authority.to_owned(),
            host: host.to_owned(),
            scheme,
        })
    }

    /// As a browser writes it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Host and port, as in a `Host` header.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// Whether cookies may be sent by https alone.
    pub(super) fn is_secure(&self) -> bool {
        self.scheme == Scheme::Https
    }

    /// The party that ceremonies are done with.
    pub(super) fn party(&self) -> webauthn::Party<'_> {
        webauthn::Party { id: &self.host, origin: &self.url }
    }
}

#[test]
fn an_origin_is_a_name_by_https_or_this_machine() {
    let party = |url: &str| Origin::parse(url).map(|origin| (origin.url.clone(), origin.host.clone()));
    let is = |url: &str, host: &str| Some((url.to_owned(), host.to_owned()));
    for (url, wanted) in [
        ("https://gate.example", is("https://gate.example", "gate.example")),
        ("https://Gate.example:443/", is("https://gate.example", "gate.example")),
        ("https://gate.example:8444", is("https://gate.example:8444", "gate.example")),
        ("http://localhost:8444", is("http://localhost:8444", "localhost")),
        ("http://127.0.0.1:8444", None),
        ("https://10.0.0.5", None),
        ("https://[::1]:8444", None),
        ("http://gate.example", None),
        ("https://gate.example/path", None),
        ("https://user@gate.example", None),
        ("https://gate.example:99999", None),
        ("https://", None),
        ("ftp://gate.example", None),
    ] {
        assert_eq!(party(url), wanted, "{url}");
    }
}
