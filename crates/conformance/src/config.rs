//! The configuration file: who and what the suite may use. Everything in it is optional; rows that miss something say so.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// PEM file of trust anchors beside the platform's.
    pub ca: Option<PathBuf>,
    /// Whether rows run that wait for a code or a ticket to expire, up to six minutes each.
    pub slow: bool,
    /// How the server's pages name what a person fills in.
    pub forms: Forms,
    /// Registered clients.
    pub clients: Clients,
    /// People who can sign in.
    pub people: People,
    /// The EHR that launches apps there.
    pub ehr: Option<Ehr>,
    /// Patients in the records behind the FHIR base.
    pub patients: Patients,
    /// Scopes that a row asks for beside those of a client.
    pub scopes: Scopes,
}

/// Names on the server's pages; the defaults are those of Hilum's.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Forms {
    /// A form with one of these fields is a login.
    pub login: Vec<String>,
    /// The radio or button of the patient picker; its values are patient ids.
    pub patient: String,
    /// The check boxes of the consent page.
    pub grant: String,
    /// The button that allows: `name=value`, or the words on it.
    pub allow: Vec<String>,
    /// The button that denies.
    pub deny: Vec<String>,
    /// The hidden field against forged requests.
    pub csrf: String,
}

impl Default for Forms {
    fn default() -> Self {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            login: words(&["username", "password"]),
            patient: "patient".into(),
            grant: "grant".into(),
            allow: words(&["decision=allow", "Allow", "Approve", "Authorize"]),
            deny: words(&["decision=deny", "Deny", "Cancel"]),
            csrf: "csrf".into(),
        }
    }
}

/// The clients of the catalogue.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Clients {
    /// PUB: public, PKCE only.
    #[serde(rename = "pub")]
    pub public: Option<Client>,
    /// SYM: `client_secret_basic`.
    pub sym: Option<Client>,
    /// ASY: `private_key_jwt`, keys registered by value.
    pub asy: Option<Client>,
    /// ASYU: `private_key_jwt`, keys behind a URL that this suite serves.
    pub asyu: Option<Client>,
    /// BE: backend services (`client_credentials`).
    pub be: Option<Client>,
    /// LAUNCHER: mints launch handles.
    pub launcher: Option<Client>,
    /// OTHER: a second client of the kind of the first that is there.
    pub other: Option<Client>,
    /// INTROSPECTOR: may ask about anybody's tokens.
    pub introspector: Option<Client>,
}

/// One registered client.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Client {
    /// `client_id`.
    pub id: String,
    /// Its redirect URI; nothing needs to listen there, the suite never follows it.
    pub redirect_uri: String,
    /// What it asks for when a row does not say.
    pub scope: String,
    /// File that holds its secret.
    pub secret_file: Option<PathBuf>,
    /// PKCS#8 PEM file of its private key.
    pub key: Option<PathBuf>,
    /// `kid` the key is registered under; without it its RFC 7638 thumbprint.
    pub kid: Option<String>,
    /// `alg` it is registered for; without it ES384, ES256 or RS384, by the key.
    pub alg: Option<String>,
    /// ASYU: port on 127.0.0.1 where its key set is served at `/jwks.json`; `key` may be left out.
    pub jwks_port: Option<u16>,
    /// `aud` of its assertions.
    pub audience: Audience,
    /// It must push its authorization requests (RFC 9126).
    pub par: bool,
    /// It must prove possession (RFC 9449).
    pub dpop: bool,
    /// PEM file of its certificate (RFC 8705).
    pub certificate: Option<PathBuf>,
    /// PEM file of the key of that certificate.
    pub certificate_key: Option<PathBuf>,
    /// Its registered web origin, for CORS.
    pub origin: Option<String>,
    /// Its launch URL at the EHR of `[ehr]`; nothing needs to listen there.
    pub launch_url: Option<String>,
    /// The task a launch handle for it names.
    pub task: Option<String>,
    /// It is registered to send `hl7-b2b` with its assertions: the object to send.
    pub b2b: Option<toml::Table>,
}

/// An EHR that launches one of the clients.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ehr {
    /// Where a form by POST starts the launch of the client that has a `launch_url`.
    pub launch: String,
    /// The fields of that form: who launches for P1.
    pub fields: std::collections::BTreeMap<String, String>,
}

/// What stands in `aud` of an assertion (D-01).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// The token endpoint, as SMART says.
    #[default]
    TokenEndpoint,
    /// The issuer, as rfc7523bis says.
    Issuer,
}

/// The people of the catalogue.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct People {
    /// A patient or their proxy, who may see P1 only.
    pub alice: Option<Person>,
    /// A clinician, who may see P1 and P2.
    pub bob: Option<Person>,
}

/// One person.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Person {
    /// What they fill in, by field name: user name, password.
    pub fields: BTreeMap<String, String>,
}

impl std::fmt::Debug for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Person([sealed])")
    }
}

/// Ids of patients, bare.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Patients {
    /// P1: Alice's, and Bob's.
    pub p1: Option<String>,
    /// P2: Bob's alone.
    pub p2: Option<String>,
}

/// Scopes that rows use.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scopes {
    /// What every patient-level row stands on.
    pub base: String,
    /// A whole type.
    pub wide: String,
    /// A part of that type.
    pub granular: String,
    /// Another part of that type.
    pub granular_other: String,
    /// The whole type, as SMART 1 spells it.
    pub v1: String,
    /// A word that is in the label or value of a consent box that can be un-ticked.
    pub untick: String,
}

impl Default for Scopes {
    fn default() -> Self {
        let category = "http://terminology.hl7.org/CodeSystem/observation-category";
        Self {
            base: "launch/patient patient/Patient.rs".into(),
            wide: "patient/Observation.rs".into(),
            granular: format!("patient/Observation.rs?category={category}|laboratory"),
            granular_other: format!("patient/Observation.rs?category={category}|vital-signs"),
            v1: "patient/Observation.read".into(),
            untick: "laboratory".into(),
        }
    }
}

/// Reads a file's text; `folder` is what its relative paths are relative to.
///
/// # Errors
/// Every mistake, in words: an unknown key is one.
pub fn parse(text: &str, folder: &Path) -> Result<Config, String> {
    let mut config: Config = toml::from_str(text).map_err(|why| why.to_string())?;
    let absolute = |path: &mut Option<PathBuf>| {
        if let Some(path) = path {
            *path = folder.join(&*path);
        }
    };
    absolute(&mut config.ca);
    let mut mistakes = Vec::new();
    for (name, client) in config.clients.all_mut() {
        let Some(client) = client else { continue };
        for path in [&mut client.secret_file, &mut client.key, &mut client.certificate, &mut client.certificate_key] {
            absolute(path);
        }
        if client.id.is_empty() {
            mistakes.push(format!("`clients.{name}.id` is missing"));
        }
        if client.certificate.is_some() != client.certificate_key.is_some() {
            mistakes.push(format!("`clients.{name}`: `certificate` and `certificate_key` go together"));
        }
        if client.secret_file.is_some() && (client.key.is_some() || client.jwks_port.is_some()) {
            mistakes.push(format!("`clients.{name}` has both a secret and a key"));
        }
        let proved = client.secret_file.is_some() || client.key.is_some() || client.jwks_port.is_some();
        if matches!(name, "sym") && client.secret_file.is_none() {
            mistakes.push(format!("`clients.{name}.secret_file` is missing"));
        }
        if matches!(name, "asy" | "be" | "launcher") && client.key.is_none() {
            mistakes.push(format!("`clients.{name}.key` is missing"));
        }
        if name == "asyu" && client.jwks_port.is_none() {
            mistakes.push("`clients.asyu.jwks_port` is missing".into());
        }
        if name == "pub" && proved {
            mistakes.push("`clients.pub` is public: it has neither secret nor key".into());
        }
    }
    if mistakes.is_empty() { Ok(config) } else { Err(mistakes.join("\n")) }
}

impl Clients {
    fn all_mut(&mut self) -> [(&'static str, &mut Option<Client>); 8] {
        [
            ("pub", &mut self.public),
            ("sym", &mut self.sym),
            ("asy", &mut self.asy),
            ("asyu", &mut self.asyu),
            ("be", &mut self.be),
            ("launcher", &mut self.launcher),
            ("other", &mut self.other),
            ("introspector", &mut self.introspector),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_a_configuration() {
        let config = parse("", Path::new("/x")).unwrap();
        assert_eq!(config.forms.patient, "patient");
        assert!(config.clients.public.is_none() && !config.slow);
    }

    #[test]
    fn unknown_keys_and_every_mistake_are_told() {
        for text in ["colour = 1", "[clients.pub]\nname = \"x\"", "[clients.eve]", "[people.carol]", "[forms]\nx = 1"] {
            assert!(parse(text, Path::new("/x")).unwrap_err().contains("unknown field"), "{text}");
        }
        let wrong = "[clients.sym]\n[clients.asy]\nid = \"a\"\n[clients.asyu]\nid = \"u\"\ncertificate = \"c\"";
        let says = parse(wrong, Path::new("/x")).unwrap_err();
        assert_eq!(says.lines().count(), 5, "{says}");
    }

    #[test]
    fn paths_are_relative_to_the_file_and_people_are_not_shown() {
        let config = parse(
            "[clients.be]\nid = \"b\"\nkey = \"be.pem\"\n[people.alice]\nfields = { password = \"p\" }",
            Path::new("/x"),
        );
        let config = config.unwrap();
        assert_eq!(config.clients.be.as_ref().unwrap().key.as_deref(), Some(Path::new("/x/be.pem")));
        assert_eq!(format!("{:?}", config.people.alice), "Some(Person([sealed]))");
    }
}
