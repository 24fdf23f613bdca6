//! `hilum integration requests` and `hilum integration adopt`: what asks to be registered (RFC 7591), and the manifest that accepts it.

use std::fmt::Write as _;

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::{Client, items, segment};
use crate::cli::Failure;
use crate::output::{self, Cell, Column, Format};

/// `hilum integration requests …`
#[derive(Debug, Subcommand)]
pub enum Requests {
    /// List them, newest first (the default)
    List,
    /// Show one, with everything it says of itself
    Show {
        /// Its id (client_id)
        id: String,
    },
    /// Refuse one
    Reject {
        /// Its id
        id: String,
        /// Why, for the record
        #[arg(long)]
        reason: String,
    },
}

const COLUMNS: [Column; 5] = [
    ("ID", Cell::At("/id")),
    ("STATUS", Cell::At("/status")),
    ("ASKED (UTC)", Cell::Time("/created_at")),
    ("METHOD", Cell::At("/metadata/token_endpoint_auth_method")),
    ("CALLS ITSELF", Cell::At("/name")),
];

fn base(tenant: &str) -> String {
    format!("/tenants/{}/registrations", segment(tenant))
}

/// Runs one verb; listing is the default.
pub async fn run(client: &Client, tenant: &str, command: Option<Requests>, format: Format) -> Result<(), Failure> {
    let base = base(tenant);
    match command.unwrap_or(Requests::List) {
        Requests::List => output::rows(format, &COLUMNS, &items(&client.get(&base).await?)),
        Requests::Show { id } => output::object(format, &client.get(&format!("{base}/{}", segment(&id))).await?),
        Requests::Reject { id, reason } => {
            let path = format!("{base}/{}/reject", segment(&id));
            let answer = client.post(&path, &json!({ "reason": reason })).await?;
            match format {
                Format::Json => output::object(format, &answer),
                Format::Table => output::line(&format!("`{id}` is rejected")),
            }
        }
    }
    Ok(())
}

/// Those that wait, for the list of integrations: they have the status `requested`, and nothing works by them.
pub async fn waiting(client: &Client, tenant: &str) -> Result<Vec<Value>, Failure> {
    let all = items(&client.get(&base(tenant)).await?);
    let waits = |row: &Value| row.get("status").and_then(Value::as_str) == Some("requested");
    let mut out: Vec<Value> = all.into_iter().filter(waits).collect();
    for row in &mut out {
        let name = row.get("name").cloned().unwrap_or_default();
        if let Some(members) = row.as_object_mut() {
            members.insert("purpose".to_owned(), name);
        }
    }
    Ok(out)
}

/// Prints the manifest that would register what a request asks for, but for what only people can say.
pub async fn adopt(client: &Client, tenant: &str, id: &str) -> Result<(), Failure> {
    let request = client.get(&format!("{}/{}", base(tenant), segment(id))).await?;
    if request.get("status").and_then(Value::as_str) != Some("requested") {
        return Err(Failure::failed(format!("`{id}` was decided before")));
    }
    output::line(manifest(&request).trim_end());
    output::note(
        "complete it, then: hilum apply -f FILE; the request is closed when an integration with its id is registered",
    );
    Ok(())
}

/// All of it is its sender's word, so that it is written as quoted text alone.
fn manifest(request: &Value) -> String {
    let metadata = request.get("metadata").cloned().unwrap_or_default();
    let said = |name: &str| metadata.get(name).filter(|value| !value.is_null()).map(quoted);
    let id = request.get("id").map(quoted).unwrap_or_default();
    let name = request.get("name").map(quoted).unwrap_or_default();
    let public = metadata.get("token_endpoint_auth_method").and_then(Value::as_str) == Some("none");
    let mut out = String::from("# Asked for by its sender, and checked by nobody yet. Complete what is empty.\n");
    for name in
        ["scope", "grant_types", "contacts", "client_uri", "tos_uri", "policy_uri", "software_id", "software_version"]
    {
        if let Some(value) = said(name) {
            let _ = writeln!(out, "# {name}: {value}");
        }
    }
    let class = if public { "\"patient-app\"" } else { "\"\"" };
    let contact = metadata.pointer("/contacts/0").map_or_else(|| "\"\"".to_owned(), quoted);
    let _ = write!(
        out,
        "\n[[integration]]\nid = {id}\nname = {name}\nclass = {class}             # clinical-ai, clinician-app, analytics, patient-app\n\
         environment = \"\"       # production, test\nvendor = \"\"\npurpose = \"\"\ndata_classes = []\nexpected = []\n\
         expires_at = \"\"\nrevocation_contact = {contact}\nowners = {{ business = \"\", technical = \"\" }}\n"
    );
    if let Some(uris) = said("redirect_uris") {
        let _ = writeln!(out, "redirect_uris = {uris}");
    }
    let _ = writeln!(out, "auth = {{ {} }}", auth(&metadata).join(", "));
    out
}

fn auth(metadata: &Value) -> Vec<String> {
    let said = |name: &str| metadata.get(name).filter(|value| !value.is_null());
    let mut out = Vec::new();
    match said("token_endpoint_auth_method").and_then(Value::as_str) {
        Some("tls_client_auth") => {
            for name in ["subject_dn", "san_dns", "san_uri"] {
                if let Some(value) = said(&format!("tls_client_auth_{name}")) {
                    out.push(format!("method = {{ tls_client_auth = {{ {name} = {} }} }}", quoted(value)));
                }
            }
        }
        Some("private_key_jwt") | None => {}
        Some(method) => out.push(format!("method = {}", quoted(&method.into()))),
    }
    if let Some(url) = said("jwks_uri") {
        out.push(format!("keys = {{ jwks_url = {} }}", quoted(url)));
    } else if let Some(set) = said("jwks") {
        out.push(format!("keys = {{ jwks = {} }}", quoted(&set.to_string().into())));
    }
    out
}

/// A text, or a list of texts, as TOML has it: JSON's escapes are TOML's too, but for DEL, which no text may hold as it is.
fn quoted(value: &Value) -> String {
    value.to_string().replace('\u{7f}', "\\u007f")
}

#[test]
fn dc_01_the_manifest_of_a_request_is_toml_whatever_its_sender_wrote() {
    let request = json!({
        "id": "asked-0", "name": "a\"\n[[integration]]\nid = \"x\u{7f}", "status": "requested",
        "metadata": {
            "client_name": "a", "redirect_uris": ["https://app.example/\"back"], "token_endpoint_auth_method": "private_key_jwt",
            "jwks": {"keys": [{"kty": "EC", "kid": "k'\"1"}]}, "scope": "patient/Patient.rs\nowners = 1", "contacts": ["dev\\"],
        },
    });
    let text = manifest(&request);
    let read: toml::Table = text.parse().unwrap_or_else(|why| panic!("{why}\n{text}"));
    let all = read["integration"].as_array().unwrap();
    assert_eq!(all.len(), 1, "{text}");
    let one = &all[0];
    assert_eq!(one["name"].as_str(), request["name"].as_str());
    assert_eq!(one["redirect_uris"][0].as_str(), Some("https://app.example/\"back"));
    let keys: Value = serde_json::from_str(one["auth"]["keys"]["jwks"].as_str().unwrap()).unwrap();
    assert_eq!(keys, request["metadata"]["jwks"]);
    for (method, expected) in [("none", "\"none\""), ("self_signed_tls_client_auth", "\"self_signed_tls_client_auth\"")]
    {
        let metadata = json!({"token_endpoint_auth_method": method});
        assert_eq!(auth(&metadata), [format!("method = {expected}")]);
    }
    let metadata = json!({"token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_san_dns": "a.example"});
    assert_eq!(auth(&metadata), ["method = { tls_client_auth = { san_dns = \"a.example\" } }"]);
}
