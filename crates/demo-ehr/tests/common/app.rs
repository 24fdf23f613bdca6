//! A SMART app as small as it can be, and an EHR whose clock a test moves: what the launch tests drive.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, dead_code, missing_docs)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA384,
    RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use demo_ehr::{Auth, ClientKeys, Clock, DemoEhr, LaunchContext, Running, SmartClient};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Value, json};

use super::{Answer, NOW, send};

pub const REDIRECT: &str = "http://127.0.0.1:9/app/callback?from=ehr";
pub const LAUNCH: &str = "http://127.0.0.1:9/app/launch";
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// RFC 7636 appendix B.
pub const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
pub const SCOPE: &str =
    "openid fhirUser launch offline_access patient/Patient.rs patient/Observation.rs patient/Encounter.r";

pub enum Key {
    Es384(EcdsaKeyPair),
    Rs384(RsaKeyPair),
}

impl Key {
    pub fn es384() -> Self {
        Self::Es384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap())
    }

    pub fn rs384() -> Self {
        Self::Rs384(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Es384(_) => "ES384",
            Self::Rs384(_) => "RS384",
        }
    }

    pub fn jwk(&self) -> Value {
        match self {
            Self::Es384(key) => {
                let point = key.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-384", "kid": "k1", "x": b64(&point[1..49]), "y": b64(&point[49..])})
            }
            Self::Rs384(key) => {
                let der = key.public_key().as_ref();
                let n = &der[der.len() - 5 - 256..der.len() - 5];
                json!({"kty": "RSA", "kid": "k1", "n": b64(n), "e": "AQAB"})
            }
        }
    }

    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let input = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
        let random = SystemRandom::new();
        let signature = match self {
            Self::Es384(key) => key.sign(&random, input.as_bytes()).unwrap().as_ref().to_vec(),
            Self::Rs384(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA384, &random, input.as_bytes(), &mut signature).unwrap();
                signature
            }
        };
        format!("{input}.{}", b64(signature))
    }
}

pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub fn query(pairs: &[(&str, &str)]) -> String {
    let escape = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    pairs.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect::<Vec<_>>().join("&")
}

/// The parameters after the `?` of a URL.
pub fn parameters(url: &str) -> BTreeMap<String, String> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
    let (_, query) = url.split_once('?').unwrap();
    query.split('&').map(|pair| pair.split_once('=').unwrap()).map(|(n, v)| (decode(n), decode(v))).collect()
}

/// An app and the EHR it is registered with.
pub struct World {
    pub ehr: Running,
    pub key: Key,
    pub now: Arc<AtomicI64>,
    jti: AtomicU64,
}

impl World {
    /// With the catalogue's two patients, and FHIR behind apps' tokens.
    pub async fn new() -> Self {
        Self::with(Key::es384(), Auth::SmartLaunch).await
    }

    pub async fn with(key: Key, auth: Auth) -> Self {
        let keys = ClientKeys::Jwks(json!({ "keys": [key.jwk()] }));
        Self::start(key, keys, auth).await
    }

    pub async fn start(key: Key, keys: ClientKeys, auth: Auth) -> Self {
        let now = Arc::new(AtomicI64::new(NOW));
        let told = Arc::clone(&now);
        let other = SmartClient {
            client_id: "other".into(),
            keys: keys.clone(),
            redirect_uris: vec!["http://127.0.0.1:9/other".into()],
            launch_url: None,
            launch_urls: Vec::new(),
        };
        let app = SmartClient {
            client_id: "app".into(),
            keys,
            redirect_uris: vec![REDIRECT.into(), "http://127.0.0.1:9/second".into()],
            launch_url: Some(LAUNCH.into()),
            launch_urls: Vec::new(),
        };
        let ehr = DemoEhr::from_resources(demo_ehr::fixture())
            .auth(auth)
            .clock(Clock::from_fn(move || told.load(Ordering::SeqCst)))
            .smart_client(app)
            .smart_client(other);
        Self { ehr: super::start(ehr).await, key, now, jti: AtomicU64::new(0) }
    }

    pub fn origin(&self) -> &str {
        self.ehr.base_url.strip_suffix("/fhir").unwrap()
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin())
    }

    pub fn advance(&self, seconds: i64) {
        self.now.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    pub fn seconds(&self) -> i64 {
        self.now.load(Ordering::SeqCst) / 1000
    }

    pub fn handle(&self) -> String {
        let context = LaunchContext::new("PRA", "P1").encounter("E1");
        self.ehr.mint_launch("app", context).unwrap()
    }

    /// The parameters of a good authorization request from the EHR.
    pub fn request(&self, handle: &str) -> Vec<(&'static str, String)> {
        let mut all = self.alone(SCOPE);
        all.push(("launch", handle.to_owned()));
        all
    }

    /// Those of one that starts alone.
    pub fn alone(&self, scope: &str) -> Vec<(&'static str, String)> {
        let own = |name: &'static str, value: &str| (name, value.to_owned());
        vec![
            own("response_type", "code"),
            own("client_id", "app"),
            own("redirect_uri", REDIRECT),
            own("scope", scope),
            own("state", "s t&te/\u{e9}"),
            own("aud", &self.ehr.base_url),
            own("code_challenge", CHALLENGE),
            own("code_challenge_method", "S256"),
            own("nonce", "n-1"),
        ]
    }

    pub async fn authorize(&self, request: &[(&'static str, String)]) -> Answer {
        let pairs: Vec<(&str, &str)> = request.iter().map(|(name, value)| (*name, value.as_str())).collect();
        send("GET", &self.url(&format!("/authorize?{}", query(&pairs))), &[], "").await
    }

    /// A code of a launch from the EHR.
    pub async fn code(&self) -> String {
        let answer = self.authorize(&self.request(&self.handle())).await;
        assert_eq!(answer.status, 303, "{}", answer.text());
        parameters(answer.header("location").unwrap())["code"].clone()
    }

    pub fn claims(&self) -> Value {
        let jti = self.jti.fetch_add(1, Ordering::SeqCst);
        json!({"iss": "app", "sub": "app", "aud": self.ehr.token_url, "exp": self.seconds() + 300,
            "jti": format!("jti-{jti}")})
    }

    pub fn header(&self) -> Value {
        json!({"alg": self.key.algorithm(), "kid": "k1", "typ": "JWT"})
    }

    pub async fn form(&self, path: &str, pairs: &[(&str, &str)]) -> Answer {
        let kind = [("content-type", "application/x-www-form-urlencoded")];
        send("POST", &self.url(path), &kind, &query(pairs)).await
    }

    /// A form with a good assertion.
    pub async fn signed(&self, path: &str, pairs: &[(&str, &str)]) -> Answer {
        let assertion = self.key.sign(&self.header(), &self.claims());
        self.with_assertion(path, pairs, &assertion).await
    }

    pub async fn with_assertion(&self, path: &str, pairs: &[(&str, &str)], assertion: &str) -> Answer {
        let mut all = pairs.to_vec();
        all.extend([("client_assertion_type", JWT_BEARER), ("client_assertion", assertion)]);
        self.form(path, &all).await
    }

    pub async fn redeem(&self, code: &str) -> Answer {
        let grant = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", REDIRECT)];
        self.signed("/token", &[&grant[..], &[("code_verifier", VERIFIER)]].concat()).await
    }

    pub async fn refresh(&self, token: &str) -> Answer {
        self.signed("/token", &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    /// What a whole launch from the EHR ends with.
    pub async fn tokens(&self) -> Value {
        let answer = self.redeem(&self.code().await).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    pub async fn fhir(&self, method: &str, path: &str, token: &Value, body: &str) -> Answer {
        let bearer = format!("Bearer {}", token.as_str().unwrap());
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/fhir+json")];
        send(method, &format!("{}/{path}", self.ehr.base_url), &headers, body).await
    }

    pub async fn status(&self, path: &str, token: &Value) -> u16 {
        self.fhir("GET", path, token, "").await.status
    }
}

/// The claims of an ID token, and whether a key of the set signed it with RS256.
pub fn read_id_token(token: &Value, jwks: &Value) -> (Value, bool) {
    let token = token.as_str().unwrap();
    let (input, signature) = token.rsplit_once('.').unwrap();
    let (header, payload) = input.split_once('.').unwrap();
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
    let header: Value = serde_json::from_slice(&decode(header)).unwrap();
    assert_eq!(header["alg"], "RS256");
    let key = jwks["keys"].as_array().unwrap().iter().find(|key| key["kid"] == header["kid"]).unwrap();
    let part = |name: &str| decode(key[name].as_str().unwrap());
    let key = RsaPublicKeyComponents { n: part("n"), e: part("e") };
    let good = key.verify(&RSA_PKCS1_2048_8192_SHA256, input.as_bytes(), &decode(signature)).is_ok();
    (serde_json::from_slice(&decode(payload)).unwrap(), good)
}

/// The error of a token answer.
pub fn error(answer: &Answer) -> String {
    answer.json()["error"].as_str().unwrap_or("").to_owned()
}
