//! Pages without a form: what went wrong and is told to the person alone, what is being waited for, and the end.

use askama::Template;
use http::StatusCode;

use super::headers::STYLE;
use super::{Page, Place, Shown, page};

/// Why an authorization request is answered here and the browser is never sent on (AZ-08).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// No such application, or it is not active.
    Client,
    /// The redirect URI is missing or not registered.
    Redirect,
    /// The request could not be read at all.
    Request,
    /// The interaction is over, was answered already, or began in another browser.
    Interaction,
    /// The form is not of a page made for this browser.
    Forged,
    /// The person may not do this.
    Person,
    /// Something of ours failed.
    Fault,
}

impl Refusal {
    fn status(self) -> StatusCode {
        match self {
            Self::Client | Self::Redirect | Self::Request | Self::Interaction => StatusCode::BAD_REQUEST,
            Self::Forged | Self::Person => StatusCode::FORBIDDEN,
            Self::Fault => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Client => "This application is not known here",
            Self::Redirect => "This application sent a wrong address",
            Self::Request => "This request could not be read",
            Self::Interaction => "This page is no longer valid",
            Self::Forged => "This form could not be accepted",
            Self::Person => "You may not do this",
            Self::Fault => "Something went wrong",
        }
    }

    fn says(self) -> &'static str {
        match self {
            Self::Client => "It is not registered, or it has been suspended. Nothing was shared with it.",
            Self::Redirect => {
                "The address to return to is not one that is registered for it, so you are not sent there. Nothing was shared with it."
            }
            Self::Request => {
                "The application asked for something in a form that is not understood. Nothing was shared with it."
            }
            Self::Interaction => {
                "It was open for too long, has been answered already, or was started in another window. Nothing more was shared."
            }
            Self::Forged => "It did not come from the page that was shown to you. Nothing was shared.",
            Self::Person => "Your account does not allow it. Nothing was shared.",
            Self::Fault => "The request could not be finished. Nothing was shared. Try again in a moment.",
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Interaction | Self::Forged => "Go back to the application and start again.",
            Self::Fault => "If it happens again, tell the hospital's help desk the reference below.",
            _ => "Close this window. If you expected it to work, tell the hospital's help desk the reference below.",
        }
    }
}

/// A request that is refused without a redirect.
#[derive(Clone, Debug, Template)]
#[template(path = "failed.html")]
pub struct Failed {
    /// Whose page.
    pub place: Place,
    /// Why.
    pub why: Refusal,
    /// One line for the application's developers, without secrets; empty when there is none.
    pub developer: Shown,
    /// What the operator finds the record by; empty when there is none.
    pub reference: Shown,
}

impl Failed {
    /// The page, with the status of its cause.
    #[must_use]
    pub fn render(&self) -> Page {
        page(self, &self.place, self.why.status())
    }

    fn style(&self) -> &'static str {
        STYLE
    }
}

/// The end of a sign-in.
#[derive(Clone, Debug, Template)]
#[template(path = "signed_out.html")]
pub struct SignedOut {
    /// Whose page.
    pub place: Place,
    /// Where one signs in again; empty leaves it out.
    pub again: String,
    /// Whether sessions of applications were ended with it.
    pub sessions_ended: usize,
}

impl SignedOut {
    /// The page.
    #[must_use]
    pub fn render(&self) -> Page {
        page(self, &self.place, StatusCode::OK)
    }

    fn style(&self) -> &'static str {
        STYLE
    }
}

/// A launch that waits for the EHR: the browser goes on when the person follows the link.
#[derive(Clone, Debug, Template)]
#[template(path = "waiting.html")]
pub struct Waiting {
    /// Whose page.
    pub place: Place,
    /// The application that is being started.
    pub app: Shown,
    /// What is waited for, e.g. the name of the EHR.
    pub for_whom: Shown,
    /// Where to look again: a path of ours.
    pub again: String,
}

impl Waiting {
    /// The page.
    #[must_use]
    pub fn render(&self) -> Page {
        page(self, &self.place, StatusCode::OK)
    }

    fn style(&self) -> &'static str {
        STYLE
    }
}

/// A launch that did not come to be.
#[derive(Clone, Debug, Template)]
#[template(path = "launch_failed.html")]
pub struct LaunchFailed {
    /// Whose page.
    pub place: Place,
    /// The application; empty when it is not known.
    pub app: Shown,
    /// What failed, in a sentence.
    pub says: Shown,
    /// Where to try again: a path of ours; empty leaves it out.
    pub again: String,
    /// What the operator finds the record by; empty when there is none.
    pub reference: Shown,
    /// The status it is answered with.
    pub status: StatusCode,
}

impl LaunchFailed {
    /// The page, with its status.
    #[must_use]
    pub fn render(&self) -> Page {
        page(self, &self.place, self.status)
    }

    fn style(&self) -> &'static str {
        STYLE
    }
}
