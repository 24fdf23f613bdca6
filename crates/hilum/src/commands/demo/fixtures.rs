//! What `hilum conformance` must know of this demonstration: clients of every kind, two people, two patients.

use std::path::{Path, PathBuf};

use server::clock::random_text;

use super::apps::{App, keyed};
use crate::cli::Failure;
use crate::commands::token::make_key;

/// Why a client has a secret, as its registration says it.
const REASON: &str = "Shows that a secret works as well";
/// The web origin of the public client.
const ORIGIN: &str = "https://app.example";

/// The one that the EHR launches too.
pub const LAUNCHED: &str = "conf-asy";
/// Where it is launched; nothing listens there.
const LAUNCH_URL: &str = "http://127.0.0.1:9/launch";

/// The second file: the same with a client that must prove possession, and one that must push its requests.
pub fn bound_file(file: &Path) -> PathBuf {
    file.with_extension("bound.toml")
}

/// Writes both files, keys and secrets into `folder`, and returns the manifest that registers the clients. `launch_page` is the
/// EHR's.
pub fn write(file: &Path, folder: &Path, launch_page: &str, expires: &str) -> Result<String, Failure> {
    let secret = random_text().map_err(|why| Failure::failed(why.to_string()))?;
    crate::commands::init::private_file(&folder.join("conf-sym.secret"), &secret)
        .map_err(|why| Failure::failed(format!("the secret of a client: {why}")))?;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes());
    let digest = server::hex::hex(digest.as_ref());
    let by_secret = format!(
        "{{ method = {{ client_secret_basic = {{ sha256 = \"{digest}\", until = {}, reason = \"{REASON}\" }} }} }}",
        super::hospital::approved_until()
    );
    let at = |path: &str| format!("redirect_uris = [\"http://127.0.0.1:9/{path}\"]\n");
    let public = || "{ method = \"none\" }".to_owned();
    let app = |id, class, auth, more, task| {
        let launch: &[&str] = if id == LAUNCHED { &["standalone", "ehr"] } else { &["standalone"] };
        App { id, name: id, class, auth, more, task, launch }.manifest(expires)
    };
    let (own, chart) = ("my-health@1", "chart-review@1");
    let web = format!("{}origins = [\"{ORIGIN}\"]\n", at("cb"));
    let mut out = app("conf-pub", "patient-app", public(), web.clone(), own);
    out.push_str(&app("conf-other", "patient-app", public(), at("other"), own));
    out.push_str(&app("conf-dpop", "patient-app", public(), format!("{web}demands = [\"dpop\"]\n"), own));
    out.push_str(&app("conf-sym", "clinician-app", by_secret, at("sym"), chart));
    let launched = format!("{}launch_urls = [\"{LAUNCH_URL}\"]\n", at("asy"));
    out.push_str(&app(LAUNCHED, "clinician-app", keyed(folder, LAUNCHED)?, launched, chart));
    let pushes = format!("{}demands = [\"par\"]\n", at("asy"));
    out.push_str(&app("conf-par", "clinician-app", keyed(folder, "conf-par")?, pushes, chart));
    out.push_str(&unattended(folder, expires)?);
    let text = |bound: bool| fixture(folder, launch_page, bound);
    for (path, bound) in [(file.to_owned(), false), (bound_file(file), true)] {
        std::fs::write(&path, text(bound))
            .map_err(|why| Failure::failed(format!("cannot write `{}`: {why}", path.display())))?;
    }
    Ok(out)
}

/// The clients without a person: an agent, its launcher, and one that may ask about every token.
fn unattended(folder: &Path, expires: &str) -> Result<String, Failure> {
    let mut out = String::new();
    let common = format!(
        "environment = \"test\"\nvendor = \"Example\"\nexpires_at = \"{expires}\"\nrevocation_contact = \"security@example.example\"\n\
         owners = {{ business = \"bea@mercy.example\", technical = \"theo@mercy.example\" }}\n\
         purpose = \"Is tried by the conformance suite\"\ndata_classes = [\"demographics\"]\n"
    );
    let clients = [
        ("conf-be", "class = \"clinical-ai\"\nexpected = [\"Patient\", \"Appointment\"]\n"),
        (
            "conf-introspector",
            "class = \"clinical-ai\"\nexpected = [\"Patient\", \"Appointment\"]\nintrospects = \"any\"\n",
        ),
        ("conf-launcher", "class = \"launcher\"\nexpected = []\nlaunches = [\"conf-be\", \"conf-introspector\"]\n"),
    ];
    for (id, more) in clients {
        let jwks = make_key(&folder.join(format!("{id}.pem")))?.to_string();
        let jwks = serde_json::Value::from(jwks);
        out.push_str(&format!(
            "\n[[integration]]\nid = \"{id}\"\nname = \"{id}\"\n{more}{common}auth = {{ keys = {{ jwks = {jwks} }} }}\n"
        ));
        if id != "conf-launcher" {
            out.push_str(
                "\n[[integration.request]]\ntask = \"scheduling@1\"\njustification = \"For the conformance suite\"\n\
                 terms = { launch = [{ mode = \"ticket\" }], token_seconds = 900, budgets = { patients_per_hour = 100 } }\n",
            );
        }
    }
    Ok(out)
}

/// The file. `bound`: the public client proves possession, and the one with a key pushes.
fn fixture(folder: &Path, launch_page: &str, bound: bool) -> String {
    let key = |id: &str| folder.join(format!("{id}.pem")).display().to_string();
    let (public, asy) = if bound { ("conf-dpop", "conf-par") } else { ("conf-pub", "conf-asy") };
    let launched = format!("launch_url = \"{LAUNCH_URL}\"\n");
    let (dpop, par) = if bound { ("dpop = true\n", "par = true\n") } else { ("", &*launched) };
    format!(
        r#"[clients.pub]
id = "{public}"
redirect_uri = "http://127.0.0.1:9/cb"
scope = "offline_access"
origin = "{ORIGIN}"
{dpop}
[clients.sym]
id = "conf-sym"
redirect_uri = "http://127.0.0.1:9/sym"
scope = "online_access"
secret_file = "{secret}"

[clients.asy]
id = "{asy}"
redirect_uri = "http://127.0.0.1:9/asy"
scope = "online_access"
key = "{asy_key}"
{par}
[clients.be]
id = "conf-be"
key = "{be}"
task = "scheduling"
b2b = {{ version = "1", organization_id = "https://mercy.example", purpose_of_use = ["urn:oid:2.16.840.1.113883.5.8#HOPERAT"] }}

[clients.launcher]
id = "conf-launcher"
key = "{launcher}"

[clients.other]
id = "conf-other"
redirect_uri = "http://127.0.0.1:9/other"
scope = "offline_access"

[clients.introspector]
id = "conf-introspector"
key = "{introspector}"
task = "scheduling"

[ehr]
launch = "{launch_page}"
fields = {{ client_id = "conf-asy", practitioner = "prac-01", patient = "pat-001" }}

[people.alice]
fields = {{ username = "alice", password = "alice" }}

[people.bob]
fields = {{ username = "bob", password = "bob" }}

[patients]
p1 = "pat-001"
p2 = "pat-002"
"#,
        secret = folder.join("conf-sym.secret").display(),
        asy_key = key(asy),
        be = key("conf-be"),
        launcher = key("conf-launcher"),
        introspector = key("conf-introspector"),
    )
}
