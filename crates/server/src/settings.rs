//! What the parts of the server are told at start: validated configuration, one struct per part. The binary reads the file.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use domain::TenantId;
use fhir::ResourceType;
use oauth::discovery::Offers;

/// One listener.
#[derive(Clone, Debug)]
pub struct ListenSettings {
    /// Where to listen; without TLS this is a loopback address.
    pub listen: SocketAddr,
    /// Certificate chain and key files (PEM); reloaded when they change.
    pub tls: Option<TlsFiles>,
}

/// PEM files of one TLS identity.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Certificate chain, leaf first.
    pub certificate: PathBuf,
    /// Private key (PKCS#8, SEC1 or PKCS#1).
    pub key: PathBuf,
}

/// Rules for connections that Hilum opens.
#[derive(Clone, Debug, Default)]
pub struct OutboundSettings {
    /// Hosts that may resolve to private or loopback addresses.
    pub allow_private: BTreeSet<String>,
    /// Extra trust anchors (PEM file), for an upstream with a private CA.
    pub ca: Option<PathBuf>,
}

/// How Hilum authenticates to an upstream. Secrets are files, never values (S0-01).
#[derive(Clone, Debug)]
pub enum UpstreamAuth {
    /// The upstream asks for nothing.
    None,
    /// A bearer token in a file, read again when it changes.
    Bearer {
        /// The file.
        token: PathBuf,
    },
    /// SMART Backend Services (S0-10).
    SmartBackend {
        /// Our client id at the EHR.
        client_id: String,
        /// Private key file (PEM, PKCS#8: P-384 gives ES384, RSA gives RS384).
        key: PathBuf,
        /// The EHR's token endpoint.
        token_url: String,
        /// The scope to ask for.
        scope: String,
    },
}

/// The FHIR server behind one tenant.
#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    /// FHIR base, without trailing slash.
    pub fhir: String,
    /// How to authenticate to it.
    pub auth: UpstreamAuth,
    /// Types outside the compartment that may be read (p4); each must be shareable.
    pub shared: BTreeSet<ResourceType>,
    /// Longest wait for a whole answer.
    pub timeout: Duration,
    /// Largest answer body accepted, in bytes.
    pub body_bytes_max: usize,
    /// Where patients' Consents are.
    pub consent: ConsentSource,
}

/// Where what a patient has consented to is read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ConsentSource {
    /// The upstream's own Consent resources, read before the first data of a session and once a minute.
    #[default]
    Upstream,
    /// Nowhere: the hospital keeps consent by other means.
    None,
}

/// How an identity provider's claims say who somebody is. Names of claims; a dot leads into an object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimSettings {
    /// The person's FHIR resource, e.g. `fhirUser`: `Practitioner/ID` or an absolute URL below the upstream.
    pub fhir_user: Option<String>,
    /// For class `patient-app`: the bare id of the one Patient this person is.
    pub patient: Option<String>,
    /// Roles in the administration: claim, the value it must hold, and the role that gives.
    pub roles: Vec<(String, String, domain::Role)>,
}

/// The hospital's identity provider (OpenID Connect).
#[derive(Clone, Debug)]
pub struct OidcSettings {
    /// Its issuer; discovery, keys and endpoints are read from there.
    pub issuer: String,
    /// Our client id there.
    pub client_id: String,
    /// How we authenticate there.
    pub auth: OidcAuth,
    /// Scopes asked beside `openid`.
    pub scopes: Vec<String>,
    /// What its claims mean.
    pub claims: ClaimSettings,
    /// Values of `acr` of which one must be in the ID token; empty asks for none.
    pub acr: Vec<String>,
    /// Values of `amr` of which one must be in the ID token; empty asks for none.
    pub amr: Vec<String>,
}

/// The `aud` of our assertions at an identity provider. Some that are older than rfc7523bis know their token endpoint alone.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ProviderAudience {
    /// Its issuer: no other server can have made us say it (D-01).
    #[default]
    Issuer,
    /// Its token endpoint (OpenID Connect Core §9).
    TokenEndpoint,
}

/// How Hilum authenticates to an identity provider.
#[derive(Clone, Debug)]
pub enum OidcAuth {
    /// By assertions signed with a private key (`private_key_jwt`).
    Key {
        /// PEM file, PKCS#8: P-384 gives ES384, RSA gives RS384.
        file: PathBuf,
        /// What our assertions name as `aud`.
        audience: ProviderAudience,
    },
    /// By a secret in a file (`client_secret_basic`).
    Secret(PathBuf),
}

/// An account of the demonstration. Nothing in a configuration file makes one.
#[derive(Clone)]
pub struct LocalAccount {
    /// What is typed.
    pub username: String,
    /// The same.
    pub password: String,
    /// For people.
    pub name: String,
    /// `Practitioner/ID` or `Patient/ID`.
    pub fhir_user: String,
}

impl std::fmt::Debug for LocalAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LocalAccount({}, [sealed])", self.username)
    }
}

/// Where people sign in.
#[derive(Clone, Debug, Default)]
pub enum SignIn {
    /// Nowhere: no session starts with a person, but by the EHR's launch.
    #[default]
    Nowhere,
    /// At the hospital's identity provider.
    Oidc(Box<OidcSettings>),
    /// At accounts of the demonstration.
    Demo(Vec<LocalAccount>),
}

/// The people of one tenant: where they sign in, whose patients they reach, how long they stay.
#[derive(Clone, Debug)]
pub struct PeopleSettings {
    /// Where they sign in.
    pub sign_in: SignIn,
    /// Which patients a clinician may pick (CX-09): an upstream search whose results are Patients, or records of patients, with
    /// `{fhirUser}` bound as a typed reference, e.g. `Patient?general-practitioner={fhirUser}`. Without it, none.
    pub patients: Option<String>,
    /// A sign-in ends after this long without a sign of its person (S4-03).
    pub idle: Duration,
    /// A sign-in ends after this long in all.
    pub sign_in_max: Duration,
    /// A session with a person ends after this long in all; at most 8 hours.
    pub session_max: Duration,
}

impl Default for PeopleSettings {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        Self {
            sign_in: SignIn::Nowhere,
            patients: None,
            idle: minutes(15),
            sign_in_max: minutes(8 * 60),
            session_max: minutes(60),
        }
    }
}

/// Hilum as a confidential SMART client of the EHR, for launches from there.
#[derive(Clone, Debug)]
pub struct EhrSettings {
    /// The EHR's FHIR base, as it says it in `iss`.
    pub fhir: String,
    /// Our client id there.
    pub client_id: String,
    /// Private key file (PEM).
    pub key: PathBuf,
    /// What to ask for, e.g. `launch openid fhirUser online_access patient/*.rs`.
    pub scope: String,
}

/// One tenant.
#[derive(Clone, Debug)]
pub struct TenantSettings {
    /// Its id, first segment of every path.
    pub id: TenantId,
    /// For people.
    pub name: String,
    /// Scheme and authority as clients see them, without trailing slash.
    pub public_url: String,
    /// Its FHIR server.
    pub upstream: UpstreamSettings,
    /// Its people.
    pub people: PeopleSettings,
    /// Its EHR, where that launches apps.
    pub ehr: Option<EhrSettings>,
    /// Certificate authorities (PEM file) of clients that authenticate by `tls_client_auth`; none: such clients are not known.
    pub client_ca: Option<PathBuf>,
}

impl TenantSettings {
    /// The OAuth issuer: `{public_url}/{tenant}`.
    #[must_use]
    pub fn issuer(&self) -> String {
        format!("{}/{}", self.public_url, self.id)
    }

    /// The FHIR base as clients see it: `{public_url}/{tenant}/fhir`; the audience of access tokens.
    #[must_use]
    pub fn fhir_base(&self) -> String {
        format!("{}/{}/fhir", self.public_url, self.id)
    }

    /// Where it is described who gives tokens for the FHIR base (RFC 9728 §3.1).
    #[must_use]
    pub fn resource_metadata(&self) -> String {
        format!("{}/.well-known/oauth-protected-resource/{}/fhir", self.public_url, self.id)
    }

    /// What discovery may promise, here and in `/metadata`.
    #[must_use]
    pub fn offers(&self) -> Offers {
        let standalone = match self.people.sign_in {
            SignIn::Nowhere => false,
            SignIn::Oidc(_) | SignIn::Demo(_) => true,
        };
        Offers { standalone, ehr: self.ehr.is_some(), client_ca: self.client_ca.is_some() }
    }

    /// The token endpoint.
    #[must_use]
    pub fn token_endpoint(&self) -> String {
        format!("{}/{}/oauth/token", self.public_url, self.id)
    }
}

/// Everything the server is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// FHIR and OAuth.
    pub public: ListenSettings,
    /// `/api/v1`, `/healthz`, `/readyz`, `/metrics`.
    pub admin: ListenSettings,
    /// Where people's browsers find the admin listener (passkeys are bound to it); `None`: `http://localhost:PORT` if it is on loopback.
    pub admin_url: Option<String>,
    /// Where people of the administration sign in; `None`: at tenants' own providers whose claims give roles, and else by passkey.
    pub admin_identity: Option<OidcSettings>,
    /// `sqlite:PATH` or `postgres://…`.
    pub store_url: String,
    /// Folder of the ledger.
    pub ledger_dir: PathBuf,
    /// Folder for answers that are too large for memory; sealed under keys that are nowhere else, and gone with the request.
    pub spool_dir: PathBuf,
    /// This node's name in origins and record ids.
    pub node: String,
    /// Host part of ledger origins (from `public_url`).
    pub host: String,
    /// Rules for outgoing connections.
    pub outbound: OutboundSettings,
    /// The tenants.
    pub tenants: Vec<TenantSettings>,
}
