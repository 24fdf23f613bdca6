//! `hilum init DIR`: a configuration, a root key, an empty store, and one single-use credential to start from.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use domain::TenantId;
use server::clock::{Clock, random, random_text};
use store::Store;

use crate::cli::{Exit, Failure};
use crate::output::{self, Format};

/// The credential works this long, once, and may only create people (DESIGN, "State").
const CREDENTIAL_MILLIS: i64 = 24 * 3600 * 1000;

/// What `hilum init` was told.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:  hilum init gate --tenant mercy --name \"Mercy Health\" --upstream http://127.0.0.1:8080/fhir"
)]
pub struct Init {
    /// Folder to make; must be empty or absent
    pub dir: std::path::PathBuf,
    /// Id of the first tenant
    #[arg(long, default_value = "main", value_name = "ID")]
    pub tenant: String,
    /// Its name
    #[arg(long, default_value = "Main")]
    pub name: String,
    /// FHIR base URL of its EHR
    #[arg(long, default_value = "http://127.0.0.1:8080/fhir", value_name = "URL")]
    pub upstream: String,
    /// Address of the FHIR and OAuth listener (loopback until TLS is configured)
    #[arg(long, default_value = "127.0.0.1:8443", value_name = "ADDRESS")]
    pub listen: std::net::SocketAddr,
    /// Address of the admin listener
    #[arg(long, default_value = "127.0.0.1:8444", value_name = "ADDRESS")]
    pub admin_listen: std::net::SocketAddr,
}

/// Makes the folder; what cannot be used leaves nothing behind.
pub async fn run(init: Init, format: Format) -> Result<Exit, Failure> {
    let dir = &init.dir;
    init.tenant.parse::<TenantId>().map_err(|why| Failure::usage(format!("`--tenant {}`: {why}", init.tenant)))?;
    if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::failed(format!("`{}` is not empty; choose a new folder", dir.display())));
    }
    let was_there = dir.is_dir();
    let credential = match make(&init).await {
        Ok(credential) => credential,
        Err(failure) => {
            // It was empty or absent a moment ago, so all that is in it is ours.
            let _ = fs::remove_dir_all(dir);
            if was_there {
                let _ = fs::create_dir(dir);
            }
            return Err(failure);
        }
    };
    told(&init, &credential, format);
    Ok(Exit::Done)
}

async fn make(init: &Init) -> Result<String, Failure> {
    let failed =
        |what: &Path, why: std::io::Error| Failure::failed(format!("cannot write `{}`: {why}", what.display()));
    let data = init.dir.join("data");
    private_folder(&init.dir).map_err(|why| failed(&init.dir, why))?;
    private_folder(&data).map_err(|why| failed(&data, why))?;
    let key: [u8; 32] = random().map_err(|why| Failure::failed(why.to_string()))?;
    let key_path = init.dir.join("root.key");
    private_file(&key_path, &server::hex::hex(&key)).map_err(|why| failed(&key_path, why))?;
    let config_path = init.dir.join("hilum.toml");
    let text = config_text(init);
    fs::write(&config_path, &text).map_err(|why| failed(&config_path, why))?;
    // Read as `serve` will: an upstream or name that does not fit shows now, not later. Here it came from the command line.
    let config = crate::config::parse(&text, &init.dir, std::iter::empty()).map_err(|mistakes| {
        let says: Vec<String> = mistakes.into_iter().map(|mistake| mistake.what).collect();
        Failure::usage(says.join("\n"))
    })?;
    let store = Store::open(&config.settings.store_url).await.map_err(|why| Failure::failed(why.to_string()))?;
    let credential = random_text().map_err(|why| Failure::failed(why.to_string()))?;
    let now = Clock::system().now();
    store
        .insert_init_credential(&server::registry::credential_hash(&credential), now, now + CREDENTIAL_MILLIS)
        .await
        .map_err(|why| Failure::failed(why.to_string()))?;
    store.close().await;
    Ok(credential)
}

fn told(init: &Init, credential: &str, format: Format) {
    let shown = init.dir.display();
    if format == Format::Json {
        let config = init.dir.join("hilum.toml");
        output::line(&serde_json::json!({ "config": config, "credential": credential }).to_string());
        return;
    }
    output::note(&format!("made {shown}: hilum.toml, root.key (keep a copy of it apart from backups of data/), data/"));
    output::note("this credential works once, for 24 hours, and only to create people:");
    output::line(credential);
    let admin = match init.admin_listen.port() {
        8444 => String::new(),
        _ => format!("\n  export HILUM_ADMIN=http://{}", init.admin_listen),
    };
    output::note(&format!(
        "next:\n  hilum serve --config {shown}/hilum.toml{admin}\n  hilum person first dana@example.org=operator omar@example.org=privacy-officer   (asks for the credential)"
    ));
}

/// A folder that others cannot look into.
fn private_folder(path: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(path)
}

pub fn private_file(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)?.write_all(text.as_bytes())
}

/// A TOML text in quotes.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn config_text(init: &Init) -> String {
    let host = init.upstream.split_once("://").map_or("", |(_, rest)| rest.split(['/', ':']).next().unwrap_or(""));
    let private = if crate::config::loopback(host) { quoted(host) } else { String::new() };
    format!(
        r#"# Hilum's configuration. Unknown keys are errors; secrets are references (file:PATH), never values.

[server]
listen = "{listen}"                  # anything but loopback needs tls
public_url = "http://{listen}"       # as clients see it; https://… once tls is set
# tls = {{ certificate = "file:/etc/hilum/tls.pem", key = "file:/etc/hilum/tls.key" }}

[admin]
listen = "{admin}"
# public_url = "https://gate-admin.mercy.example"   # where browsers find it; passkeys are bound to this name [default: localhost]

[store]
url = "sqlite:data/hilum.db"

[ledger]
dir = "data/ledger"

[vault]
root = "file:root.key"               # wraps every other key; must not lie in data/

[outbound]
allow_private = [{private}]          # hosts that may resolve to private addresses

[[tenant]]
id = "{tenant}"
name = {name}

[tenant.upstream]
fhir = {upstream}
auth = {{ kind = "none" }}
# auth = {{ kind = "bearer", token = "file:/run/secrets/ehr-token" }}
# auth = {{ kind = "smart-backend", client_id = "hilum", key = "file:/run/secrets/ehr-key.pem", token_url = "https://…/token", scope = "system/Patient.rs system/Observation.rs" }}
# consent = "none"                   # the EHR keeps no Consents; by default the patient's are read there and obeyed

# Where the people of this tenant sign in, and what that says of them (docs/sign-in.md):
# [tenant.identity]
# kind = "oidc"
# issuer = "https://login.example/realms/hospital"
# client_id = "hilum"
# key = "file:/run/secrets/idp-key.pem"          # P-384 or RSA; or secret = "file:…"
# amr = ["otp", "hwk"]                           # one of these must have been used; acr = […] for levels
# claims = {{ fhir_user = "fhirUser", roles = [{{ claim = "groups", value = "hilum-operators", role = "operator" }}] }}
# [tenant.people]
# patients = "Patient?general-practitioner={{fhirUser}}"   # whom a clinician may pick; without it nobody
# idle_minutes = 15
# sign_in_max_hours = 8
# session_max_minutes = 60
# [tenant.ehr]                                   # the EHR launches apps through Hilum
# fhir = "https://ehr.example/fhir"
# client_id = "hilum"
# key = "file:/run/secrets/ehr-launch-key.pem"
# scope = "launch openid fhirUser online_access patient/*.rs"
"#,
        listen = init.listen,
        admin = init.admin_listen,
        tenant = init.tenant,
        name = quoted(&init.name),
        upstream = quoted(&init.upstream),
    )
}
