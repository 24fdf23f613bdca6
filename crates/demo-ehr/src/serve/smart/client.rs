//! Registered SMART apps: who may launch, with which keys, and where they may be sent.

use std::fmt;

use http::Uri;
use serde_json::{Map, Value};

use super::jose::KeySet;

/// A confidential app that proves itself by `private_key_jwt` (SMART 2.2, "Client Authentication: Asymmetric").
#[derive(Clone, Debug, PartialEq)]
pub struct SmartClient {
    /// `client_id`.
    pub client_id: String,
    /// Its public keys.
    pub keys: ClientKeys,
    /// Redirect URIs; one must be sent byte for byte (RFC 9700 §2.1).
    pub redirect_uris: Vec<String>,
    /// Where an EHR launch begins; without one it can only launch on its own.
    pub launch_url: Option<String>,
    /// Further places where a launch of it may begin, each by a name that the launch page shows: for a client that stands
    /// between the EHR and several apps.
    pub launch_urls: Vec<(String, String)>,
}

/// Where an app's public keys are.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientKeys {
    /// Registered by value: a JWK Set.
    Jwks(Value),
    /// Registered by URL, which is read anew for each assertion. Only loopback is ever asked.
    Url(String),
}

/// Why something is no registration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum InvalidClient {
    /// Not an object with exactly the members there are.
    Member(String),
    /// No usable public key.
    Keys,
    /// Not an `http` or `https` URL without fragment.
    Url(String),
    /// The keys are not on this machine.
    Elsewhere(String),
    /// Two apps have this id.
    Twice(String),
}

impl fmt::Display for InvalidClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member(name) => write!(
                f,
                "`{name}` is missing, unknown or of the wrong kind; an app has client_id, jwks or jwks_url, \
                 redirect_uris and, if it can be launched, launch_url"
            ),
            Self::Keys => write!(f, "`jwks` holds no EC P-384 or RSA public key with a `kid`, or one that is private"),
            Self::Url(url) => write!(f, "`{url}` is no http or https URL without fragment"),
            Self::Elsewhere(url) => {
                write!(f, "`{url}` is not on this machine: keys are read from http on loopback only")
            }
            Self::Twice(id) => write!(f, "two apps are called `{id}`"),
        }
    }
}

impl std::error::Error for InvalidClient {}

impl SmartClient {
    /// Reads one registration, or a list of them: `client_id`, `jwks` or `jwks_url`, `redirect_uris`, `launch_url`.
    ///
    /// # Errors
    /// What is wrong with it. Unknown members are: a misspelt one would not count.
    pub fn from_json(value: &Value) -> Result<Vec<Self>, InvalidClient> {
        let one = [value];
        let all: Vec<&Value> = value.as_array().map_or_else(|| one.to_vec(), |all| all.iter().collect());
        let clients: Vec<Self> = all.into_iter().map(read).collect::<Result<_, _>>()?;
        for (index, client) in clients.iter().enumerate() {
            client.check()?;
            if clients.iter().skip(index + 1).any(|other| other.client_id == client.client_id) {
                return Err(InvalidClient::Twice(client.client_id.clone()));
            }
        }
        Ok(clients)
    }

    /// Whether it can be registered.
    ///
    /// # Errors
    /// The first thing wrong with it.
    pub fn check(&self) -> Result<(), InvalidClient> {
        if self.client_id.is_empty() {
            return Err(InvalidClient::Member("client_id".to_owned()));
        }
        if self.redirect_uris.is_empty() {
            return Err(InvalidClient::Member("redirect_uris".to_owned()));
        }
        if let Some(url) = self
            .redirect_uris
            .iter()
            .chain(&self.launch_url)
            .chain(self.launch_urls.iter().map(|(_, url)| url))
            .find(|url| !web(url))
        {
            return Err(InvalidClient::Url(url.clone()));
        }
        match &self.keys {
            ClientKeys::Jwks(set) => KeySet::read(set).map(|_| ()).ok_or(InvalidClient::Keys),
            ClientKeys::Url(url) if on_loopback(url) => Ok(()),
            ClientKeys::Url(url) => Err(InvalidClient::Elsewhere(url.clone())),
        }
    }
}

fn read(value: &Value) -> Result<SmartClient, InvalidClient> {
    const KNOWN: [&str; 5] = ["client_id", "jwks", "jwks_url", "redirect_uris", "launch_url"];
    let wrong = |name: &str| InvalidClient::Member(name.to_owned());
    let members: &Map<String, Value> = value.as_object().ok_or_else(|| wrong("client_id"))?;
    if let Some(name) = members.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        return Err(wrong(name));
    }
    let text = |name: &str| match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(wrong(name)),
    };
    let keys = match (members.get("jwks"), text("jwks_url")?) {
        (Some(set), None) => ClientKeys::Jwks(set.clone()),
        (None, Some(url)) => ClientKeys::Url(url),
        _ => return Err(wrong("jwks")),
    };
    let uris = members.get("redirect_uris").and_then(Value::as_array).ok_or_else(|| wrong("redirect_uris"))?;
    let uris = uris.iter().map(|uri| uri.as_str().map(str::to_owned)).collect::<Option<Vec<String>>>();
    Ok(SmartClient {
        client_id: text("client_id")?.ok_or_else(|| wrong("client_id"))?,
        keys,
        redirect_uris: uris.ok_or_else(|| wrong("redirect_uris"))?,
        launch_url: text("launch_url")?,
        launch_urls: Vec::new(),
    })
}

/// Whether browsers can be sent there (RFC 6749 §3.1.2: absolute, no fragment).
fn web(url: &str) -> bool {
    let printable = url.bytes().all(|byte| byte.is_ascii_graphic());
    let parsed = url.parse::<Uri>().ok().filter(|uri| uri.host().is_some_and(|host| !host.is_empty()));
    printable && !url.contains('#') && parsed.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")))
}

/// Whether it is plain http to this machine.
pub(super) fn on_loopback(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let host = uri.host().unwrap_or("").trim_start_matches('[').trim_end_matches(']');
    let own = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    web(url) && uri.scheme_str() == Some("http") && (own || host == "localhost")
}

#[test]
fn a_registration_is_read_whole_or_refused() {
    let key = serde_json::json!({"keys": [super::jose::test_key()]});
    let good = serde_json::json!({"client_id": "app", "jwks": key, "redirect_uris": ["http://127.0.0.1/cb"],
        "launch_url": "http://127.0.0.1/launch"});
    assert_eq!(SmartClient::from_json(&good).map(|all| all.len()), Ok(1));
    assert_eq!(SmartClient::from_json(&serde_json::json!([good, good])), Err(InvalidClient::Twice("app".to_owned())));
    let member = |name: &str| InvalidClient::Member(name.to_owned());
    for (name, value, says) in [
        ("client_id", Value::Null, member("client_id")),
        ("client_id", "".into(), member("client_id")),
        ("jwks", Value::Bool(true), InvalidClient::Keys),
        ("jwks_url", "http://127.0.0.1/jwks".into(), member("jwks")),
        ("redirect_uris", serde_json::json!([]), member("redirect_uris")),
        ("redirect_uris", serde_json::json!(["app:/cb"]), InvalidClient::Url("app:/cb".to_owned())),
        ("redirect_uris", serde_json::json!(["http://h/#a"]), InvalidClient::Url("http://h/#a".to_owned())),
        ("launch_url", "launch".into(), InvalidClient::Url("launch".to_owned())),
        ("lunch_url", "http://h/".into(), member("lunch_url")),
    ] {
        let mut bad = good.clone();
        bad[name] = value;
        assert_eq!(SmartClient::from_json(&bad), Err(says), "{bad}");
    }
    for (url, own) in [
        ("http://127.0.0.1:80/jwks", true),
        ("http://[::1]/jwks", true),
        ("http://localhost:9/jwks", true),
        ("https://127.0.0.1/jwks", false),
        ("http://127.0.0.1.example/jwks", false),
        ("http://10.0.0.1/jwks", false),
    ] {
        assert_eq!(on_loopback(url), own, "`{url}`");
    }
}
