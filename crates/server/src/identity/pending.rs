//! A sign-in between its two halves: what was wished, and what must be kept while the browser is away.

use domain::Millis;

/// How the provider is to treat the person.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Prompt {
    /// Ask nothing: only somebody who is signed in there already comes back.
    None,
    /// Prove anew who it is.
    Login,
    /// Choose the account.
    SelectAccount,
}

impl Prompt {
    /// As in `prompt`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Login => "login",
            Self::SelectAccount => "select_account",
        }
    }
}

/// What a sign-in is asked to be.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// How the provider is to treat the person; `None` leaves it to the provider.
    pub prompt: Option<Prompt>,
    /// The person proved who they are at most this many seconds ago.
    pub max_age: Option<u64>,
    /// Who it will probably be; passed on, and never believed.
    pub login_hint: Option<String>,
}

/// What belongs to one sign-in and to nobody else. Keep it on the server, bound to the browser that began, and use it once.
#[derive(Clone, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    pub(super) issuer: String,
    pub(super) state: String,
    pub(super) nonce: String,
    pub(super) verifier: String,
    pub(super) redirect_uri: String,
    pub(super) began_at: Millis,
    pub(super) max_age: Option<u64>,
}

impl Pending {
    /// `state`: by which a pending sign-in may be found again.
    #[must_use]
    pub fn state(&self) -> &str {
        &self.state
    }
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pending([sealed])")
    }
}

/// A sign-in that has begun.
#[derive(Clone, Debug)]
pub struct Begun {
    /// Where the browser goes.
    pub url: String,
    /// What must be kept until it comes back.
    pub pending: Pending,
}

/// A text that speaks for a person. Prints `[sealed]`; what keeps it must seal it.
#[derive(Clone, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(transparent)]
pub struct Sealed(String);

impl Sealed {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one place that must send it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[sealed]")
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}
