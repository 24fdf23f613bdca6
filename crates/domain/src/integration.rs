//! A registered AI system or app: one non-human identity in one tenant (S2-01, S2-04, S3-08, S1-30, S1-33, S2-09).

use std::collections::BTreeSet;

use fhir::ResourceType;

use crate::class::Class;
use crate::id::{IntegrationId, Millis, PersonId, RoleName, TenantId};

/// Where an integration runs; a key of one environment never works in another (S2-09).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Environment {
    /// Real patients.
    Production,
    /// Anything else.
    Test,
}

impl Environment {
    /// As written in manifests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Test => "test",
        }
    }
}

/// Whether an integration may be used at all.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IntegrationStatus {
    /// Asked for by whoever runs it (RFC 7591); nothing may be done with it until people have registered it.
    Requested,
    /// In use.
    Active,
    /// Switched off for now.
    Suspended,
    /// Switched off for good.
    Ended,
}

/// Two people answer for an integration, and they are two (S3-08).
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct Owners {
    /// Answers for why it exists.
    pub business: PersonId,
    /// Answers for how it runs.
    pub technical: PersonId,
}

/// Longest life of a client secret: 180 days (S2-14).
const SECRET_MILLIS_MAX: Millis = 180 * 24 * 3_600 * 1_000;

/// Where its public keys come from; exactly one of the two where its method takes keys. Private key material is never accepted.
#[derive(Clone, Debug, Default, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Keys {
    /// A JWK Set (RFC 7517) by value, as JSON text in canonical form.
    Jwks(String),
    /// An https URL that serves a JWK Set.
    JwksUrl(String),
    /// None: for methods that prove nothing by a registered key.
    #[default]
    Absent,
}

impl Keys {
    /// Whether there are none.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        *self == Self::Absent
    }
}

/// Which attribute of a certificate names the client; exactly one (RFC 8705 §2.1.2).
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateSubject {
    /// The subject's distinguished name, as RFC 4514 writes it.
    SubjectDn(String),
    /// A `dNSName` of the subject alternative name.
    SanDns(String),
    /// A `uniformResourceIdentifier` of the subject alternative name, e.g. a SPIFFE id.
    SanUri(String),
}

/// A client secret, which is an exception with an end and a reason (S2-08, S2-14): never more than its digest is kept.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct SecretException {
    /// SHA-256 of the secret, hexadecimal. Secrets are made by Hilum with 256 random bits, so a slow hash would add nothing.
    pub sha256: String,
    /// When it stops working by the clock.
    pub until: Millis,
    /// Why the client cannot hold a key.
    pub reason: String,
}

/// How a client authenticates at the token, revocation, introspection and PAR endpoints (S1-30, S2-08).
#[derive(Clone, Debug, Default, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// An assertion signed by its own key (RFC 7523); the rule.
    #[default]
    PrivateKeyJwt,
    /// A certificate that chains to the tenant's client authorities (RFC 8705 §2.1).
    TlsClientAuth(CertificateSubject),
    /// A certificate whose key is one of its registered keys (RFC 8705 §2.2).
    SelfSignedTlsClientAuth,
    /// A secret by HTTP Basic, as a dated exception.
    ClientSecretBasic(SecretException),
    /// None: a public client, which is for class `patient-app` alone.
    None,
}

impl AuthMethod {
    /// As registered with IANA and shown in metadata.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::TlsClientAuth(_) => "tls_client_auth",
            Self::SelfSignedTlsClientAuth => "self_signed_tls_client_auth",
            Self::ClientSecretBasic(_) => "client_secret_basic",
            Self::None => "none",
        }
    }

    /// Whether this is what a registration without a word of it means.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::PrivateKeyJwt
    }

    /// Whether it proves itself by keys that are registered for it.
    #[must_use]
    pub fn takes_keys(&self) -> bool {
        matches!(self, Self::PrivateKeyJwt | Self::SelfSignedTlsClientAuth)
    }
}

/// Something a client must do on top of what everybody does.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Demand {
    /// Authorization requests come by PAR alone (RFC 9126 §6).
    Par,
    /// Tokens are bound to a DPoP key (RFC 9449).
    Dpop,
    /// Tokens are bound to a client certificate (RFC 8705 §3).
    Mtls,
}

/// Whose tokens a client may introspect (D-03).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Introspects {
    /// Its own.
    #[default]
    Own,
    /// Every client's of the tenant: a resource server.
    Any,
}

impl Introspects {
    /// Whether this is what a registration without a word of it means.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::Own
    }
}

/// What an assertion's `aud` may be (D-01); default both.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AssertionAudience {
    /// The token endpoint or the issuer.
    #[default]
    Both,
    /// The token endpoint URL only (SMART).
    TokenEndpoint,
    /// The issuer only (rfc7523bis, FAPI 2.0).
    Issuer,
}

/// How it authenticates: by `private_key_jwt` unless something else is said (S1-30).
#[derive(Clone, Debug, Default, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClientAuth {
    /// By what. Absent in what was written before there was a choice.
    #[serde(default, skip_serializing_if = "AuthMethod::is_default")]
    pub method: AuthMethod,
    /// Public keys.
    #[serde(default, skip_serializing_if = "Keys::is_absent")]
    pub keys: Keys,
    /// Assertion algorithms accepted from it: a subset of ES384, RS384, ES256, PS256; empty means all four.
    #[serde(default)]
    pub algorithms: BTreeSet<String>,
    /// Which `aud` its assertions may carry.
    #[serde(default)]
    pub audience: AssertionAudience,
}

/// A registered integration. What may change its risk is part of each approval's hash.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct Integration {
    /// `client_id`; unique over all tenants (S1-33).
    pub id: IntegrationId,
    /// The one tenant it belongs to.
    pub tenant: TenantId,
    /// For people.
    pub name: String,
    /// Its risk class.
    #[serde(default)]
    pub class: Class,
    /// Where it runs.
    pub environment: Environment,
    /// Who answers for it.
    pub owners: Owners,
    /// Who builds or runs it (vendor or own department).
    pub vendor: String,
    /// Why it exists, in a sentence.
    pub purpose: String,
    /// Classes of data it handles, e.g. `demographics`, `scheduling` (S2-04).
    pub data_classes: BTreeSet<String>,
    /// The FHIR types it is expected to touch; any other is refused and raises an alert, whatever the scope (S2-04).
    pub expected: BTreeSet<ResourceType>,
    /// When it ends by the clock.
    pub expires_at: Millis,
    /// Whom to call to have it revoked.
    pub revocation_contact: String,
    /// How it authenticates.
    pub auth: ClientAuth,
    /// For launches with a person; empty for unattended agents.
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    /// Where an EHR launch leads to: the app's own launch URL (REG-01). At most one; empty where it has no EHR launch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub launch_urls: Vec<String>,
    /// Web origins from which its pages call the token, revocation and introspection endpoints and the FHIR base (RFC 6454).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<String>,
    /// Origins that may show Hilum's pages in a frame when this client sends the person there (D-07). Empty means none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frame_ancestors: Vec<String>,
    /// What it must do on top of what everybody does.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub demands: BTreeSet<Demand>,
    /// Whose tokens it may introspect.
    #[serde(default, skip_serializing_if = "Introspects::is_default")]
    pub introspects: Introspects,
    /// For class `launcher`: the integrations it may mint tickets for. Empty means none.
    #[serde(default)]
    pub launches: BTreeSet<IntegrationId>,
    /// The role that narrows it further, at most one. Absent in what was written before there were roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleName>,
    /// In use, suspended or ended.
    #[serde(default = "active")]
    pub status: IntegrationStatus,
    /// Grows with every change that must end what was issued before; tokens carry it.
    #[serde(default)]
    pub epoch: u64,
}

fn active() -> IntegrationStatus {
    IntegrationStatus::Active
}

impl Integration {
    /// Every mistake in the registration at once, each naming its field; empty means valid (S2-01).
    #[must_use]
    pub fn mistakes(&self, now: Millis) -> Vec<String> {
        let mut out = Vec::new();
        let mut text = |field: &str, value: &str| {
            if value.trim().is_empty() {
                out.push(format!("`{field}` must not be empty"));
            } else if value.len() > 1_000 {
                out.push(format!("`{field}` is longer than 1000 bytes"));
            }
        };
        text("name", &self.name);
        text("vendor", &self.vendor);
        text("purpose", &self.purpose);
        text("revocation_contact", &self.revocation_contact);
        if self.owners.business == self.owners.technical {
            out.push("`owners.business` and `owners.technical` must be two different people".into());
        }
        if self.data_classes.is_empty() {
            out.push("`data_classes` must name at least one class of data".into());
        }
        if self.class == Class::Launcher {
            if self.launches.is_empty() {
                out.push("`launches` must name the integrations this launcher may start".into());
            }
            if self.launches.contains(&self.id) {
                out.push("`launches` names the launcher itself; launcher and agent are different integrations".into());
            }
            if self.role.is_some() {
                out.push(
                    "`role`: a launcher has no sessions that a role could narrow; give it to what it starts".into(),
                );
            }
        } else {
            if self.expected.is_empty() {
                out.push("`expected` must name the FHIR resource types it is expected to touch".into());
            }
            if !self.launches.is_empty() {
                out.push("`launches` is for class `launcher` only".into());
            }
        }
        if self.expires_at <= now {
            out.push("`expires_at` lies in the past".into());
        }
        out.extend(self.auth_mistakes(now));
        if let Keys::JwksUrl(url) = &self.auth.keys
            && !url.starts_with("https://")
        {
            out.push("`auth.keys.jwks_url` must be an https URL".into());
        }
        for algorithm in &self.auth.algorithms {
            if !["ES256", "ES384", "PS256", "RS384"].contains(&algorithm.as_str()) {
                out.push(format!("`auth.algorithms`: `{algorithm}` is none of ES384, RS384, ES256, PS256"));
            }
        }
        out
    }

    /// Method and keys fit each other and the class (S1-30, REG-08).
    fn auth_mistakes(&self, now: Millis) -> Vec<String> {
        let mut out = Vec::new();
        let method = self.auth.method.as_str();
        if self.auth.method.takes_keys() == self.auth.keys.is_absent() {
            let says = if self.auth.keys.is_absent() { "needs" } else { "takes no" };
            out.push(format!("`auth.keys`: {method} {says} registered keys"));
        }
        match &self.auth.method {
            AuthMethod::None if self.class != Class::PatientApp => {
                out.push("`auth.method`: `none` is a public client, which is for class patient-app alone".into());
            }
            AuthMethod::None if self.redirect_uris.is_empty() => {
                out.push(
                    "`redirect_uris`: a public client has no other way to start than an authorization code".into(),
                );
            }
            AuthMethod::ClientSecretBasic(_) if matches!(self.class, Class::Analytics | Class::Launcher) => {
                out.push("`auth.method`: a secret is not for back-end clients (BE-01)".into());
            }
            AuthMethod::ClientSecretBasic(secret) => {
                let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
                if secret.sha256.len() != 64 || !secret.sha256.bytes().all(hex) {
                    out.push(
                        "`auth.method.client_secret_basic.sha256` must be 64 lower-case hexadecimal digits".into(),
                    );
                }
                if secret.reason.trim().is_empty() || secret.reason.len() > 1_000 {
                    out.push(
                        "`auth.method.client_secret_basic.reason` must say why the client cannot hold a key".into(),
                    );
                }
                if secret.until <= now || secret.until > now.saturating_add(SECRET_MILLIS_MAX) {
                    out.push(
                        "`auth.method.client_secret_basic.until` must lie within the next 180 days (S2-14)".into(),
                    );
                }
            }
            AuthMethod::TlsClientAuth(
                CertificateSubject::SubjectDn(name)
                | CertificateSubject::SanDns(name)
                | CertificateSubject::SanUri(name),
            ) if name.trim().is_empty() || name.len() > 1_000 => {
                out.push("`auth.method.tls_client_auth` must name one attribute of the certificate".into());
            }
            _ => {}
        }
        if self.demands.contains(&Demand::Dpop) && self.demands.contains(&Demand::Mtls) {
            out.push("`demands`: a token is bound by `dpop` or by `mtls`, not by both".into());
        }
        out
    }

    /// Whether it may be used at `now`.
    #[must_use]
    pub fn usable(&self, now: Millis) -> bool {
        self.status == IntegrationStatus::Active && now < self.expires_at
    }
}
