//! Who is there, and about whom: the sign-in of a demonstration's local accounts, and the choice of a patient.

use askama::Template;
use http::StatusCode;

use super::headers::STYLE;
use super::{Csrf, Page, Place, Shown, page};

/// Why nobody is signed in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SignInProblem {
    /// The name or the password is wrong; the page does not say which.
    Wrong,
    /// Too many wrong ones; wait.
    TooMany,
    /// The sign-in has been idle for too long, or is over (S4-03).
    Ended,
}

impl SignInProblem {
    fn says(self) -> &'static str {
        match self {
            Self::Wrong => "The user name or the password is not right",
            Self::TooMany => "There were too many attempts. Wait a minute, then try again",
            Self::Ended => "You were signed out because nothing happened for a while. Sign in again",
        }
    }
}

/// The sign-in of local accounts; `demo` alone has any.
#[derive(Clone, Debug, Template)]
#[template(path = "sign_in.html")]
pub struct SignIn {
    /// Whose page.
    pub place: Place,
    /// Where the form is sent.
    pub action: String,
    /// Names the interaction.
    pub request: String,
    /// Proves the form is ours.
    pub csrf: Csrf,
    /// What one signs in for, e.g. the application's name; empty when there is none.
    pub app: Shown,
    /// What was typed before.
    pub username: Shown,
    /// Accounts that anyone may try, as `name: what it is`; a demonstration hides none of them.
    pub accounts: Vec<Shown>,
    /// Why it is shown again.
    pub problem: Option<SignInProblem>,
}

impl SignIn {
    /// The page; 401 after a wrong password, 429 after many.
    #[must_use]
    pub fn render(&self) -> Page {
        let status = match self.problem {
            None | Some(SignInProblem::Ended) => StatusCode::OK,
            Some(SignInProblem::Wrong) => StatusCode::FORBIDDEN,
            Some(SignInProblem::TooMany) => StatusCode::TOO_MANY_REQUESTS,
        };
        page(self, &self.place, status)
    }

    fn style(&self) -> &'static str {
        STYLE
    }
}

/// One patient as people tell them apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PickerRow {
    /// What the form sends for this patient; it need not be their id.
    pub value: String,
    /// Name.
    pub name: Shown,
    /// Date of birth, as it is to be read.
    pub born: Shown,
    /// A number people know them by, e.g. `MRN 123`; empty when there is none.
    pub number: Shown,
}

/// Why a patient has still to be chosen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PickerProblem {
    /// None was chosen.
    None,
    /// The one that was chosen is not among them.
    Unknown,
}

impl PickerProblem {
    fn says(self) -> &'static str {
        match self {
            Self::None => "Choose a patient",
            Self::Unknown => "That patient cannot be chosen here. Choose another",
        }
    }
}

/// The choice of a patient for a launch that brought none.
#[derive(Clone, Debug, Template)]
#[template(path = "picker.html")]
pub struct Picker {
    /// Whose page.
    pub place: Place,
    /// Where the form is sent.
    pub action: String,
    /// Names the interaction.
    pub request: String,
    /// Proves the form is ours.
    pub csrf: Csrf,
    /// The application's name.
    pub app: Shown,
    /// Who is signed in.
    pub person: Shown,
    /// Whom they may choose.
    pub patients: Vec<PickerRow>,
    /// Whether there are more than these.
    pub more: bool,
    /// What was searched; `None` leaves the search out.
    pub search: Option<Shown>,
    /// Why it is shown again.
    pub problem: Option<PickerProblem>,
}

impl Picker {
    /// The page; 422 when it says what is wrong with the answer.
    #[must_use]
    pub fn render(&self) -> Page {
        let status = if self.problem.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
        page(self, &self.place, status)
    }

    fn style(&self) -> &'static str {
        STYLE
    }
}
