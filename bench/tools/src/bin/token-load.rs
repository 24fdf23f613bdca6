//! Load for the token endpoint: signs assertions beforehand, mints one launch ticket per exchange, redeems them all, and then
//! asks about each token (RFC 7662).
//! Also measures what the cryptography alone costs on this core. Prints one JSON object.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One request to send, once.
struct Shot {
    path: String,
    kind: &'static str,
    body: String,
}

#[derive(Default)]
struct Phase {
    seconds: f64,
    micros: Vec<u64>,
    cpu_ticks: u64,
    failures: HashMap<String, usize>,
    values: Vec<String>,
}

fn main() -> Result<(), Failure> {
    let options: HashMap<String, String> = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())))
        .collect();
    let get = |name: &str| options.get(name).cloned().ok_or_else(|| format!("`{name}=` is missing"));
    if options.contains_key("raw") {
        println!("{}", raw()?);
        return Ok(());
    }
    let count: usize = get("count")?.parse()?;
    let connections: usize = get("connections")?.parse()?;
    let authority = get("authority")?;
    let tenant = get("tenant")?;
    let pid: Option<u32> = options.get("pid").map(|pid| pid.parse()).transpose()?;
    let issuer = format!("{}/{tenant}", get("public")?);
    let audience = format!("{issuer}/oauth/token");
    let agent = Client::read(&get("agent")?, &get("agent_key")?, &get("agent_kid")?)?;
    let launcher = Client::read(&get("launcher")?, &get("launcher_key")?, &get("launcher_kid")?)?;
    let (task, patient, scope) = (get("task")?, get("patient")?, get("scope")?);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let launch_audience = options.get("launch_audience").cloned().unwrap_or_else(|| audience.clone());
    let started = Instant::now();
    let mints = (0..count)
        .map(|_| {
            Ok(Shot {
                path: format!("/{tenant}/oauth/launch"),
                kind: "application/json",
                body: json!({
                    "client_id": agent.id, "task": task, "patient": patient,
                    "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                    "client_assertion": launcher.assertion(&launch_audience)?,
                })
                .to_string(),
            })
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    let signing = started.elapsed().as_secs_f64() / count as f64;
    let minted = runtime.block_on(fire(mints, connections, &authority, "launch", pid))?;
    let redeems = minted
        .values
        .iter()
        .map(|launch| {
            Ok(Shot {
                path: format!("/{tenant}/oauth/token"),
                kind: "application/x-www-form-urlencoded",
                body: format!(
                    "grant_type=client_credentials&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion={}&scope={}&launch={launch}",
                    agent.assertion(&audience)?,
                    scope.replace('/', "%2F").replace(' ', "+"),
                ),
            })
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    let redeemed = runtime.block_on(fire(redeems, connections, &authority, "access_token", pid))?;
    let questions = redeemed
        .values
        .iter()
        .map(|token| {
            Ok(Shot {
                path: format!("/{tenant}/oauth/introspect"),
                kind: "application/x-www-form-urlencoded",
                body: format!(
                    "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion={}&token={token}",
                    agent.assertion(&audience)?,
                ),
            })
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    // An answer that the token is not active has no scope.
    let answered = runtime.block_on(fire(questions, connections, &authority, "scope", pid))?;
    let report = json!({
        "sign_micros": signing * 1e6, "mint": minted.report(), "token": redeemed.report(), "introspect": answered.report(),
    });
    println!("{report}");
    Ok(())
}

struct Client {
    id: String,
    kid: String,
    key: EcdsaKeyPair,
    random: SystemRandom,
}

impl Client {
    /// A P-384 key in PKCS#8 PEM.
    fn read(id: &str, path: &str, kid: &str) -> Result<Self, Failure> {
        let pem = std::fs::read_to_string(path)?;
        let inner: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = base64::engine::general_purpose::STANDARD.decode(inner)?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &der)?;
        Ok(Self { id: id.to_owned(), kid: kid.to_owned(), key, random: SystemRandom::new() })
    }

    fn assertion(&self, audience: &str) -> Result<String, Failure> {
        let mut jti = [0_u8; 18];
        aws_lc_rs::rand::fill(&mut jti)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let header = json!({ "alg": "ES384", "typ": "JWT", "kid": self.kid });
        let claims = json!({
            "iss": self.id, "sub": self.id, "aud": audience, "iat": now, "exp": now + 290,
            "jti": URL_SAFE_NO_PAD.encode(jti),
        });
        let text =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = self.key.sign(&self.random, text.as_bytes())?;
        Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref())))
    }
}

/// Sends every shot once over `connections` kept-alive connections, and keeps member `wanted` of each answer.
async fn fire(
    shots: Vec<Shot>,
    connections: usize,
    authority: &str,
    wanted: &'static str,
    pid: Option<u32>,
) -> Result<Phase, Failure> {
    let shots = Arc::new(shots);
    let next = Arc::new(AtomicUsize::new(0));
    let before = cpu(pid);
    let started = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let (shots, next, authority) = (shots.clone(), next.clone(), authority.to_owned());
        tasks.push(tokio::spawn(async move {
            let mut phase = Phase::default();
            let stream = tokio::net::TcpStream::connect(&authority).await?;
            stream.set_nodelay(true)?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            while let Some(shot) = shots.get(next.fetch_add(1, Ordering::Relaxed)) {
                let request = http::Request::post(&shot.path)
                    .header(http::header::HOST, &authority)
                    .header(http::header::CONTENT_TYPE, shot.kind)
                    .body(Full::new(Bytes::from(shot.body.clone())))?;
                let sent = Instant::now();
                sender.ready().await?;
                let answer = sender.send_request(request).await?;
                let status = answer.status();
                let body = answer.into_body().collect().await?.to_bytes();
                phase.micros.push(sent.elapsed().as_micros() as u64);
                let value: Value = serde_json::from_slice(&body).unwrap_or_default();
                match value.get(wanted).and_then(Value::as_str) {
                    Some(text) if status.is_success() => phase.values.push(text.to_owned()),
                    _ => {
                        let text = String::from_utf8_lossy(&body).chars().take(160).collect::<String>();
                        *phase.failures.entry(format!("{status} {text}")).or_default() += 1;
                    }
                }
            }
            Ok::<_, Failure>(phase)
        }));
    }
    let mut all = Phase::default();
    for task in tasks {
        let one = tokio::time::timeout(Duration::from_secs(300), task).await???;
        all.micros.extend(one.micros);
        all.values.extend(one.values);
        for (why, many) in one.failures {
            *all.failures.entry(why).or_default() += many;
        }
    }
    all.seconds = started.elapsed().as_secs_f64();
    all.cpu_ticks = cpu(pid).saturating_sub(before);
    all.micros.sort_unstable();
    Ok(all)
}

impl Phase {
    fn report(&self) -> Value {
        let at = |share: f64| {
            self.micros.get(((self.micros.len() as f64 * share) as usize).min(self.micros.len().saturating_sub(1)))
        };
        let many = self.micros.len().max(1) as f64;
        json!({
            "requests": self.micros.len(), "per_second": self.micros.len() as f64 / self.seconds,
            "p50_micros": at(0.5), "p99_micros": at(0.99), "cpu_micros": self.cpu_ticks as f64 * 10_000.0 / many,
            "failures": self.failures,
        })
    }
}

/// User and system time of the process under test, in ticks of 10 ms.
fn cpu(pid: Option<u32>) -> u64 {
    let Some(pid) = pid else { return 0 };
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    after.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// ES384 verify and ES256 sign of this library on this core, microseconds each.
fn raw() -> Result<Value, Failure> {
    let random = SystemRandom::new();
    let p384 = aws_lc_rs::signature::EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING)?;
    let p256 = aws_lc_rs::signature::EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
    let text = [7_u8; 400];
    let signature = p384.sign(&random, &text)?;
    let public = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, p384.public_key().as_ref().to_vec());
    let verify = timed(|| public.verify(&text, signature.as_ref()).is_ok())?;
    let sign = timed(|| p256.sign(&random, &text).is_ok())?;
    Ok(json!({ "es384_verify_micros": verify, "es256_sign_micros": sign, "per_second": 1e6 / (verify + sign) }))
}

fn timed(mut work: impl FnMut() -> bool) -> Result<f64, Failure> {
    let started = Instant::now();
    let mut rounds = 0_u32;
    while started.elapsed() < Duration::from_secs(1) {
        if !work() {
            return Err("the cryptography failed".into());
        }
        rounds += 1;
    }
    Ok(started.elapsed().as_secs_f64() * 1e6 / f64::from(rounds))
}
