//! A small SMART server that is right, until it is told which rule to forget: what the self-test measures the rows by.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use conformance::jose::{base64url, nonce, peek, sha256, verified_by};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

mod answers;
mod pages;

use answers::{Reply, error, json_reply};

/// Where the app is.
pub const REDIRECT: &str = "http://127.0.0.1:9/cb";
/// Alice's password.
pub const PASSWORD: &str = "correct horse";

pub type Form = Vec<(String, String)>;

#[derive(Clone, Default)]
pub struct Code {
    client: String,
    redirect_uri: String,
    challenge: String,
    scope: String,
    family: String,
    used: bool,
}

#[derive(Clone, Default)]
pub struct Token {
    client: String,
    scope: String,
    family: String,
    refresh: bool,
    dead: bool,
}

#[derive(Clone, Default)]
pub struct Visit {
    params: Form,
    csrf: String,
    signed_in: bool,
    picked: bool,
}

#[derive(Default)]
pub struct State {
    codes: HashMap<String, Code>,
    tokens: HashMap<String, Token>,
    visits: HashMap<String, Visit>,
    seen: Vec<(String, String)>,
}

/// The server.
pub struct Model {
    pub base: String,
    forgets: Option<&'static str>,
    jwks: Value,
    pub state: Mutex<State>,
}

pub fn get<'a>(form: &'a [(String, String)], name: &str) -> &'a str {
    form.iter().find(|(have, _)| have == name).map_or("", |(_, value)| value)
}

pub fn repeated(form: &[(String, String)]) -> bool {
    let mut names: Vec<&String> = form.iter().map(|(name, _)| name).collect();
    names.sort();
    names.windows(2).any(|pair| pair[0] == pair[1])
}

impl Model {
    /// Starts a server that forgets one rule, or none. `jwks` are the keys of `be`.
    pub async fn start(forgets: Option<&'static str>, jwks: Value) -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let model = Arc::new(Self { base, forgets, jwks, state: Mutex::default() });
        let served = Arc::clone(&model);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let model = Arc::clone(&served);
                let service = service_fn(move |request| {
                    let model = Arc::clone(&model);
                    async move { Ok::<_, std::convert::Infallible>(model.answer(request).await) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        model
    }

    /// Whether the rule is kept.
    pub fn keeps(&self, rule: &str) -> bool {
        self.forgets != Some(rule)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let header =
            |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let read = |bytes: &[u8]| url::form_urlencoded::parse(bytes).into_owned().collect::<Form>();
        let query = read(head.uri.query().unwrap_or_default().as_bytes());
        let is_form = header("content-type").starts_with("application/x-www-form-urlencoded");
        let form = if is_form { read(&body) } else { Form::new() };
        let post = head.method == http::Method::POST;
        let reply = match head.uri.path() {
            "/fhir/.well-known/smart-configuration" => self.smart(&header("accept"), &header("host")),
            "/.well-known/oauth-authorization-server" => self.rfc8414(),
            "/fhir/metadata" => {
                json_reply(200, &answers::capability_statement()).with("access-control-allow-origin", "*")
            }
            "/authorize" => self.authorize(if post { &form } else { &query }),
            "/page" => self.page(&header("cookie"), post.then_some(&form)),
            "/token" if post && is_form => self.token(&form, &header("authorization")),
            "/token" if !self.keeps("post only") => self.token(&query, ""),
            "/token" if !post => self.kept_by_nobody(error(405, "invalid_request")),
            "/token" => self.kept_by_nobody(error(400, "invalid_request")),
            "/introspect" | "/revoke" if !post => error(405, "invalid_request"),
            "/introspect" => self.introspect(&form),
            "/revoke" => self.revoke(&form),
            path if path.starts_with("/fhir") => self.fhir(path, &query, &header("authorization")),
            _ => error(404, "not_found"),
        };
        reply.build()
    }

    fn document(&self) -> Value {
        let at = |path: &str| format!("{}/{path}", self.base);
        json!({
            "authorization_endpoint": at("authorize"), "token_endpoint": at("token"),
            "introspection_endpoint": at("introspect"), "revocation_endpoint": at("revoke"),
            "grant_types_supported": ["authorization_code", "client_credentials", "refresh_token"],
            "response_types_supported": ["code"], "scopes_supported": ["patient/Patient.rs", "system/Patient.rs"],
            "code_challenge_methods_supported": if self.keeps("no plain") { json!(["S256"]) } else { json!(["S256", "plain"]) },
            "authorization_response_iss_parameter_supported": true,
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": ["ES384"],
        })
    }

    fn smart(&self, accept: &str, host: &str) -> Reply {
        let mut body = self.document();
        body["capabilities"] =
            json!(["launch-standalone", "client-public", "permission-offline", "client-confidential-asymmetric"]);
        if !self.keeps("own name") {
            body["token_endpoint"] = format!("http://{host}/token").into();
        }
        let reply = json_reply(200, &body);
        let reply = if self.keeps("open documents") { reply.with("access-control-allow-origin", "*") } else { reply };
        if !self.keeps("always JSON") && accept == "text/html" {
            reply.with("content-type", "text/html")
        } else {
            reply
        }
    }

    fn rfc8414(&self) -> Reply {
        let mut body = self.document();
        body["issuer"] =
            if self.keeps("its issuer") { self.base.clone() } else { "http://other.invalid".into() }.into();
        if !self.keeps("documents agree") {
            body["token_endpoint"] = "http://127.0.0.1:1/token".into();
        }
        json_reply(200, &body)
    }

    /// Who sent it: a public client by its name, `be` by its assertion.
    fn client(&self, form: &Form) -> Option<String> {
        let assertion = get(form, "client_assertion");
        if assertion.is_empty() {
            return (get(form, "client_id") == "pub" && get(form, "client_secret").is_empty()).then(|| "pub".into());
        }
        let (header, claims) = peek(assertion)?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let number =
            |name: &str| claims.get(name).map(|value| value.as_i64().filter(|_| value.is_i64() || value.is_u64()));
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
        let fresh = |name: &str| number(name).is_none_or(|at| at.is_some_and(|at| at <= now + 60));
        let exp = number("exp").flatten();
        let once = form.iter().filter(|(name, _)| name == "client_assertion").count() == 1;
        let checks = [
            ("signature", header["alg"] == "ES384" && verified_by(assertion, &self.jwks)),
            ("names", text("iss") == "be" && text("sub") == "be" && matches!(get(form, "client_id"), "" | "be")),
            ("audience", text("aud") == format!("{}/token", self.base)),
            ("expiry", exp.is_some_and(|exp| exp > now - 30 && exp <= now + 330)),
            ("not before", fresh("nbf") && fresh("iat")),
            ("jti", !text("jti").is_empty() && text("jti").len() < 1000),
            ("assertion type", get(form, "client_assertion_type").ends_with(":jwt-bearer") && once),
        ];
        if checks.iter().any(|(rule, held)| !held && self.keeps(rule)) {
            return None;
        }
        let id = ("be".to_owned(), text("jti"));
        let mut state = self.state.lock().unwrap();
        if self.keeps("jti once") && state.seen.contains(&id) {
            return None;
        }
        state.seen.push(id);
        Some("be".into())
    }

    fn token(&self, form: &Form, authorization: &str) -> Reply {
        self.kept_by_nobody(self.issue(form, authorization))
    }

    fn kept_by_nobody(&self, reply: Reply) -> Reply {
        if self.keeps("no-store") { reply.with("cache-control", "no-store").with("pragma", "no-cache") } else { reply }
    }

    fn issue(&self, form: &Form, authorization: &str) -> Reply {
        if self.keeps("once in a form") && repeated(form) {
            return error(400, "invalid_request");
        }
        if !authorization.is_empty() {
            return error(401, "invalid_client");
        }
        let Some(client) = self.client(form) else { return error(401, "invalid_client") };
        match get(form, "grant_type") {
            "authorization_code" => self.redeem(form, &client),
            "refresh_token" => self.refresh(form, &client),
            "client_credentials" if client == "be" && get(form, "scope") == "system/Patient.rs" => {
                let seconds = if self.keeps("five minutes") { 300 } else { 3600 };
                self.granted(&client, "system/Patient.rs", "", seconds)
            }
            "client_credentials" if client == "be" => error(400, "invalid_scope"),
            "client_credentials" => error(400, "unauthorized_client"),
            "" => error(400, "invalid_request"),
            "password" if !self.keeps("no passwords") => self.granted(&client, "patient/Patient.rs", "", 300),
            _ => error(400, "unsupported_grant_type"),
        }
    }

    fn granted(&self, client: &str, scope: &str, family: &str, seconds: u64) -> Reply {
        let (access, refresh) = (nonce(), nonce());
        let mut state = self.state.lock().unwrap();
        let token =
            |refresh| Token { client: client.into(), scope: scope.into(), family: family.into(), refresh, dead: false };
        state.tokens.insert(access.clone(), token(false));
        let mut body = json!({ "access_token": access, "token_type": "Bearer", "expires_in": seconds, "scope": scope });
        if !family.is_empty() {
            body["patient"] = "p1".into();
        }
        if scope.contains("offline_access") {
            state.tokens.insert(refresh.clone(), token(true));
            body["refresh_token"] = refresh.into();
        }
        json_reply(200, &body)
    }

    fn kill(&self, family: &str) {
        let mut state = self.state.lock().unwrap();
        state.tokens.values_mut().filter(|token| token.family == family).for_each(|token| token.dead = true);
    }

    fn redeem(&self, form: &Form, client: &str) -> Reply {
        let id = get(form, "code");
        if id.is_empty() {
            return error(400, "invalid_request");
        }
        // Looked at and marked in one step, so that fifty at once are one after the other.
        let found = {
            let mut state = self.state.lock().unwrap();
            let before = state.codes.get(id).cloned();
            if let Some(code) = state.codes.get_mut(id) {
                code.used = true;
            }
            before
        };
        let Some(code) = found else { return error(400, "invalid_grant") };
        if code.used && self.keeps("code once") {
            if self.keeps("replay kills") {
                self.kill(&code.family);
            }
            return error(400, "invalid_grant");
        }
        let challenge = base64url(&sha256(get(form, "code_verifier").as_bytes()));
        let bound = [
            ("code's client", code.client == client),
            ("code's redirect", code.redirect_uri == get(form, "redirect_uri")),
            ("verifier", code.challenge == challenge),
        ];
        if bound.iter().any(|(rule, held)| !held && self.keeps(rule)) {
            return error(400, "invalid_grant");
        }
        self.granted(client, &code.scope, &code.family, 300)
    }

    fn refresh(&self, form: &Form, client: &str) -> Reply {
        let id = get(form, "refresh_token");
        if id.is_empty() {
            return error(400, "invalid_request");
        }
        let found = {
            let mut state = self.state.lock().unwrap();
            let before = state.tokens.get(id).filter(|token| token.refresh).cloned();
            let own = before.as_ref().is_some_and(|token| token.client == client || !self.keeps("refresh's client"));
            let narrower = before.as_ref().is_some_and(|token| subset(get(form, "scope"), &token.scope));
            if let Some(token) = state.tokens.get_mut(id).filter(|_| own && (narrower || !self.keeps("narrower"))) {
                token.dead = true;
            }
            before.map(|token| (token, own, narrower))
        };
        let Some((token, own, narrower)) = found else { return error(400, "invalid_grant") };
        if !own {
            return error(400, "invalid_grant");
        }
        if token.dead && self.keeps("rotation") {
            self.kill(&token.family);
            return error(400, "invalid_grant");
        }
        if !narrower && self.keeps("narrower") {
            return error(400, "invalid_scope");
        }
        self.granted(client, &token.scope, &token.family, 300)
    }

    fn introspect(&self, form: &Form) -> Reply {
        if self.client(form).is_none() && self.keeps("closed introspection") {
            return error(401, "invalid_client").with("cache-control", "no-store");
        }
        if get(form, "token").is_empty() || repeated(form) {
            return error(400, "invalid_request").with("cache-control", "no-store");
        }
        let state = self.state.lock().unwrap();
        let live = state.tokens.get(get(form, "token")).filter(|token| !token.dead);
        let body = match live {
            Some(token) => json!({ "active": true, "scope": token.scope, "client_id": token.client, "patient": "p1" }),
            None if self.keeps("only inactive") => json!({ "active": false }),
            None => json!({ "active": false, "error": "no such token" }),
        };
        json_reply(200, &body).with("cache-control", "no-store")
    }

    fn revoke(&self, form: &Form) -> Reply {
        let Some(client) = self.client(form) else {
            return error(401, "invalid_client").with("cache-control", "no-store");
        };
        if get(form, "token").is_empty() {
            return error(400, "invalid_request").with("cache-control", "no-store");
        }
        let token = self.state.lock().unwrap().tokens.get(get(form, "token")).cloned();
        if let Some(token) = token.filter(|token| token.client == client && self.keeps("revocation")) {
            let mut state = self.state.lock().unwrap();
            state.tokens.get_mut(get(form, "token")).unwrap().dead = true;
            drop(state);
            if !token.family.is_empty() {
                self.kill(&token.family);
            }
        }
        json_reply(200, &json!({})).with("cache-control", "no-store")
    }

    fn fhir(&self, path: &str, query: &Form, authorization: &str) -> Reply {
        let bearer = authorization.strip_prefix("Bearer ").unwrap_or_default();
        let bearer =
            if bearer.is_empty() && !self.keeps("not in the query") { get(query, "access_token") } else { bearer };
        let live = self.state.lock().unwrap().tokens.get(bearer).filter(|token| !token.dead && !token.refresh).cloned();
        if live.is_none() {
            let challenge = if bearer.is_empty() { "Bearer" } else { "Bearer error=\"invalid_token\"" };
            let reply = error(401, "invalid_token");
            return if self.keeps("challenge") { reply.with("www-authenticate", challenge) } else { reply };
        }
        let patient = |id: &str| json_reply(200, &json!({ "resourceType": "Patient", "id": id }));
        match path {
            "/fhir/Patient/p1" => patient("p1"),
            "/fhir/Patient/p2" if !self.keeps("one patient") => patient("p2"),
            "/fhir/Patient" => json_reply(200, &json!({ "resourceType": "Bundle", "type": "searchset" })),
            path if path.starts_with("/fhir/Patient/") => {
                json_reply(404, &json!({ "resourceType": "OperationOutcome" }))
            }
            _ if !self.keeps("scope") => json_reply(200, &json!({ "resourceType": "Bundle", "type": "searchset" })),
            _ => error(403, "insufficient_scope").with("www-authenticate", "Bearer error=\"insufficient_scope\""),
        }
    }
}

fn subset(asked: &str, granted: &str) -> bool {
    asked.split_whitespace().all(|scope| granted.split_whitespace().any(|have| have == scope))
}
