//! Everything the tour needs, started in a temporary folder: EHR, gate, its people, agents, apps and a launcher.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use serde_json::{Value, json};
use server::app::Running;
use server::broker::Signer;
use server::clock::{Clock, random};

use super::apps;
use super::fixtures;
use super::http::{Exchange, Http, Send};
use crate::cli::Failure;
use crate::commands::client::segment;
use crate::commands::token::{Caller, make_key};

/// The one tenant of the demonstration.
pub const TENANT: &str = "mercy";
/// The scheduling agent.
pub const SCHEDULER: &str = "scheduling-agent";
/// The intake agent.
pub const INTAKE: &str = "intake-agent";
/// The agent whose role is de-identified only.
pub const ANALYTICS: &str = "analytics-lite";
/// What starts them: it knows which patient is on the phone.
pub const LAUNCHER: &str = "front-desk";
/// Asks.
pub const OPERATOR: &str = "dana@mercy.example";
/// Approves; never the one who asked.
pub const OFFICER: &str = "omar@mercy.example";
/// Single-use credential of the first people: as long as `hilum init` gives it.
const CREDENTIAL_MILLIS: i64 = 24 * 3600 * 1000;
/// Approvals and registrations of the demonstration end after this.
const APPROVED_MILLIS: i64 = 30 * 24 * 3600 * 1000;

/// Which ports to listen on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ports {
    /// 8443 and 8444, or free ones when those are taken.
    Usual,
    /// Free ones.
    Free,
}

/// A running demonstration.
pub struct Hospital {
    /// The demonstration EHR.
    pub ehr: demo_ehr::Running,
    /// Admin base, `http://127.0.0.1:8444`.
    pub admin: String,
    /// Issuer of the tenant, `http://127.0.0.1:8443/mercy`.
    pub issuer: String,
    /// The client that performs the tour.
    pub http: Http,
    /// Sessions of the operator and the privacy officer.
    pub operator: String,
    /// See `operator`.
    pub officer: String,
    /// How many patients the EHR was made with.
    pub patients: usize,
    /// Where it all lies.
    pub folder: Folder,
    caller: Caller,
    gate: Running,
}

impl Hospital {
    /// Starts it all and has it approved.
    ///
    /// With `fixtures`, the clients of the conformance suite are among it, and what it must know of them is written there.
    pub async fn start(seed: u64, patients: u32, ports: Ports, fixtures: Option<&Path>) -> Result<Self, Failure> {
        let clock = Clock::system();
        let folder = Folder::make()?;
        let patients = usize::try_from(patients).unwrap_or(demo_ehr::PATIENTS_MIN);
        let (public, admin) = (port(ports, 8443)?, port(ports, 8444)?);
        let launch_key = folder.path.join("ehr-launch.pem");
        let launched = fixtures.map(|_| fixtures::LAUNCHED);
        let issuer = format!("http://127.0.0.1:{public}/{TENANT}");
        let own = apps::at_the_ehr(make_key(&launch_key)?, &issuer, launched.as_slice());
        let ehr = demo_ehr::DemoEhr::new(seed, patients, clock.now()).smart_client(own);
        let ehr = ehr.start(loopback(0)).await.map_err(|why| Failure::failed(format!("demonstration EHR: {why}")))?;
        apps::appointments(&ehr, clock.now());
        let config = folder.path.join("hilum.toml");
        write(&config, &config_text(public, admin, &ehr.base_url))?;
        let key: [u8; 32] = random().map_err(|why| Failure::failed(why.to_string()))?;
        crate::commands::init::private_file(&folder.path.join("root.key"), &server::hex::hex(&key))
            .map_err(|why| Failure::failed(format!("root key: {why}")))?;
        let text = std::fs::read_to_string(&config).map_err(|why| Failure::failed(why.to_string()))?;
        // The environment is not searched: nothing of it is used here.
        let mut config = crate::config::parse(&text, &folder.path, std::iter::empty())
            .map_err(|mistakes| Failure::failed(format!("demonstration configuration: {mistakes:?}")))?;
        let root = crate::commands::serve::root_key(&config.root_key)?;
        for tenant in &mut config.settings.tenants {
            tenant.people = apps::people();
            tenant.ehr = Some(apps::launches(&ehr.base_url, &launch_key));
        }
        prove_filters(&config).await?;
        let gate = server::app::start(config.settings, &root, clock.clone())
            .await
            .map_err(|why| Failure::failed(why.to_string()))?;
        let issuer = format!("http://{}/{TENANT}", gate.public);
        let mut hospital = Self {
            admin: format!("http://{}", gate.admin),
            caller: Caller::new(&issuer)?,
            issuer,
            http: Http::new(),
            operator: String::new(),
            officer: String::new(),
            ehr,
            patients,
            folder,
            gate,
        };
        hospital.people(clock.now()).await?;
        hospital.register(clock.now(), fixtures).await?;
        hospital.ehr.requests.clear();
        Ok(hospital)
    }

    /// The ledger's public key: all that its verification needs.
    pub fn ledger_key(&self) -> Result<ledger::VerifyingKey, Failure> {
        use ledger::Signer as _;
        let signer = self.gate.parts.keys.ledger_signer().map_err(|why| Failure::failed(why.to_string()))?;
        Ok(signer.verifying_key())
    }

    /// Verifies the ledger folder from outside, with nothing but its public key.
    pub async fn verify(&self) -> Result<Value, Failure> {
        let failed = |why: String| Failure::failed(why);
        let key = self.ledger_key()?;
        let dir = self.ledger();
        let verified = tokio::task::spawn_blocking(move || server::audit::verify(&dir, &key, &[])).await;
        let report = verified.map_err(|why| failed(why.to_string()))?.map_err(|why| failed(why.to_string()))?;
        serde_json::to_value(&report).map_err(|why| failed(why.to_string()))
    }

    /// Closes the ledger and removes the folder.
    pub async fn stop(self) {
        self.gate.stop().await;
    }

    /// FHIR base as clients see it.
    pub fn fhir(&self) -> String {
        format!("{}/fhir", self.issuer)
    }

    /// The ledger's folder.
    pub fn ledger(&self) -> PathBuf {
        self.folder.path.join("data/ledger")
    }

    /// `/api/v1` as one of the two people.
    pub async fn api(&self, method: Method, path: &str, person: &str, body: Send<'_>) -> Result<Exchange, Failure> {
        self.http.send(method, &format!("{}/api/v1{path}", self.admin), Some(person), body).await
    }

    /// A signed assertion of an integration, with the key the demonstration gave it.
    pub fn assertion(&self, client: &str) -> Result<String, Failure> {
        let signer = Signer::read(&self.folder.path.join(format!("{client}.pem")))
            .map_err(|why| Failure::failed(why.to_string()))?;
        self.caller.assertion(client, &signer)
    }

    /// Two people, made with a single-use credential as `hilum init` gives one, and signed in.
    async fn people(&mut self, now: i64) -> Result<(), Failure> {
        let secret = || {
            random::<24>().map(|bytes| URL_SAFE_NO_PAD.encode(bytes)).map_err(|why| Failure::failed(why.to_string()))
        };
        let (credential, passphrases) = (secret()?, [secret()?, secret()?]);
        self.gate
            .parts
            .store
            .insert_init_credential(&server::registry::credential_hash(&credential), now, now + CREDENTIAL_MILLIS)
            .await
            .map_err(|why| Failure::failed(why.to_string()))?;
        let [first, second] = &passphrases;
        let person = |id: &str, name: &str, passphrase: &str, role: &str| json!({"id": id, "name": name, "passphrase": passphrase, "roles": [{"tenant": TENANT, "role": role}]});
        let people = [
            person(OPERATOR, "Dana (demo operator)", first, "operator"),
            person(OFFICER, "Omar (demo privacy officer)", second, "privacy-officer"),
        ];
        let body = json!({"credential": credential, "people": people});
        done(&self.http.send(Method::POST, &format!("{}/api/v1/init", self.admin), None, Send::Json(&body)).await?)?;
        let mut tokens = Vec::new();
        for (person, passphrase) in [(OPERATOR, first), (OFFICER, second)] {
            let body = json!({"person": person, "passphrase": passphrase});
            let answer =
                self.http.send(Method::POST, &format!("{}/api/v1/login", self.admin), None, Send::Json(&body)).await?;
            done(&answer)?;
            tokens.push(answer.text("/token").to_owned());
        }
        if let [operator, officer] = tokens.as_slice() {
            (self.operator, self.officer) = (operator.clone(), officer.clone());
        }
        Ok(())
    }

    /// Keys and manifest; the operator applies, the privacy officer approves what it asked for.
    async fn register(&self, now: i64, fixtures: Option<&Path>) -> Result<(), Failure> {
        let mut keys = Vec::new();
        for client in [SCHEDULER, INTAKE, ANALYTICS, LAUNCHER] {
            keys.push(make_key(&self.folder.path.join(format!("{client}.pem")))?.to_string());
        }
        let expires = crate::commands::demo::show::timestamp(now + APPROVED_MILLIS);
        let path = format!("/apply?tenant={TENANT}&dry_run=false");
        done(&self.api(Method::POST, &path, &self.operator, Send::Yaml(ROLES)).await?)?;
        let mut all = manifest(&keys, &expires);
        all.push_str(&apps::manifest(&self.folder.path, &expires)?);
        if let Some(file) = fixtures {
            let page = self.ehr.launch_page().unwrap_or_default();
            all.push_str(&fixtures::write(file, &self.folder.path, &page, &expires)?);
        }
        done(&self.api(Method::POST, &path, &self.operator, Send::Toml(&all)).await?)?;
        let base = format!("/tenants/{TENANT}/approvals");
        let asked = self.api(Method::GET, &format!("{base}?status=requested"), &self.officer, Send::Nothing).await?;
        done(&asked)?;
        let asked = asked.body.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        for approval in asked.iter().filter_map(|approval| approval.get("id")?.as_str()) {
            let path = format!("{base}/{}/approve", segment(approval));
            done(&self.api(Method::POST, &path, &self.officer, Send::Json(&json!({"until": expires}))).await?)?;
        }
        Ok(())
    }
}

/// Proves with two patients what the EHR filters by, as `hilum check` does.
async fn prove_filters(config: &crate::config::Config) -> Result<(), Failure> {
    let id = |text: &str| text.parse::<fhir::Id>().map_err(|why| Failure::failed(why.to_string()));
    let tenant = TENANT.parse().map_err(|_| Failure::failed("the demonstration's tenant has no valid id"))?;
    let (first, second) = (id("pat-001")?, id("pat-002")?);
    server::app::check(&config.settings, &tenant, &first, &second, server::app::Extent::default())
        .await
        .map(drop)
        .map_err(|why| Failure::failed(why.to_string()))
}

/// When what is approved now ends, in milliseconds.
pub fn approved_until() -> i64 {
    Clock::system().now() + APPROVED_MILLIS
}

/// Anything but success ends the demonstration with the answer's own words.
fn done(exchange: &Exchange) -> Result<(), Failure> {
    if (200..300).contains(&exchange.status) {
        return Ok(());
    }
    let says = String::from_utf8_lossy(&exchange.bytes).into_owned();
    Err(Failure::failed(format!("{} {}: {} {says}", exchange.method, exchange.url, exchange.status)))
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A port that was free a moment ago: the public URL stands in the configuration before the gate listens.
fn port(ports: Ports, usual: u16) -> Result<u16, Failure> {
    let usual = if ports == Ports::Usual { usual } else { 0 };
    let listener = TcpListener::bind(loopback(usual)).or_else(|_| TcpListener::bind(loopback(0)));
    let address = listener.and_then(|listener| listener.local_addr());
    address.map(|address| address.port()).map_err(|why| Failure::failed(format!("no free port: {why}")))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|why| Failure::failed(format!("cannot write `{}`: {why}", path.display())))
}

fn config_text(public: u16, admin: u16, upstream: &str) -> String {
    format!(
        r#"[server]
listen = "127.0.0.1:{public}"
public_url = "http://127.0.0.1:{public}"
[admin]
listen = "127.0.0.1:{admin}"
[store]
url = "sqlite:data/hilum.db"
[ledger]
dir = "data/ledger"
[vault]
root = "file:root.key"
[outbound]
allow_private = ["127.0.0.1"]
[[tenant]]
id = "{TENANT}"
name = "Mercy Demonstration Hospital"
[tenant.upstream]
fhir = "{upstream}"
auth = {{ kind = "none" }}
"#
    )
}

/// What the third agent may not do: be told whose record it reads.
const ROLES: &str = r#"ai_service_roles:
  chart_reader:
    permissions:
      - "data:read"
    phi_access: "de-identified-only"
    session_timeout: "10m"
    data_export: false
    environment: "test"
"#;

/// Two task profiles, three agents, one launcher.
fn manifest(keys: &[String], expires: &str) -> String {
    let mut out = String::from(
        // `scheduling@1` comes with every tenant; intake gets a version of its own that sees vital signs only.
        r#"[[task]]
name = "intake"
version = 2
purpose = "Prepares one patient's visit: problems, allergies, medicines, vital signs"
purpose_of_use = "TREAT"
scopes = "patient/Patient.rs patient/Condition.rs patient/AllergyIntolerance.rs patient/MedicationRequest.rs patient/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|vital-signs"
"#,
    );
    const EXPECTED: &str = r#"["Patient", "Condition", "AllergyIntolerance", "MedicationRequest", "Observation"]"#;
    let agents = [
        (SCHEDULER, "Scheduling agent", "scheduling", 1, r#"["Patient", "Appointment"]"#, ""),
        (INTAKE, "Intake agent", "intake", 2, EXPECTED, ""),
        (ANALYTICS, "Chart analytics", "intake", 2, EXPECTED, "role = \"chart_reader\"\n"),
    ];
    let common = format!(
        "environment = \"test\"\nvendor = \"Example AI\"\nexpires_at = \"{expires}\"\nrevocation_contact = \"security@example-ai.example\"\n\
         owners = {{ business = \"bea@mercy.example\", technical = \"theo@mercy.example\" }}\n"
    );
    for ((id, name, task, version, expected, role), jwks) in agents.into_iter().zip(keys) {
        out.push_str(&format!(
            "\n[[integration]]\nid = \"{id}\"\nname = \"{name}\"\nclass = \"clinical-ai\"\npurpose = \"Runs the task {task} for one patient at a time\"\n\
             data_classes = [\"demographics\", \"{task}\"]\nexpected = {expected}\n{role}{common}auth = {{ keys = {{ jwks = {jwks} }} }}\n\
             \n[[integration.request]]\ntask = \"{task}@{version}\"\njustification = \"Shown in the demonstration\"\n\
             terms = {{ launch = [{{ mode = \"ticket\" }}], token_seconds = 900, budgets = {{ patients_per_hour = 100 }} }}\n",
            jwks = Value::from(jwks.as_str()),
        ));
    }
    if let Some(jwks) = keys.last() {
        out.push_str(&format!(
            "\n[[integration]]\nid = \"{LAUNCHER}\"\nname = \"Front desk\"\nclass = \"launcher\"\npurpose = \"Starts an agent for the patient on the phone\"\n\
             data_classes = [\"demographics\"]\nexpected = []\nlaunches = [\"{SCHEDULER}\", \"{INTAKE}\", \"{ANALYTICS}\"]\n{common}auth = {{ keys = {{ jwks = {jwks} }} }}\n",
            jwks = Value::from(jwks.as_str()),
        ));
    }
    out
}

/// A folder of its own that goes when the demonstration ends.
pub struct Folder {
    /// Where it is.
    pub path: PathBuf,
}

impl Folder {
    fn make() -> Result<Self, Failure> {
        let name: [u8; 6] = random().map_err(|why| Failure::failed(why.to_string()))?;
        let path = std::env::temp_dir().join(format!("hilum-demo-{}", server::hex::hex(&name)));
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::DirBuilderExt as _;
            builder.mode(0o700);
        }
        let made = builder.create(&path).and_then(|()| std::fs::create_dir(path.join("data")));
        made.map_err(|why| Failure::failed(format!("cannot make `{}`: {why}", path.display())))?;
        Ok(Self { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed lies in the system's temporary folder and is the system's to remove.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
