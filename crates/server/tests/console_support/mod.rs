//! The pages with the real store and ledger behind them, browsers with cookies, and an authenticator in software (ES256).
#![allow(dead_code, reason = "each test file uses its part")]

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::{Role, TenantId};
use serde_json::{Value, json};
use server::audit::Audit;
use server::clock::{Clock, random};
use server::console::Origin;
use server::keys::KeyRing;
use server::registry::{Registry, credential_hash};
use server::settings::{ConsentSource, TenantSettings, UpstreamAuth, UpstreamSettings};
use store::Store;
use tower::ServiceExt as _;
use vault::RootKey;

pub const NOW: i64 = 1_795_000_000_000;
pub const ORIGIN: &str = "https://gate.example";
pub const PASS: &str = "correct horse battery staple";

pub struct Place {
    pub registry: Registry,
    pub store: Store,
    pub clock: Clock,
    pub audit: Audit,
    _folder: tempfile::TempDir,
}

impl Place {
    /// `olga` operator, `pia` privacy officer and `aude` auditor in mercy, all with the same passphrase.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open("sqlite::memory:").await.unwrap();
        let (tenant, clock): (TenantId, _) = ("mercy".parse().unwrap(), Clock::fixed(NOW));
        let root = RootKey::parse(&[1; 32]).unwrap();
        let keys = KeyRing::open(&root, &store, std::slice::from_ref(&tenant), NOW).await.unwrap();
        let audit = Audit::open(folder.path(), "node-1", "gate.example", keys.clone(), clock.clone()).await.unwrap();
        let upstream = UpstreamSettings {
            fhir: "https://ehr.example/fhir".into(),
            auth: UpstreamAuth::None,
            shared: [].into(),
            timeout: std::time::Duration::from_secs(1),
            body_bytes_max: 1024,
            consent: ConsentSource::None,
        };
        let settings = TenantSettings {
            id: tenant,
            name: "Mercy".into(),
            public_url: ORIGIN.into(),
            upstream,
            people: Default::default(),
            ehr: None,
            client_ca: None,
        };
        let registry = Registry::open(store.clone(), &[settings], audit.clone(), keys, clock.clone()).await.unwrap();
        registry.serve_console(Origin::parse(ORIGIN).unwrap());
        let out = Self { registry, store, clock, audit, _folder: folder };
        out.store.insert_init_credential(&credential_hash("c"), NOW, NOW + 1_000).await.unwrap();
        let people: Vec<Value> = [("olga", Role::Operator), ("pia", Role::PrivacyOfficer), ("aude", Role::Auditor)]
            .map(|(name, role)| {
                let roles = json!([{ "tenant": "mercy", "role": role.as_str() }]);
                json!({ "id": format!("{name}@x"), "name": name, "passphrase": PASS, "roles": roles })
            })
            .into();
        let made = out.api("", "POST", "/init", json!({ "credential": "c", "people": people })).await;
        assert_eq!(made.0, StatusCode::CREATED, "{}", made.1);
        out
    }

    /// One call of `/api/v1`, as the holder of a token or nobody.
    pub async fn api(&self, token: &str, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(format!("/api/v1{path}"));
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let response = self.registry.admin_router().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 24).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    pub async fn login(&self, person: &str, passphrase: &str) -> (StatusCode, Value) {
        self.api("", "POST", "/login", json!({ "person": person, "passphrase": passphrase })).await
    }

    /// An API token without signing in, for those who only look.
    pub async fn token(&self, person: &str) -> String {
        let (token, now) = (format!("a-token-of-{person}"), self.clock.now());
        let hash = credential_hash(&token);
        self.store.end_api_token(&hash).await.unwrap();
        self.store.add_api_token(&hash, &person.parse().unwrap(), now, now + 3_600_000).await.unwrap();
        token
    }

    /// `noun verb outcome` of every record of the installation itself, oldest first.
    pub async fn records(&self) -> Vec<String> {
        let path = "/system/audit?limit=500";
        let (status, all) = self.api(&self.token("aude@x").await, "GET", path, Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{all}");
        all["records"].as_array().unwrap().iter().rev().map(ToString::to_string).collect()
    }

    /// A browser of `person`'s, signed in by passphrase.
    pub async fn by_passphrase(&self, person: &str) -> Browser<'_> {
        let mut browser = Browser::new(self);
        browser.get("/console/sign-in").await;
        let form = [("person", person), ("passphrase", PASS), ("request", "")];
        assert_eq!(browser.form("/console/sign-in/passphrase", &form).await.0, StatusCode::SEE_OTHER);
        browser
    }

    /// A browser and a passkey of `person`'s, signed in with it.
    pub async fn enrolled(&self, person: &str) -> (Browser<'_>, Authenticator) {
        let mut browser = self.by_passphrase(person).await;
        let mut authenticator = Authenticator::new();
        assert_eq!(browser.enrol(&mut authenticator).await.0, StatusCode::CREATED);
        assert_eq!(browser.sign_in(&mut authenticator).await.0, StatusCode::OK);
        (browser, authenticator)
    }
}

/// One browser: its cookie, and the token of the last page it saw.
pub struct Browser<'a> {
    place: &'a Place,
    pub cookie: String,
    pub csrf: String,
    pub extra: Vec<(&'static str, &'static str)>,
    pub headers: HeaderMap,
}

impl<'a> Browser<'a> {
    pub fn new(place: &'a Place) -> Self {
        let (cookie, csrf) = (String::new(), String::new());
        Self { place, cookie, csrf, extra: Vec::new(), headers: HeaderMap::new() }
    }

    async fn send(&mut self, request: axum::http::request::Builder, body: String) -> (StatusCode, String) {
        let mut request = request.header("host", "gate.example");
        if !self.cookie.is_empty() {
            request = request.header("cookie", &self.cookie);
        }
        for (name, value) in &self.extra {
            request = request.header(*name, *value);
        }
        let router = self.place.registry.admin_router();
        let response = router.oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        self.headers = response.headers().clone();
        if let Some(set) = self.headers.get("set-cookie") {
            self.cookie = set.to_str().unwrap().split(';').next().unwrap().to_owned();
        }
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    pub async fn get(&mut self, path: &str) -> (StatusCode, String) {
        let (status, page) = self.send(Request::get(path), String::new()).await;
        if let Some((_, rest)) = page.split_once("name=\"csrf\" content=\"") {
            self.csrf = rest.split('"').next().unwrap().to_owned();
        }
        (status, page)
    }

    pub async fn form(&mut self, path: &str, fields: &[(&str, &str)]) -> (StatusCode, String) {
        let csrf = self.csrf.clone();
        let pairs = fields.iter().copied().chain([("csrf", csrf.as_str())]);
        let encode =
            |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
        let body: Vec<_> = pairs.map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
        self.send(request, body.join("&")).await
    }

    pub async fn script(&mut self, path: &str, body: &Value) -> (StatusCode, Value) {
        let request = Request::post(path)
            .header("content-type", "application/json")
            .header("accept", "application/json")
            .header("x-hilum-csrf", &self.csrf);
        let (status, text) = self.send(request, body.to_string()).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// What the page's script does to enrol.
    pub async fn enrol(&mut self, authenticator: &mut Authenticator) -> (StatusCode, Value) {
        self.get("/console/passkeys").await;
        let (status, options) = self.script("/console/passkeys/options", &json!({})).await;
        if status != StatusCode::OK {
            return (status, options);
        }
        let sent = authenticator.create(&options);
        self.script("/console/passkeys/enrol", &sent).await
    }

    pub async fn sign_in_options(&mut self) -> Value {
        // Whoever is signed in is led to their passkeys.
        if self.get("/console/sign-in").await.0 == StatusCode::SEE_OTHER {
            self.get("/console/passkeys").await;
        }
        let (status, options) = self.script("/console/sign-in/options", &json!({})).await;
        assert_eq!(status, StatusCode::OK, "{options}");
        options
    }

    pub async fn answer(&mut self, answer: Value) -> (StatusCode, Value) {
        self.script("/console/sign-in/passkey", &json!({ "answer": answer, "request": "" })).await
    }

    /// What the page's script does to sign in.
    pub async fn sign_in(&mut self, authenticator: &mut Authenticator) -> (StatusCode, Value) {
        let options = self.sign_in_options().await;
        let answer = authenticator.get(&options);
        self.answer(answer).await
    }
}

/// An authenticator with one credential, and a browser around it that can be made to lie.
pub struct Authenticator {
    pair: EcdsaKeyPair,
    pub id: Vec<u8>,
    pub handle: Vec<u8>,
    pub counter: u32,
    pub flags: u8,
    pub rp: String,
    pub origin: String,
}

impl Authenticator {
    pub fn new() -> Self {
        Self {
            pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap(),
            id: random::<16>().unwrap().to_vec(),
            handle: Vec::new(),
            counter: 1,
            flags: 0x05,
            rp: "gate.example".into(),
            origin: ORIGIN.into(),
        }
    }

    fn client_data(&self, kind: &str, options: &Value) -> Vec<u8> {
        let text =
            json!({ "type": kind, "challenge": options["challenge"], "origin": self.origin, "crossOrigin": false });
        text.to_string().into_bytes()
    }

    fn data(&self, flags: u8) -> Vec<u8> {
        let mut out = digest(&SHA256, self.rp.as_bytes()).as_ref().to_vec();
        out.push(flags);
        out.extend_from_slice(&self.counter.to_be_bytes());
        out
    }

    /// `navigator.credentials.create`, as the script sends it.
    pub fn create(&mut self, options: &Value) -> Value {
        self.handle = URL_SAFE_NO_PAD.decode(options["user"]["id"].as_str().unwrap()).unwrap();
        let mut data = self.data(self.flags | 0x40);
        data.extend_from_slice(&[0; 16]);
        data.extend_from_slice(&u16::try_from(self.id.len()).unwrap().to_be_bytes());
        data.extend_from_slice(&self.id);
        let point = self.pair.public_key().as_ref();
        data.extend_from_slice(&[0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20]);
        data.extend_from_slice(&point[1..33]);
        data.extend_from_slice(&[0x22, 0x58, 0x20]);
        data.extend_from_slice(&point[33..65]);
        let mut object = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58".to_vec();
        object.push(u8::try_from(data.len()).unwrap());
        object.extend_from_slice(&data);
        json!({
            "name": "blue key",
            "client_data": URL_SAFE_NO_PAD.encode(self.client_data("webauthn.create", options)),
            "attestation_object": URL_SAFE_NO_PAD.encode(object),
        })
    }

    /// `navigator.credentials.get`, as the script sends it. Each use counts.
    pub fn get(&mut self, options: &Value) -> Value {
        self.counter += 1;
        let (client, data) = (self.client_data("webauthn.get", options), self.data(self.flags));
        let mut signed = data.clone();
        signed.extend_from_slice(digest(&SHA256, &client).as_ref());
        let signature = self.pair.sign(&SystemRandom::new(), &signed).unwrap();
        json!({
            "id": URL_SAFE_NO_PAD.encode(&self.id),
            "client_data": URL_SAFE_NO_PAD.encode(client),
            "authenticator_data": URL_SAFE_NO_PAD.encode(data),
            "signature": URL_SAFE_NO_PAD.encode(signature),
            "user_handle": URL_SAFE_NO_PAD.encode(&self.handle),
        })
    }
}
