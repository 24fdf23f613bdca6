//! The ways in which this upstream can misbehave, and the handle with which a test switches them at run time.

mod named;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

pub(crate) use named::listed;
pub use named::{InvalidFault, Named, named};

/// Where a duplicate member stands: before everything else in its object, or after.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// Before the true member, so that last-wins parsers see the true one.
    First,
    /// After the true member, so that first-wins parsers see the true one.
    Last,
}

/// What is wrong with an ID token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IdTokenFlaw {
    /// It is not there.
    Absent,
    /// Its nonce is another login's.
    Nonce,
    /// It is for another app.
    Audience,
    /// It says that another issuer made it.
    Issuer,
    /// It has ended.
    Expired,
    /// Its signature is none.
    Signature,
    /// Its `fhirUser` is at another server.
    User,
}

/// One way to misbehave. Several can be on at once; none touches `/metadata`, `/.well-known` or `/token` but those named for it.
///
/// Faults of resources and Bundles meet every one that leaves: read, found, told by a history or an operation, or in an
/// answer to a write. Those that answer something else altogether (a page of HTML, XML, a redirect, 304, a stack trace,
/// [`Fault::OutcomeWith200`]) leave a write undone; all others do it first, unless they say otherwise.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Searches act as if this parameter (name without modifier, e.g. `patient`) had not been sent.
    IgnoreParameter(String),
    /// Searches act as if no filter at all had been sent, and return every resource of the type.
    IgnoreAllParameters,
    /// Includes bring every resource of the included types, not just those referred to.
    IncludeEverything,
    /// Every search answer also has this resource (`Type/id`) as a match.
    ForeignMatch(String),
    /// Every search answer also has this resource as an include.
    ForeignInclude(String),
    /// Every search answer also has this resource, without `search.mode`.
    ForeignWithoutMode(String),
    /// Entries have no `search` member at all.
    MissingSearchMode,
    /// A read answers with this resource instead of the one asked for.
    OtherResource(String),
    /// `subject`, `patient`, `beneficiary` and `for` of every resource are replaced by this reference.
    ForeignSubject(String),
    /// Every resource carries this patient in `contained`.
    ContainedPatient(String),
    /// Resources lose their subject and are tagged SUBSETTED, unasked.
    Subsetted,
    /// The body is not JSON at all.
    MalformedJson,
    /// The body stops after this many bytes, with a matching Content-Length.
    TruncatedJson(usize),
    /// Every resource has one more member; the key is written as given, so escapes (`\u0073ubject`) stay escapes.
    DuplicateKey {
        /// The key as it stands between its quotes.
        key: String,
        /// Its value.
        value: Value,
        /// Before or after the true member.
        place: Place,
    },
    /// A byte order mark stands before the body.
    ByteOrderMark,
    /// A string in the resource holds bytes that are no UTF-8.
    InvalidUtf8,
    /// Every resource has an extension nested this deep.
    DeepNesting(usize),
    /// The body is padded to this many bytes and still valid JSON.
    Oversized {
        /// Total size.
        bytes: u64,
        /// Whether Content-Length says so beforehand; else the body is chunked.
        announced: bool,
    },
    /// Every resource has the member `valueQuantity.value` written as these digits (e.g. `1.10`, `1e400`).
    NumberText(String),
    /// Waits before the status line; a write is done before that.
    SlowHeaders(Duration),
    /// Sends half of the body, then waits before the rest.
    SlowBody(Duration),
    /// Announces the whole body, sends half of it and drops the connection.
    CutOff,
    /// Says this content type, with the JSON body unchanged.
    ContentType(String),
    /// Answers an HTML page with content type `text/html`.
    Html,
    /// Answers the resource as XML with content type `application/fhir+xml`.
    Xml,
    /// Answers 302 to this URL.
    Redirect(String),
    /// Answers with this status and the true body: 202, 206, 203, …
    Status(u16),
    /// Answers 304 although nothing conditional was asked.
    NotModified,
    /// Answers 410 to reads.
    Gone,
    /// Answers 500 with a stack trace, SQL and these ids in its diagnostics.
    StackTrace(String),
    /// Adds Set-Cookie, X-Powered-By, Link, Content-Location and other headers that should not pass a gate.
    OddHeaders,
    /// `total` is this number.
    Total(u64),
    /// `Bundle.type` is this.
    BundleType(String),
    /// The `next` link is this URL, whether or not there is a next page.
    NextLink(String),
    /// The `self` link is this URL.
    SelfLink(String),
    /// Every `fullUrl` names this other instance (`Type/id`).
    FullUrl(String),
    /// Answers carry no Last-Modified, and resources no `meta`; only the ETag is there.
    EtagOnly,
    /// Answers an OperationOutcome with status 200.
    OutcomeWith200,
    /// The token endpoint answers 400 `invalid_client`.
    TokenRefused,
    /// The token endpoint waits this long.
    TokenSlow(Duration),
    /// The token endpoint answers apps without `patient`.
    TokenWithoutPatient,
    /// The token endpoint tells apps these scopes, whatever it granted.
    TokenScope(String),
    /// ID tokens have this flaw.
    IdToken(IdTokenFlaw),
    /// A refreshed token is for this patient (id), and the answer says so.
    RefreshPatient(String),
    /// `iss` of an authorization response is this (RFC 9207).
    AuthorizeIssuer(String),
    /// `state` of an authorization response is this.
    AuthorizeState(String),
    /// There is no revocation endpoint, and the metadata names none.
    RevocationUnsupported,
    /// The revocation endpoint answers 503; nothing is revoked.
    RevocationFails,
    /// The CapabilityStatement is JSON `null`, no resource.
    MalformedCapabilities,
    /// Writes pass over `If-Match`, in a transaction too.
    IgnoreIfMatch,
    /// What is stored is not what was sent: `subject`, `patient`, `beneficiary` and `for` become this reference first.
    RewriteSubject(String),
    /// Another system puts this resource right before a write or transaction is done.
    Raced(Value),
    /// Writes and transactions answer 409, as if another had come first; nothing is written.
    WriteConflict,
    /// A write is done, and its answer (or its entry in a transaction's) carries this resource instead.
    WriteAnswersOther(String),
    /// A write is done, and its answer (or its entry) has this instance (`Type/id`) as its location.
    WriteLocation(String),
    /// A create or update is done and answered 200 with an OperationOutcome of this text; in a transaction, so is its entry.
    WriteOutcome(String),
    /// The request is carried out, and the connection closed before the status line.
    CutBeforeAnswer,
    /// The request is carried out and answered 202, unasked, without body and with this Content-Location.
    Accepted(String),
    /// A history also has every version of this instance (`Type/id`).
    HistoryWithForeign(String),
    /// A history is that of this instance (`Type/id`) instead.
    HistoryOfOther(String),
    /// History entries carry no resource.
    HistoryWithoutResources,
    /// The answer to a transaction or batch lacks so many of its last entries.
    ResponseShort(usize),
    /// The answer to a transaction or batch has its entries in reverse order.
    ResponseReversed,
    /// Every entry of the answer to a transaction or batch has an outcome of this text, beside what else it has.
    ResponseOutcome(String),
    /// `$everything` holds the charts of all patients.
    EverythingOfEveryone,
    /// `$lastn` takes the latest of all patients.
    LastnIgnoresPatient,
    /// The content of every Binary is these bytes. ([`Fault::OtherResource`] answers with another Binary altogether.)
    BinaryBytes(Vec<u8>),
    /// Every Binary has this content type, e.g. `text/html`.
    BinaryType(String),
    /// Every page but the first also has this resource (`Type/id`) as a match.
    ForeignNextPage(String),
    /// Copies of this resource (`Type/id`), each under an id of its own, follow the entries of every list until the
    /// body has so many bytes. They are made while they are sent.
    Flood {
        /// What is copied.
        reference: String,
        /// Total size, about.
        bytes: u64,
    },
    /// A read's resource has a narrative so long that the body has this many bytes.
    LongNarrative(u64),
    /// The files of an export hold everybody's records.
    ExportOfEveryone,
    /// The manifest of an export says that its files are here, in place of the base.
    ExportFilesAt(String),
    /// Each file of an export ends with this line.
    ExportLine(String),
    /// The manifest of an export is this.
    ExportManifest(Value),
}

impl Fault {
    /// Whether it makes this parameter count for nothing.
    pub(crate) fn ignores(&self, name: &str) -> bool {
        match self {
            Self::IgnoreParameter(ignored) => ignored == name,
            Self::IgnoreAllParameters => true,
            _ => false,
        }
    }

    /// The places of the launch side that it alone concerns: it meets, and is counted against, no other request.
    fn places(&self) -> &'static [&'static str] {
        match self {
            Self::TokenWithoutPatient | Self::TokenScope(_) | Self::IdToken(_) | Self::RefreshPatient(_) => &["token"],
            Self::AuthorizeIssuer(_) | Self::AuthorizeState(_) => &["authorize"],
            Self::RevocationFails => &["revoke"],
            Self::RevocationUnsupported => &["revoke", "discovery"],
            _ => &[],
        }
    }

    /// A second `subject` that names this patient, before the true one (RD-30).
    #[must_use]
    pub fn duplicate_subject(reference: &str, place: Place) -> Self {
        Self::DuplicateKey { key: "subject".to_owned(), value: serde_json::json!({ "reference": reference }), place }
    }

    /// The same with an escaped key: equal after decoding, different as bytes.
    #[must_use]
    pub fn escaped_duplicate_subject(reference: &str, place: Place) -> Self {
        Self::DuplicateKey {
            key: "\\u0073ubject".to_owned(),
            value: serde_json::json!({ "reference": reference }),
            place,
        }
    }

    /// A second `resourceType` (RD-31).
    #[must_use]
    pub fn duplicate_type(kind: &str, place: Place) -> Self {
        Self::DuplicateKey { key: "resourceType".to_owned(), value: Value::String(kind.to_owned()), place }
    }
}

/// A fault with the requests it meets.
#[derive(Clone, Debug)]
struct Switched {
    fault: Fault,
    /// Only requests whose path below the base starts with this.
    path: Option<String>,
    /// How many more requests it meets; without end when absent.
    left: Option<u32>,
}

/// The switchboard; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Vec<Switched>>>);

impl Faults {
    /// Switches a fault on for every request from now on.
    pub fn on(&self, fault: Fault) {
        self.push(Switched { fault, path: None, left: None });
    }

    /// Switches a fault on for requests whose path below the base starts with `path`, e.g. `Observation`.
    pub fn on_path(&self, path: &str, fault: Fault) {
        self.push(Switched { fault, path: Some(path.to_owned()), left: None });
    }

    /// Switches a fault on for the next `requests` requests.
    pub fn times(&self, requests: u32, fault: Fault) {
        self.push(Switched { fault, path: None, left: Some(requests) });
    }

    /// Switches everything off and only this fault on.
    pub fn only(&self, fault: Fault) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.clear();
        all.push(Switched { fault, path: None, left: None });
    }

    /// Switches everything off and these on, all at once: no request meets some of them.
    pub fn set(&self, faults: impl IntoIterator<Item = Fault>) {
        let faults = faults.into_iter().map(|fault| Switched { fault, path: None, left: None });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = faults.collect();
    }

    /// Switches everything off.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn push(&self, switched: Switched) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(switched);
    }

    /// The faults that meet a request for this path below the base; counts it against those that end.
    pub(crate) fn meet(&self, path: &str) -> Vec<Fault> {
        self.meet_those(path, |fault| fault.places().is_empty())
    }

    /// The faults that meet a request to this place of the launch side.
    pub(crate) fn meet_launch(&self, place: &str) -> Vec<Fault> {
        let of_token = |fault: &Fault| matches!(fault, Fault::TokenSlow(_) | Fault::TokenRefused);
        self.meet_those(place, |fault| fault.places().contains(&place) || (place == "token" && of_token(fault)))
    }

    fn meet_those(&self, path: &str, concerned: impl Fn(&Fault) -> bool) -> Vec<Fault> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut met = Vec::new();
        for switched in all.iter_mut() {
            if !concerned(&switched.fault) || switched.path.as_deref().is_some_and(|prefix| !path.starts_with(prefix)) {
                continue;
            }
            if let Some(left) = switched.left.as_mut() {
                *left = left.saturating_sub(1);
            }
            met.push(switched.fault.clone());
        }
        all.retain(|switched| switched.left != Some(0));
        met
    }
}
