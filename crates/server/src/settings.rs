//! What the parts of the server are told at start: validated configuration, one struct per part. The binary reads the file.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use domain::TenantId;
use fhir::ResourceType;

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
