//! Why somebody is not signed in: one variant per cause, in the operator's words and in the person's.

use oauth::id_token::InvalidIdToken;
use oauth::logout_token::InvalidLogoutToken;

use super::discovery::DiscoveryProblem;

/// Why an identity provider cannot be used at all.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OpenIdentityError {
    /// Its issuer is not https (or http on loopback), or has a query or a fragment.
    #[error("issuer `{0}` must be an https URL without query and fragment (http on loopback only)")]
    Issuer(String),
    /// Our private key there cannot be read.
    #[error("{0}")]
    Key(#[from] crate::broker::KeyFileError),
    /// Our secret there cannot be read.
    #[error("client secret file `{0}` cannot be read or holds no single line of printable ASCII")]
    Secret(String),
}

/// Why a person is not signed in. `Display` is for the operator and holds nothing that came from outside.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SignInError {
    /// The provider did not answer in time, or not usably.
    #[error("the identity provider cannot be reached")]
    Unreachable,
    /// Its discovery document does not fit what is configured.
    #[error("the identity provider's discovery document: {0}")]
    Discovery(#[from] DiscoveryProblem),
    /// Our key or secret cannot be read.
    #[error("our credential at the identity provider cannot be read")]
    Credential,
    /// It took longer than ten minutes, or began in the future.
    #[error("the sign-in took too long")]
    Expired,
    /// `state` is missing or that of another sign-in.
    #[error("`state` is not that of this sign-in")]
    State,
    /// `iss` is missing where it is announced, or another's: a mix-up (RFC 9207).
    #[error("`iss` is not the identity provider that was asked")]
    Mixed,
    /// What came back is no authorization response.
    #[error("the identity provider's answer is malformed")]
    Query,
    /// Asked for nothing to be shown, the provider would have had to ask something.
    #[error("the person is not signed in at the identity provider")]
    NeedsInteraction,
    /// The provider, or the person there, said no.
    #[error("the identity provider denied the sign-in")]
    Denied,
    /// The provider failed or refuses our request.
    #[error("the identity provider answered with an error")]
    Provider,
    /// The token endpoint refused the code or our credential.
    #[error("the identity provider refused the code or our credential")]
    Code,
    /// The token endpoint's answer holds no ID token.
    #[error("the identity provider's token answer is malformed")]
    Answer,
    /// The ID token is refused.
    #[error("id token: {0}")]
    Token(InvalidIdToken),
    /// The person did not prove in the way that is asked for who they are.
    #[error("the second factor that is asked for is missing: {0}")]
    Factor(InvalidIdToken),
    /// A claim that configuration names has a form that it cannot have.
    #[error("the claim configured for {0} is malformed")]
    Claim(&'static str),
    /// The random source failed.
    #[error("the random source failed")]
    Random,
}

impl SignInError {
    /// An error code of OpenID Connect Core §3.1.2.6 or RFC 6749 §4.1.2.1. Unknown ones are the provider's failure.
    pub(super) fn answered(code: &str) -> Self {
        match code {
            "login_required" | "interaction_required" | "consent_required" | "account_selection_required" => {
                Self::NeedsInteraction
            }
            "access_denied" => Self::Denied,
            "unmet_authentication_requirements" => Self::Factor(InvalidIdToken::Acr),
            _ => Self::Provider,
        }
    }

    /// What the person is told.
    #[must_use]
    pub fn says(&self) -> &'static str {
        match self {
            Self::Unreachable | Self::Discovery(_) | Self::Credential | Self::Provider | Self::Code | Self::Random => {
                "The hospital's sign-in is not available at the moment. Try again in a few minutes."
            }
            Self::Expired => "The sign-in took too long. Start again.",
            Self::State | Self::Mixed | Self::Query | Self::Answer | Self::Token(_) => {
                "The sign-in could not be completed. Start again from the application."
            }
            Self::NeedsInteraction => "You are not signed in.",
            Self::Denied => "The hospital's sign-in did not let you in.",
            Self::Factor(_) => {
                "Your sign-in did not use the second factor that this system asks for. Sign in again and confirm with it."
            }
            Self::Claim(_) => {
                "Your account does not say clearly who you are in the patient record. Ask your IT department to correct it."
            }
        }
    }
}

impl From<InvalidIdToken> for SignInError {
    fn from(why: InvalidIdToken) -> Self {
        match why {
            InvalidIdToken::Acr | InvalidIdToken::Amr => Self::Factor(why),
            why => Self::Token(why),
        }
    }
}

/// Why a logout token is not honoured.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BackChannelError {
    /// The token is refused.
    #[error("logout token: {0}")]
    Token(#[from] InvalidLogoutToken),
    /// It was honoured before.
    #[error("this logout token was honoured before")]
    Replayed,
    /// The provider's keys cannot be had.
    #[error("the identity provider cannot be reached")]
    Unreachable,
    /// Too many logouts are remembered already.
    #[error("too many logouts at once")]
    Busy,
}
