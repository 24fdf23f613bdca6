//! Faults by name, for those that switch them from outside of the program: `foreign-match=Observation/o2`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Fault, IdTokenFlaw, Place};

/// What stands after the `=` of a fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Takes {
    Nothing,
    /// Text that is put in as it is; what it stands for, and what it is when absent.
    Text(&'static str, &'static str),
    /// A number: bytes, milliseconds, a status, a count.
    Number(&'static str, u64),
    /// A resource as JSON; there is none to go without.
    Resource,
}

/// What stands after the `=`, read.
#[derive(Default)]
struct Given {
    text: String,
    number: u64,
    resource: Value,
}

impl Given {
    fn length(&self) -> usize {
        usize::try_from(self.number).unwrap_or(usize::MAX)
    }

    fn time(&self) -> Duration {
        Duration::from_millis(self.number)
    }

    /// A status that HTTP has; what is none is 500.
    fn status(&self) -> u16 {
        u16::try_from(self.number).ok().filter(|status| (200..600).contains(status)).unwrap_or(500)
    }
}

type Row = (&'static str, Takes, &'static str, fn(Given) -> Fault);

/// A patient of the generated hospital.
const SOMEBODY: &str = "Patient/pat-002";
const FOREIGN: Takes = Takes::Text("TYPE/ID", SOMEBODY);
const URL: Takes = Takes::Text("URL", "http://127.0.0.1:9/fhir/Patient/pat-002");
const WORDS: Takes = Takes::Text("TEXT", "Patient/pat-002");

/// Every fault: its name, what it takes, what it does.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("ignore-parameter", Takes::Text("NAME", "patient"), "searches pass over this parameter", |g| Fault::IgnoreParameter(g.text)),
    ("ignore-all-parameters", Takes::Nothing, "searches pass over every parameter", |_| Fault::IgnoreAllParameters),
    ("include-everything", Takes::Nothing, "includes bring all of their types", |_| Fault::IncludeEverything),
    ("foreign-match", FOREIGN, "searches also find this", |g| Fault::ForeignMatch(g.text)),
    ("foreign-include", FOREIGN, "searches also include this", |g| Fault::ForeignInclude(g.text)),
    ("foreign-without-mode", FOREIGN, "searches also bring this, as neither", |g| Fault::ForeignWithoutMode(g.text)),
    ("foreign-next-page", FOREIGN, "every page but the first also has this", |g| Fault::ForeignNextPage(g.text)),
    ("missing-search-mode", Takes::Nothing, "entries do not say whether they match", |_| Fault::MissingSearchMode),
    ("other-resource", FOREIGN, "reads answer this instead", |g| Fault::OtherResource(g.text)),
    ("foreign-subject", FOREIGN, "everything told is this patient's", |g| Fault::ForeignSubject(g.text)),
    ("contained-patient", Takes::Text("ID", "pat-002"), "everything told contains this patient", |g| Fault::ContainedPatient(g.text)),
    ("subsetted", Takes::Nothing, "everything told lacks its subject", |_| Fault::Subsetted),
    ("malformed-json", Takes::Nothing, "bodies are no JSON", |_| Fault::MalformedJson),
    ("truncated-json", Takes::Number("BYTES", 60), "bodies end here", |g| Fault::TruncatedJson(g.length())),
    ("duplicate-subject-first", FOREIGN, "a second `subject` before the true one", |g| Fault::duplicate_subject(&g.text, Place::First)),
    ("duplicate-subject-last", FOREIGN, "a second `subject` after the true one", |g| Fault::duplicate_subject(&g.text, Place::Last)),
    ("duplicate-subject-escaped", FOREIGN, "a second `subject`, written with an escape", |g| Fault::escaped_duplicate_subject(&g.text, Place::Last)),
    ("duplicate-type", Takes::Text("TYPE", "Practitioner"), "a second `resourceType`", |g| Fault::duplicate_type(&g.text, Place::First)),
    ("byte-order-mark", Takes::Nothing, "bodies begin with one", |_| Fault::ByteOrderMark),
    ("invalid-utf8", Takes::Nothing, "bodies hold bytes that are no text", |_| Fault::InvalidUtf8),
    ("deep-nesting", Takes::Number("DEPTH", 5_000), "everything told has an extension this deep", |g| Fault::DeepNesting(g.length())),
    ("oversized", Takes::Number("BYTES", 100_000_000), "bodies are this long, and say so", |g| Fault::Oversized { bytes: g.number, announced: true }),
    ("oversized-chunked", Takes::Number("BYTES", 100_000_000), "bodies are this long, and do not say so", |g| Fault::Oversized { bytes: g.number, announced: false }),
    ("flood", FOREIGN, "lists have 10 MB of copies of this", |g| Fault::Flood { reference: g.text, bytes: FLOOD_BYTES }),
    ("long-narrative", Takes::Number("BYTES", 100_000_000), "reads have a narrative this long", |g| Fault::LongNarrative(g.number)),
    ("export-of-everyone", Takes::Nothing, "files of an export hold everybody's records", |_| Fault::ExportOfEveryone),
    ("export-files-at", URL, "files of an export are said to be here", |g| Fault::ExportFilesAt(g.text)),
    ("export-line", WORDS, "files of an export end with this line", |g| Fault::ExportLine(g.text)),
    ("export-manifest", Takes::Resource, "the manifest of an export is this", |g| Fault::ExportManifest(g.resource)),
    ("number-text", Takes::Text("DIGITS", "1.10"), "a quantity written so", |g| Fault::NumberText(number(&g.text))),
    ("slow-headers", Takes::Number("MILLISECONDS", 400), "waits before the answer", |g| Fault::SlowHeaders(g.time())),
    ("slow-body", Takes::Number("MILLISECONDS", 400), "waits amid the answer", |g| Fault::SlowBody(g.time())),
    ("cut-off", Takes::Nothing, "breaks the connection amid the answer", |_| Fault::CutOff),
    ("cut-before-answer", Takes::Nothing, "does what is asked and breaks the connection", |_| Fault::CutBeforeAnswer),
    ("content-type", Takes::Text("TYPE", "text/plain"), "says another content type", |g| Fault::ContentType(g.text)),
    ("html", Takes::Nothing, "answers a page", |_| Fault::Html),
    ("xml", Takes::Nothing, "answers XML", |_| Fault::Xml),
    ("redirect", URL, "answers 302 to this", |g| Fault::Redirect(g.text)),
    ("status", Takes::Number("STATUS", 202), "answers with this status", |g| Fault::Status(g.status())),
    ("not-modified", Takes::Nothing, "answers 304 unasked", |_| Fault::NotModified),
    ("gone", Takes::Nothing, "reads answer 410", |_| Fault::Gone),
    ("stack-trace", WORDS, "answers 500 with this in its diagnostics", |g| Fault::StackTrace(g.text)),
    ("outcome-with-200", Takes::Nothing, "answers 200 with an OperationOutcome", |_| Fault::OutcomeWith200),
    ("odd-headers", Takes::Nothing, "adds headers that no gate should pass on", |_| Fault::OddHeaders),
    ("accepted", URL, "does what is asked and answers 202 with this address", |g| Fault::Accepted(g.text)),
    ("total", Takes::Number("COUNT", 4_711), "`Bundle.total` is this", |g| Fault::Total(g.number)),
    ("bundle-type", Takes::Text("TYPE", "collection"), "`Bundle.type` is this", |g| Fault::BundleType(g.text)),
    ("next-link", URL, "the next page is there", |g| Fault::NextLink(g.text)),
    ("self-link", URL, "the list is said to be there", |g| Fault::SelfLink(g.text)),
    ("full-url", FOREIGN, "every entry says that it is this", |g| Fault::FullUrl(g.text)),
    ("etag-only", Takes::Nothing, "answers have no date, and resources no `meta`", |_| Fault::EtagOnly),
    ("history-with-foreign", FOREIGN, "histories also have the versions of this", |g| Fault::HistoryWithForeign(g.text)),
    ("history-of-other", FOREIGN, "histories are those of this", |g| Fault::HistoryOfOther(g.text)),
    ("history-without-resources", Takes::Nothing, "histories tell no resources", |_| Fault::HistoryWithoutResources),
    ("everything-of-everyone", Takes::Nothing, "`$everything` holds everybody's chart", |_| Fault::EverythingOfEveryone),
    ("lastn-ignores-patient", Takes::Nothing, "`$lastn` takes everybody's latest", |_| Fault::LastnIgnoresPatient),
    ("binary-bytes", WORDS, "every Binary holds this", |g| Fault::BinaryBytes(g.text.into_bytes())),
    ("binary-type", Takes::Text("TYPE", "text/html"), "every Binary is of this type", |g| Fault::BinaryType(g.text)),
    ("response-short", Takes::Number("COUNT", 1), "answers to a batch lack so many entries", |g| Fault::ResponseShort(g.length())),
    ("response-reversed", Takes::Nothing, "answers to a batch come in reverse order", |_| Fault::ResponseReversed),
    ("response-outcome", WORDS, "answers to a batch carry outcomes of this text", |g| Fault::ResponseOutcome(g.text)),
    ("ignore-if-match", Takes::Nothing, "writes pass over `If-Match`", |_| Fault::IgnoreIfMatch),
    ("rewrite-subject", FOREIGN, "what is stored is this patient's", |g| Fault::RewriteSubject(g.text)),
    ("raced", Takes::Resource, "another system writes this before every write", |g| Fault::Raced(g.resource)),
    ("write-conflict", Takes::Nothing, "writes answer 409", |_| Fault::WriteConflict),
    ("write-answers-other", FOREIGN, "answers to writes carry this", |g| Fault::WriteAnswersOther(g.text)),
    ("write-location", FOREIGN, "answers to writes say that it is this", |g| Fault::WriteLocation(g.text)),
    ("write-outcome", WORDS, "answers to writes are outcomes of this text", |g| Fault::WriteOutcome(g.text)),
    ("malformed-capabilities", Takes::Nothing, "the CapabilityStatement is `null`", |_| Fault::MalformedCapabilities),
    ("token-refused", Takes::Nothing, "the token endpoint refuses everybody", |_| Fault::TokenRefused),
    ("token-without-patient", Takes::Nothing, "apps are told no patient with their token", |_| Fault::TokenWithoutPatient),
    ("token-scope", Takes::Text("SCOPES", "patient/*.cruds"), "apps are told that they have these scopes", |g| Fault::TokenScope(g.text)),
    ("id-token-absent", Takes::Nothing, "no ID token comes", |_| Fault::IdToken(IdTokenFlaw::Absent)),
    ("id-token-nonce", Takes::Nothing, "ID tokens are another login's", |_| Fault::IdToken(IdTokenFlaw::Nonce)),
    ("id-token-audience", Takes::Nothing, "ID tokens are for another app", |_| Fault::IdToken(IdTokenFlaw::Audience)),
    ("id-token-issuer", Takes::Nothing, "ID tokens are another issuer's", |_| Fault::IdToken(IdTokenFlaw::Issuer)),
    ("id-token-expired", Takes::Nothing, "ID tokens have ended", |_| Fault::IdToken(IdTokenFlaw::Expired)),
    ("id-token-signature", Takes::Nothing, "ID tokens have no good signature", |_| Fault::IdToken(IdTokenFlaw::Signature)),
    ("id-token-user", Takes::Nothing, "ID tokens name a person at another server", |_| Fault::IdToken(IdTokenFlaw::User)),
    ("refresh-patient", Takes::Text("ID", "pat-002"), "refreshed tokens are for this patient", |g| Fault::RefreshPatient(g.text)),
    ("authorize-issuer", Takes::Text("URL", "http://127.0.0.1:9"), "codes come with this `iss`", |g| Fault::AuthorizeIssuer(g.text)),
    ("authorize-state", Takes::Text("TEXT", "of-another-login"), "codes come with this `state`", |g| Fault::AuthorizeState(g.text)),
    ("revocation-unsupported", Takes::Nothing, "there is no revocation endpoint", |_| Fault::RevocationUnsupported),
    ("revocation-fails", Takes::Nothing, "the revocation endpoint answers 503", |_| Fault::RevocationFails),
    ("token-slow", Takes::Number("MILLISECONDS", 400), "the token endpoint waits", |g| Fault::TokenSlow(g.time())),
];

/// Bytes of a flood: more than a page has, and made in a moment.
const FLOOD_BYTES: u64 = 10_000_000;

/// The text, if it can stand as a number in JSON; anything else would break the body, which other faults do.
fn number(text: &str) -> String {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    if digits && !text.is_empty() { text.to_owned() } else { "0".to_owned() }
}

/// A fault as people find it in a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Named {
    /// Its name.
    pub name: &'static str,
    /// What may stand after its `=`, if anything may.
    pub takes: Option<&'static str>,
    /// What stands there when it is left out.
    pub default: Option<String>,
    /// What it does.
    pub does: &'static str,
}

/// Every fault that has a name, which is all of them.
pub fn named() -> impl Iterator<Item = Named> {
    ROWS.iter().map(|(name, takes, does, _)| {
        let (takes, default) = match takes {
            Takes::Nothing => (None, None),
            Takes::Text(takes, default) => (Some(*takes), Some((*default).to_owned())),
            Takes::Number(takes, default) => (Some(*takes), Some(default.to_string())),
            Takes::Resource => (Some("RESOURCE"), None),
        };
        Named { name, takes, default, does }
    })
}

/// Why a text is no fault.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum InvalidFault {
    /// There is none of this name.
    Name(String),
    /// The fault of this name takes nothing.
    Superfluous(String),
    /// The fault of this name takes something else, or cannot go without.
    Value(String),
}

impl fmt::Display for InvalidFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "no fault is called `{name}`"),
            Self::Superfluous(name) => write!(f, "`{name}` takes nothing after its name"),
            Self::Value(name) => {
                let takes = named().find(|named| named.name == name).and_then(|named| named.takes).unwrap_or("nothing");
                write!(f, "`{name}` takes {takes} after an `=`")
            }
        }
    }
}

impl std::error::Error for InvalidFault {}

impl FromStr for Fault {
    type Err = InvalidFault;

    fn from_str(text: &str) -> Result<Self, InvalidFault> {
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        let row = ROWS.iter().find(|(own, ..)| *own == name).ok_or_else(|| InvalidFault::Name(name.to_owned()))?;
        let (_, takes, _, make) = row;
        let wrong = || InvalidFault::Value(name.to_owned());
        let mut given = Given::default();
        match (*takes, value) {
            (Takes::Nothing, None) => {}
            (Takes::Nothing, Some(_)) => return Err(InvalidFault::Superfluous(name.to_owned())),
            (Takes::Text(_, default), value) => value.unwrap_or(default).clone_into(&mut given.text),
            (Takes::Number(_, default), None) => given.number = default,
            (Takes::Number(..), Some(value)) => given.number = value.parse().map_err(|_| wrong())?,
            (Takes::Resource, value) => {
                given.resource = value.and_then(|value| serde_json::from_str(value).ok()).ok_or_else(wrong)?;
                if !given.resource.is_object() {
                    return Err(wrong());
                }
            }
        }
        Ok(make(given))
    }
}

/// All names as JSON, for programs.
pub(crate) fn listed() -> Value {
    named().map(|one| json!({"name": one.name, "takes": one.takes, "does": one.does})).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_fault_is_found_by_its_name() {
        assert_eq!("gone".parse(), Ok(Fault::Gone));
        assert_eq!("foreign-match=Observation/O2".parse(), Ok(Fault::ForeignMatch("Observation/O2".into())));
        assert_eq!("foreign-match".parse(), Ok(Fault::ForeignMatch("Patient/pat-002".into())));
        assert_eq!("status=206".parse(), Ok(Fault::Status(206)));
        assert_eq!("next-link=http://h/fhir?a=b".parse(), Ok(Fault::NextLink("http://h/fhir?a=b".into())));
        assert_eq!("raced={\"id\":\"x\"}".parse(), Ok(Fault::Raced(json!({"id": "x"}))));
        for (text, says) in [
            ("gon", "no fault is called `gon`"),
            ("gone=1", "`gone` takes nothing after its name"),
            ("total=many", "`total` takes COUNT after an `=`"),
            ("raced", "`raced` takes RESOURCE after an `=`"),
            ("raced=[]", "`raced` takes RESOURCE after an `=`"),
        ] {
            assert_eq!(text.parse::<Fault>().map_err(|why| why.to_string()), Err(says.to_owned()));
        }
    }

    /// The name of a variant, without what it holds.
    fn variant(fault: &Fault) -> String {
        format!("{fault:?}").chars().take_while(char::is_ascii_alphanumeric).collect()
    }

    #[test]
    fn every_fault_has_a_name_of_its_own() {
        let text = |named: Named| format!("{}{}", named.name, if named.takes == Some("RESOURCE") { "={}" } else { "" });
        let faults: Vec<Fault> = named().map(|named| text(named).parse().unwrap()).collect();
        let variants: std::collections::BTreeSet<String> = faults.iter().map(variant).collect();
        // The variants as they stand in the source: a new one without a name fails here.
        let source = include_str!("../fault.rs");
        let (_, source) = source.split_once("pub enum Fault {").unwrap();
        let (source, _) = source.split_once("\n}").unwrap();
        let declared = source.lines().filter_map(|line| line.strip_prefix("    "));
        let declared = declared.filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()));
        let declared = declared.map(|line| line.chars().take_while(char::is_ascii_alphanumeric).collect());
        assert_eq!(variants, declared.collect());
    }
}
