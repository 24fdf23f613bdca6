//! What an EHR granted to one session that it launched, and what becomes of it when it is taken back.

use domain::Millis;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The EHR's tokens of one session. Serialised only to be sealed.
#[derive(Deserialize, Serialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub struct UpstreamGrant {
    /// `access_token`.
    pub access_token: String,
    /// When it is not used any more, in milliseconds.
    pub expires_at: Millis,
    /// `refresh_token`, if there is one.
    pub refresh_token: Option<String>,
    /// `scope` as the EHR granted it.
    pub scope: String,
    /// The patient it was granted for, as a bare id.
    pub patient: String,
    /// Where it is refreshed.
    pub token_endpoint: String,
    /// Where it is revoked, if anywhere.
    pub revocation_endpoint: Option<String>,
    /// Whether it may be used.
    #[serde(default)]
    #[zeroize(skip)]
    pub state: GrantState,
}

/// Whether a grant may be used.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GrantState {
    /// It may.
    #[default]
    Alive,
    /// The EHR does not refresh it any more.
    Refused,
    /// The EHR refreshed it for another patient: the session ends.
    Switched,
}

impl std::fmt::Debug for UpstreamGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UpstreamGrant([sealed])")
    }
}

/// Why a grant was not refreshed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NotRefreshed {
    /// The EHR says no, or says nothing that can be understood: trying again is of no use.
    Refused,
    /// The EHR does not answer.
    Unreachable,
}

/// What became of the revocation of one token.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Revocation {
    /// The EHR took it (RFC 7009 §2.2).
    Revoked,
    /// The EHR has no endpoint for it, or does not revoke tokens of its kind.
    Unsupported,
    /// The EHR did not say yes.
    Failed,
}

impl Revocation {
    /// As records write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Unsupported => "unsupported",
            Self::Failed => "failed",
        }
    }
}

/// What became of both tokens of a grant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Revocations {
    /// Of the access token.
    pub access: Revocation,
    /// Of the refresh token, if there was one.
    pub refresh: Option<Revocation>,
}

impl Revocations {
    /// Both in one word: the worse of the two.
    #[must_use]
    pub fn outcome(self) -> Revocation {
        self.refresh.map_or(self.access, |refresh| refresh.max(self.access))
    }
}
