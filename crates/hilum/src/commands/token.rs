//! `hilum token …`: a developer's aid that does what an integration and its launcher do: keys, ticket, token.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use clap::Subcommand;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use server::broker::Signer;
use server::clock::{Clock, random};
use server::outbound::{Limits, Outbound};
use server::settings::OutboundSettings;

use super::client::segment;
use crate::cli::{Exit, Failure};
use crate::output::{self, Format};

const LIMITS: Limits = Limits { timeout: Duration::from_secs(30), body_bytes_max: 1024 * 1024 };
/// An assertion is used at once; SMART allows five minutes.
const ASSERTION_SECONDS: i64 = 60;

/// `hilum token …`
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a private key (P-384, ES384) and print its public JWK Set for registration
    #[command(after_help = "Example:  hilum token key --out scheduler.pem > scheduler.jwks.json")]
    Key {
        /// Where the private key goes (PEM, readable by you alone); must not exist
        #[arg(long)]
        out: PathBuf,
    },
    /// Make a client secret of 256 bits, and print its SHA-256 for registration; for a client that cannot hold a key, for a while
    #[command(after_help = "Example:  hilum token secret --out fax.secret        (docs/clients.md)")]
    Secret {
        /// Where the secret goes (readable by you alone); must not exist
        #[arg(long)]
        out: PathBuf,
    },
    /// Mint a launch ticket as a launcher, redeem it as the integration, print the token response
    #[command(
        after_help = "Example:\n  T=$(hilum token get --issuer http://127.0.0.1:8443/mercy --client scheduler-1 --key scheduler.pem \\\n        --launcher desk-1 --launcher-key desk.pem --task scheduling --patient 4711 --bare)\n\nFor a population (docs/bulk.md):\n  T=$(hilum token get --issuer http://127.0.0.1:8443/mercy --client cohort-1 --key cohort.pem \\\n        --scope 'system/Patient.rs system/Observation.rs' --bare)"
    )]
    Get(Get),
}

/// What `hilum token get` was told.
#[derive(Debug, clap::Args)]
pub struct Get {
    /// The tenant's issuer URL
    #[arg(long)]
    pub issuer: String,
    /// The integration (client_id)
    #[arg(long)]
    pub client: String,
    /// Its private key file
    #[arg(long)]
    pub key: PathBuf,
    /// The launcher that starts it; without one the patient is asked for by the relationship rule
    #[arg(long, requires = "launcher_key")]
    pub launcher: Option<String>,
    /// The launcher's private key file
    #[arg(long)]
    pub launcher_key: Option<PathBuf>,
    /// The task; without one the token is for the population of an analytics integration
    #[arg(long, requires = "patient", required_unless_present = "scope")]
    pub task: Option<String>,
    /// The patient's id at the upstream
    #[arg(long, requires = "task")]
    pub patient: Option<String>,
    /// Scopes to ask for [default: the task's]
    #[arg(long)]
    pub scope: Option<String>,
    /// Print the access token alone, e.g. for a shell variable
    #[arg(long)]
    pub bare: bool,
}

/// Runs one verb.
pub async fn run(command: Token, format: Format) -> Result<Exit, Failure> {
    match command {
        Token::Key { out } => output::line(&make_key(&out)?.to_string()),
        Token::Secret { out } => output::line(&make_secret(&out)?.to_string()),
        Token::Get(get) => {
            let answer = token(&get).await?;
            match answer.get("access_token").and_then(Value::as_str) {
                Some(token) if get.bare => output::line(token),
                _ => output::object(format, &answer),
            }
        }
    }
    Ok(Exit::Done)
}

/// Writes a new private key and gives its public JWK Set.
pub fn make_key(out: &Path) -> Result<Value, Failure> {
    let failed = |why: &str| Failure::failed(format!("cannot make a key: {why}"));
    let pair =
        EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).map_err(|_| failed("the random source failed"))?;
    let der = pair.to_pkcs8v1().map_err(|_| failed("encoding failed"))?;
    let body = STANDARD.encode(der.as_ref());
    let lines: Vec<&str> = body.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
    write_new(out, pem.as_bytes())?;
    let signer = Signer::read(out).map_err(|why| Failure::failed(why.to_string()))?;
    Ok(json!({ "keys": [signer.jwk()] }))
}

/// Writes a new client secret and gives its digest. Letters that mean the same in every encoding (CA-11).
fn make_secret(out: &Path) -> Result<Value, Failure> {
    let bytes: [u8; 32] = random().map_err(|_| Failure::failed("cannot make a secret: the random source failed"))?;
    let secret = URL_SAFE_NO_PAD.encode(bytes);
    write_new(out, secret.as_bytes())?;
    let digest = digest::digest(&digest::SHA256, secret.as_bytes());
    Ok(json!({ "sha256": server::hex::hex(digest.as_ref()) }))
}

/// Writes a file that is not there yet and that nobody else may read.
fn write_new(out: &Path, content: &[u8]) -> Result<(), Failure> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(out).map_err(|why| match why.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::failed(format!("`{}` exists and is not overwritten; choose another name", out.display()))
        }
        _ => Failure::failed(format!("cannot write `{}`: {why}", out.display())),
    })?;
    file.write_all(content).map_err(|why| Failure::failed(format!("cannot write `{}`: {why}", out.display())))
}

async fn token(get: &Get) -> Result<Value, Failure> {
    let caller = Caller::new(&get.issuer)?;
    let mut form = vec![("grant_type", "client_credentials".to_owned())];
    if let Some(scope) = &get.scope {
        form.push(("scope", scope.clone()));
    }
    match (&get.launcher, &get.launcher_key, get.task.as_ref().zip(get.patient.as_ref())) {
        // Whose records, the approval says.
        (None, _, None) => {}
        (Some(_), _, None) => {
            return Err(Failure::usage("a launcher names a task and a patient: --task and --patient"));
        }
        (Some(launcher), Some(key), Some((task, patient))) => {
            let ticket = caller.launch(launcher, &signer(key)?, &get.client, task, patient).await?;
            form.push(("launch", ticket));
        }
        (_, _, Some((task, patient))) => {
            let details = json!([{ "type": "fhir_task", "task": task, "patient": format!("Patient/{patient}") }]);
            form.push(("authorization_details", details.to_string()));
        }
    }
    caller.token(&get.client, &signer(&get.key)?, form).await
}

fn signer(path: &Path) -> Result<Signer, Failure> {
    Signer::read(path).map_err(|why| Failure::failed(why.to_string()))
}

/// A client of one tenant's OAuth endpoints.
pub struct Caller {
    outbound: Outbound,
    issuer: String,
}

impl Caller {
    /// A client of the tenant with this issuer.
    pub fn new(issuer: &str) -> Result<Self, Failure> {
        let uri: http::Uri = issuer.parse().map_err(|_| Failure::usage(format!("`{issuer}` is not a URL")))?;
        let host = uri.host().ok_or_else(|| Failure::usage(format!("`{issuer}` names no host")))?;
        let settings =
            OutboundSettings { allow_private: [host.trim_matches(['[', ']']).to_ascii_lowercase()].into(), ca: None };
        server::listen::install_crypto();
        let outbound = Outbound::new(&settings).map_err(|why| Failure::failed(why.to_string()))?;
        Ok(Self { outbound, issuer: issuer.trim_end_matches('/').to_owned() })
    }

    /// A `private_key_jwt` for `client` (RFC 7523).
    pub fn assertion(&self, client: &str, signer: &Signer) -> Result<String, Failure> {
        let now = Clock::system().now() / 1000;
        let jti = URL_SAFE_NO_PAD.encode(random::<16>().map_err(|why| Failure::failed(why.to_string()))?);
        let claims = json!({
            "iss": client, "sub": client, "aud": format!("{}/oauth/token", self.issuer),
            "iat": now, "exp": now + ASSERTION_SECONDS, "jti": jti
        });
        signer.sign(&claims).ok_or_else(|| Failure::failed("signing failed"))
    }

    /// Mints a launch ticket.
    pub async fn launch(
        &self,
        launcher: &str,
        signer: &Signer,
        client: &str,
        task: &str,
        patient: &str,
    ) -> Result<String, Failure> {
        let body = json!({
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": self.assertion(launcher, signer)?,
            "client_id": client, "task": task, "patient": patient
        });
        let (status, answer) = self.send("launch", "application/json", body.to_string()).await?;
        match answer.get("launch").and_then(Value::as_str) {
            Some(ticket) if status.is_success() => Ok(ticket.to_owned()),
            _ => Err(refused("no launch ticket", status, &answer)),
        }
    }

    /// Asks for a token.
    pub async fn token(&self, client: &str, signer: &Signer, mut form: Vec<(&str, String)>) -> Result<Value, Failure> {
        form.push(("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".into()));
        form.push(("client_assertion", self.assertion(client, signer)?));
        let body: Vec<String> = form.iter().map(|(name, value)| format!("{name}={}", segment(value))).collect();
        let (status, answer) = self.send("token", "application/x-www-form-urlencoded", body.join("&")).await?;
        if status.is_success() { Ok(answer) } else { Err(refused("no token", status, &answer)) }
    }

    async fn send(&self, path: &str, kind: &str, body: String) -> Result<(StatusCode, Value), Failure> {
        let request = Request::post(format!("{}/oauth/{path}", self.issuer))
            .header(CONTENT_TYPE, kind)
            .header(ACCEPT, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|why| Failure::usage(why.to_string()))?;
        let received = self
            .outbound
            .call(request, LIMITS)
            .await
            .map_err(|why| Failure::failed(format!("{}: {why}", self.issuer)))?;
        let answer = serde_json::from_slice(&received.body).unwrap_or(Value::Null);
        Ok((received.status, answer))
    }
}

fn refused(what: &str, status: StatusCode, answer: &Value) -> Failure {
    let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let says: Vec<String> =
        [text("error"), text("error_description")].into_iter().filter(|text| !text.is_empty()).collect();
    Failure::failed(format!("{what}: {status}: {}", says.join(": ")))
}
