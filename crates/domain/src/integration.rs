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

/// Where its public keys come from; exactly one of the two. Private key material is never accepted.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Keys {
    /// A JWK Set (RFC 7517) by value, as JSON text in canonical form.
    Jwks(String),
    /// An https URL that serves a JWK Set.
    JwksUrl(String),
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

/// How it authenticates. `private_key_jwt` is the only method there is (S1-30): no variant for `none` or a secret exists.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClientAuth {
    /// Public keys.
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

    /// Whether it may be used at `now`.
    #[must_use]
    pub fn usable(&self, now: Millis) -> bool {
        self.status == IntegrationStatus::Active && now < self.expires_at
    }
}
