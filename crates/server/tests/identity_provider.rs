//! Sign-in at an OpenID Connect provider that nobody here wrote (npm `oidc-provider`), driven as a browser would: `interop/identity/run`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod identity_common;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use identity_common::{form, key_file};
use serde_json::{Value, json};
use server::broker::Signer;
use server::clock::Clock;
use server::identity::{IdentityProvider, Prompt, SignInError, SignedIn, Wish};
use server::outbound::Outbound;
use server::settings::{ClaimSettings, OidcAuth, OidcSettings, OutboundSettings, ProviderAudience};

const REDIRECT: &str = "http://127.0.0.1:9/callback";

struct Peer {
    child: Child,
    issuer: String,
    dir: tempfile::TempDir,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        key_file(&dir.path().join("key.pem"));
        std::fs::write(dir.path().join("secret"), "s3cret/with+odd=signs").unwrap();
        let jwk = Signer::read(&dir.path().join("key.pem")).unwrap().jwk().clone();
        let client = |id: &str, more: Value| {
            let mut client = json!({ "client_id": id, "redirect_uris": [REDIRECT],
                "post_logout_redirect_uris": ["http://127.0.0.1:9/out"] });
            client.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            client
        };
        let configuration = json!({
            "clients": [
                client("by-key", json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks": { "keys": [jwk] } })),
                client("by-secret", json!({ "token_endpoint_auth_method": "client_secret_basic",
                    "client_secret": "s3cret/with+odd=signs", "id_token_signed_response_alg": "ES256" })),
            ],
            "accounts": {
                "ada": { "password": "correct horse", "acr": "urn:mfa", "amr": ["pwd", "otp"],
                    "claims": { "name": "Ada Lovelace", "fhirUser": "Practitioner/dr-1", "groups": ["hilum-ops"] } },
                "pat": { "password": "battery staple", "acr": "urn:pwd", "amr": ["pwd"],
                    "claims": { "name": "Pat", "patient": "p-1" } },
            },
        });
        let path = dir.path().join("provider.json");
        std::fs::write(&path, configuration.to_string()).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop/identity/provider.mjs");
        let mut child = Command::new("node").arg(script).arg(&path).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let issuer = lines.find_map(|line| line.unwrap().strip_prefix("issuer ").map(str::to_owned)).unwrap();
        Self { child, issuer, dir }
    }

    fn open(&self, client: &str, amr: &[&str]) -> IdentityProvider {
        server::listen::install_crypto();
        let file = self.dir.path().join(if client == "by-key" { "key.pem" } else { "secret" });
        let auth = match client {
            "by-key" => OidcAuth::Key { file, audience: ProviderAudience::Issuer },
            _ => OidcAuth::Secret(file),
        };
        let settings = OidcSettings {
            issuer: self.issuer.clone(),
            client_id: client.into(),
            auth,
            scopes: vec![],
            claims: ClaimSettings {
                fhir_user: Some("fhirUser".into()),
                patient: Some("patient".into()),
                roles: vec![("groups".into(), "hilum-ops".into(), domain::Role::Operator)],
            },
            acr: vec![],
            amr: amr.iter().map(|method| (*method).to_owned()).collect(),
        };
        let outbound = OutboundSettings { allow_private: ["127.0.0.1".to_owned()].into(), ca: None };
        IdentityProvider::open(&settings, Outbound::new(&outbound).unwrap(), Clock::system()).unwrap()
    }
}

/// As much of a browser as a sign-in needs: cookies, redirects, one form.
struct Browser {
    client: Client<HttpConnector, Full<Bytes>>,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    fn new() -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), cookies: BTreeMap::new() }
    }

    async fn send(&mut self, method: &str, url: &str, body: &str) -> (Response<()>, String) {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = Request::builder().method(method).uri(url).header("cookie", cookies.join("; "));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = self.client.request(request.body(Full::new(Bytes::from(body.to_owned()))).unwrap()).await.unwrap();
        let (head, body) = answer.into_parts();
        for cookie in head.headers.get_all("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            match value {
                "" => _ = self.cookies.remove(name),
                value => _ = self.cookies.insert(name.to_owned(), value.to_owned()),
            }
        }
        let text = body.collect().await.unwrap().to_bytes();
        (Response::from_parts(head, ()), String::from_utf8_lossy(&text).into_owned())
    }

    /// Follows redirects until the application is reached (its query comes back) or a page is shown (its URL).
    async fn follow(&mut self, url: &str) -> Result<String, String> {
        self.go("GET", url, "").await
    }

    async fn go(&mut self, method: &str, url: &str, body: &str) -> Result<String, String> {
        let (mut method, mut url, mut body) = (method.to_owned(), url.to_owned(), body.to_owned());
        for _ in 0..12 {
            let (answer, _) = self.send(&method, &url, &body).await;
            let Some(to) = answer.headers().get("location") else { return Err(url) };
            let to = to.to_str().unwrap();
            if let Some(query) = to.strip_prefix(&format!("{REDIRECT}?")) {
                return Ok(query.to_owned());
            }
            let origin = url.split('/').take(3).collect::<Vec<_>>().join("/");
            url = if to.starts_with('/') { format!("{origin}{to}") } else { to.to_owned() };
            (method, body) = ("GET".into(), String::new());
        }
        panic!("too many redirects");
    }
}

/// A person signs in with a password, or comes back without one.
async fn sign_in(
    ours: &IdentityProvider,
    browser: &mut Browser,
    wish: Wish,
    typed: Option<&str>,
) -> Result<SignedIn, SignInError> {
    let begun = ours.begin(REDIRECT, wish).await?;
    let query = match (browser.follow(&begun.url).await, typed) {
        (Ok(query), _) => query,
        (Err(page), Some(typed)) => browser.go("POST", &page, typed).await.unwrap(),
        (Err(page), None) => panic!("asked at {page}"),
    };
    ours.finish(&begun.pending, &query, REDIRECT, Clock::system().now()).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node and interop/identity/node_modules: run interop/identity/run"]
async fn people_sign_in_at_a_real_provider() {
    let peer = Peer::start();
    for client in ["by-key", "by-secret"] {
        let ours = peer.open(client, &[]);
        assert_eq!(ours.check().await, Ok(vec![]), "{client}");
        let mut browser = Browser::new();
        let person = sign_in(&ours, &mut browser, Wish::default(), Some("login=ada&password=correct+horse")).await;
        let person = person.unwrap();
        assert_eq!((person.issuer.as_str(), person.subject.as_str()), (peer.issuer.as_str(), "ada"));
        assert_eq!(person.name.as_deref(), Some("Ada Lovelace"));
        assert_eq!(person.fhir_user.unwrap().to_string(), "Practitioner/dr-1");
        assert_eq!(person.roles, [domain::Role::Operator]);
        assert_eq!((person.acr.as_deref(), person.amr), (Some("urn:mfa"), vec!["pwd".to_owned(), "otp".to_owned()]));

        // The provider knows the browser now; asked for nothing, it asks for nothing.
        let quiet = Wish { prompt: Some(Prompt::None), ..Wish::default() };
        assert!(sign_in(&ours, &mut browser, quiet.clone(), None).await.is_ok());
        let stranger = sign_in(&ours, &mut Browser::new(), quiet, None).await;
        assert_eq!(stranger.unwrap_err(), SignInError::NeedsInteraction, "AZ-18");
        let anew = Wish { prompt: Some(Prompt::Login), ..Wish::default() };
        assert!(sign_in(&ours, &mut browser, anew, Some("login=ada&password=correct+horse")).await.is_ok());

        let mut other = Browser::new();
        let patient = sign_in(&ours, &mut other, Wish::default(), Some("login=pat&password=battery+staple")).await;
        let patient = patient.unwrap();
        assert_eq!((patient.patient.unwrap().as_str(), patient.fhir_user, patient.roles.len()), ("p-1", None, 0));

        let url = ours.logout_url(&patient.id_token_hint, "http://127.0.0.1:9/out", "st").await.unwrap();
        let asked = form(url.split_once('?').unwrap().1.as_bytes());
        assert_eq!(asked["client_id"], client);
        let (answer, page) = Browser::new().send("GET", &url, "").await;
        assert!(answer.status().is_success() && page.contains("<form"), "the provider takes the hint: {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node and interop/identity/node_modules: run interop/identity/run"]
async fn a_real_provider_is_believed_no_further_than_it_goes() {
    let peer = Peer::start();
    let ours = peer.open("by-key", &["otp"]);
    let mut browser = Browser::new();
    assert!(sign_in(&ours, &mut browser, Wish::default(), Some("login=ada&password=correct+horse")).await.is_ok());
    let weak = sign_in(&ours, &mut Browser::new(), Wish::default(), Some("login=pat&password=battery+staple")).await;
    assert!(matches!(weak.unwrap_err(), SignInError::Factor(_)), "one factor where two are asked");
    let denied = sign_in(&ours, &mut Browser::new(), Wish::default(), Some("abort=1")).await;
    assert_eq!(denied.unwrap_err(), SignInError::Denied);

    // A code is good once, and only with what began the sign-in.
    let begun = ours.begin(REDIRECT, Wish::default()).await.unwrap();
    let query = browser.follow(&begun.url).await.unwrap();
    let other = ours.begin(REDIRECT, Wish::default()).await.unwrap();
    let swapped = query.replace(begun.pending.state(), other.pending.state());
    let now = || Clock::system().now();
    let stolen = ours.finish(&other.pending, &swapped, REDIRECT, now()).await;
    assert_eq!(stolen.unwrap_err(), SignInError::Code, "another's code fails at PKCE");
    let begun = ours.begin(REDIRECT, Wish::default()).await.unwrap();
    let query = browser.follow(&begun.url).await.unwrap();
    assert!(ours.finish(&begun.pending, &query, REDIRECT, now()).await.is_ok());
    assert_eq!(ours.finish(&begun.pending, &query, REDIRECT, now()).await.unwrap_err(), SignInError::Code);
    let unknown = peer.open("by-secret", &[]);
    std::fs::write(peer.dir.path().join("secret"), "wrong").unwrap();
    let refused = sign_in(&unknown, &mut browser, Wish::default(), None).await;
    assert_eq!(refused.unwrap_err(), SignInError::Code, "our own secret is wrong");
}
