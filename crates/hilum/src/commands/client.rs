//! The CLI's way to the public API: the same `/api/v1` that everybody else has.

use std::fs;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use server::outbound::{Limits, Outbound};
use server::settings::OutboundSettings;

use crate::cli::{Cli, Failure};

/// An answer of the API is at most a page of rows.
const LIMITS: Limits = Limits { timeout: Duration::from_secs(60), body_bytes_max: 64 * 1024 * 1024 };
/// Longest passphrase, credential or manifest read from standard input.
const INPUT_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// One gate's API, as one signed-in person or nobody.
pub struct Client {
    outbound: Outbound,
    base: String,
    login: PathBuf,
    tenant: Option<String>,
}

impl Client {
    /// A client for what the command line names.
    pub fn new(cli: &Cli) -> Result<Self, Failure> {
        let base = cli.admin.trim_end_matches('/').to_owned();
        let wrong = || Failure::usage(format!("`{base}` must be a URL such as http://127.0.0.1:8444"));
        let uri: http::Uri = base.parse().map_err(|_| wrong())?;
        let host = uri.host().filter(|_| uri.scheme().is_some()).ok_or_else(wrong)?;
        let settings =
            OutboundSettings { allow_private: [host.trim_matches(['[', ']']).to_ascii_lowercase()].into(), ca: None };
        server::listen::install_crypto();
        let outbound = Outbound::new(&settings).map_err(|why| Failure::failed(why.to_string()))?;
        let login = match &cli.login {
            Some(path) => path.clone(),
            None => default_login()?,
        };
        Ok(Self { outbound, base, login, tenant: cli.tenant.clone() })
    }

    /// The tenant to work in: the one named, or the only one there is.
    pub async fn tenant(&self) -> Result<String, Failure> {
        if let Some(tenant) = &self.tenant {
            return Ok(tenant.clone());
        }
        let tenants = self.get("/tenants").await?;
        let tenants = items(&tenants);
        let ids: Vec<&str> = tenants.iter().filter_map(|tenant| tenant.get("id")?.as_str()).collect();
        match ids.as_slice() {
            [only] => Ok((*only).to_owned()),
            [] => Err(Failure::failed("you have a role in no tenant; ask an operator")),
            several => Err(Failure::usage(format!("say which tenant: --tenant {}", several.join(" | ")))),
        }
    }

    /// The tenant the command line names, if any.
    pub fn named_tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// `GET /api/v1{path}`.
    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.call(Method::GET, path, None).await
    }

    /// `POST /api/v1{path}` with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.call(Method::POST, path, Some(("application/json", body.to_string()))).await
    }

    /// `POST /api/v1{path}` with a manifest of this media type.
    pub async fn post_text(&self, path: &str, media: &str, body: String) -> Result<Value, Failure> {
        self.call(Method::POST, path, Some((media, body))).await
    }

    /// One call; a refusal becomes its problem document's words (RFC 9457).
    pub async fn call(&self, method: Method, path: &str, body: Option<(&str, String)>) -> Result<Value, Failure> {
        self.call_as(method, path, body, self.token().as_deref()).await
    }

    /// One call with another credential, or none.
    pub async fn call_as(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, String)>,
        bearer: Option<&str>,
    ) -> Result<Value, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}/api/v1{path}", self.base))
            .header(ACCEPT, "application/json");
        if let Some(bearer) = bearer {
            request = request.header(AUTHORIZATION, format!("Bearer {bearer}"));
        }
        let mut text = String::new();
        if let Some((kind, body)) = body {
            request = request.header(CONTENT_TYPE, kind);
            text = body;
        }
        let request =
            request.body(Full::new(Bytes::from(text))).map_err(|why| Failure::usage(format!("`{path}`: {why}")))?;
        let received = self.outbound.call(request, LIMITS).await.map_err(|why| {
            Failure::failed(format!("{}: {why}; is `hilum serve` running, and is --admin right?", self.base))
        })?;
        let value: Value = if received.body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&received.body).map_err(|_| {
                Failure::failed(format!("{} did not answer like a Hilum gate ({})", self.base, received.status))
            })?
        };
        if received.status.is_success() {
            return Ok(value);
        }
        if value.get("title").is_none() {
            let says = format!("{} did not answer like a gate's admin listener", self.base);
            return Err(Failure::failed(format!("{says} ({}); is --admin right?", received.status)));
        }
        Err(problem(received.status, &value, bearer.is_some(), path))
    }

    fn token(&self) -> Option<String> {
        let text = fs::read_to_string(&self.login).ok()?;
        let file: Value = serde_json::from_str(&text).ok()?;
        file.get(&self.base)?.as_str().map(str::to_owned)
    }

    /// Keeps the signed-in session in a file only this user can read; `None` forgets it.
    pub fn remember(&self, token: Option<&str>) -> Result<(), Failure> {
        let failed = |why: std::io::Error| Failure::failed(format!("cannot write `{}`: {why}", self.login.display()));
        let mut file: serde_json::Map<String, Value> =
            fs::read_to_string(&self.login).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        match token {
            Some(token) => file.insert(self.base.clone(), token.into()),
            None => file.remove(&self.base),
        };
        if let Some(folder) = self.login.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        let mut out = options.open(&self.login).map_err(failed)?;
        out.write_all(Value::Object(file).to_string().as_bytes()).map_err(failed)
    }
}

fn default_login() -> Result<PathBuf, Failure> {
    let home = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")))
        .ok_or_else(|| Failure::usage("HOME is not set; say --login FILE"))?;
    Ok(home.join("hilum").join("login"))
}

fn problem(status: StatusCode, value: &Value, signed_in: bool, path: &str) -> Failure {
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let mut says =
        [text("title"), text("detail")].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
    if says.is_empty() {
        says = format!("refused with status {status}");
    }
    for mistake in value.get("mistakes").or_else(|| value.get("errors")).and_then(Value::as_array).into_iter().flatten()
    {
        let line =
            mistake.get("line").and_then(Value::as_u64).map_or_else(String::new, |line| format!("line {line}: "));
        let what = mistake.get("what").and_then(Value::as_str).or_else(|| mistake.as_str()).unwrap_or("");
        says.push_str(&format!("\n  {line}{what}"));
    }
    // Signing in is no way out of a wrong passphrase or a credential that is used up.
    match path {
        _ if status != StatusCode::UNAUTHORIZED => {}
        "/login" | "/init" | "/login/token" => {}
        _ if signed_in => says.push_str("\nsign in again with `hilum login PERSON`"),
        _ => says = "not signed in: sign in with `hilum login PERSON`".into(),
    }
    Failure { reason: text("reason"), ..Failure::failed(says) }
}

/// The rows of a listing: an array, or an object that holds one under `items` or `records`.
pub fn items(value: &Value) -> Vec<Value> {
    let member = |name: &str| value.get(name).and_then(Value::as_array);
    value.as_array().or_else(|| member("items")).or_else(|| member("records")).cloned().unwrap_or_default()
}

/// One path segment, percent-encoded.
pub fn segment(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A secret from standard input: one line; asked for by name when a person sits there.
pub fn secret(name: &str) -> Result<String, Failure> {
    if std::io::stdin().is_terminal() {
        return rpassword::prompt_password(format!("{name}: "))
            .map_err(|why| Failure::failed(format!("cannot read the {name}: {why}")));
    }
    let mut text = String::new();
    let mut byte = [0_u8; 1];
    let mut stdin = std::io::stdin().lock();
    // Byte by byte: a second secret may follow on the next line.
    loop {
        match stdin.read(&mut byte) {
            Ok(0) => break,
            Ok(_) if byte == [b'\n'] => break,
            Ok(_) if text.len() as u64 >= INPUT_BYTES_MAX => {
                return Err(Failure::usage(format!("the {name} is too long")));
            }
            Ok(_) => text.push(char::from(byte[0])),
            Err(why) => return Err(Failure::failed(format!("cannot read the {name}: {why}"))),
        }
    }
    let text = text.trim_end_matches('\r').to_owned();
    if text.is_empty() { Err(Failure::usage(format!("no {name} on standard input"))) } else { Ok(text) }
}
