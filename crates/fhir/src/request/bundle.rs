//! Batches and transactions: each entry is a request of its own, read as one that came alone (R4 "batch/transaction").

use std::borrow::Cow;
use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::decode::Pair;
use super::query::{self, Offers};
use super::write::too_large;
use super::{
    BUNDLE_ENTRIES_MAX, Body, Conditions, Interaction, InvalidKind, InvalidRequest, Method, Raw, bulk, media, quote,
};
use crate::json::{Document, Value};

/// Longest `fullUrl`: `urn:uuid:…` or an address.
const FULL_URL_BYTES_MAX: usize = 1024;

/// What holds the entries together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SubmissionKind {
    /// Each entry for itself.
    Batch,
    /// All or none.
    Transaction,
}

impl SubmissionKind {
    /// `batch` or `transaction`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Transaction => "transaction",
        }
    }
}

/// A Bundle of requests.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Submission {
    /// Batch or transaction.
    pub kind: SubmissionKind,
    /// The requests, in order.
    pub entries: Vec<Entry>,
}

/// One request of a Bundle.
#[derive(Clone, Eq, PartialEq)]
pub struct Entry {
    /// What other entries call the resource it creates: `urn:uuid:…`.
    pub full_url: Option<String>,
    /// The request as sent, for the record: method and address.
    pub line: String,
    /// What it asks for, or why it is refused.
    pub asks: Result<Interaction, InvalidRequest>,
}

/// Names instances: debug output shows none of it.
impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry([sealed])")
    }
}

/// What is wrong with the Bundle as a whole refuses it whole; what is wrong with one request stays with its entry.
pub(super) fn read(raw: &Raw<'_>, pairs: &[Pair]) -> Result<Submission, InvalidRequest> {
    query::view(pairs, Offers::Format)?;
    let malformed = |what: &str| Err(InvalidRequest::malformed(what));
    let Some(body) = raw.body else { return malformed("this request needs a Bundle as its body") };
    if !media::is_fhir(body.media) {
        return Err(InvalidRequest::new(InvalidKind::Media, "send the Bundle as `application/fhir+json`"));
    }
    too_large(body.bytes)?;
    let document = Document::parse(body.bytes)
        .map_err(|why| InvalidRequest::malformed(format!("the body is not the JSON that is read here: {why}")))?;
    let bundle = document.root();
    let kind = match (bundle.get_str("resourceType").as_deref(), bundle.get_str("type").as_deref()) {
        (Some("Bundle"), Some("batch")) => SubmissionKind::Batch,
        (Some("Bundle"), Some("transaction")) => SubmissionKind::Transaction,
        _ => return malformed("the body is no Bundle of type `batch` or `transaction`"),
    };
    let list: Vec<Value<'_>> = match bundle.get("entry") {
        None => Vec::new(),
        Some(list) if list.is_array() => list.elements().take(BUNDLE_ENTRIES_MAX + 1).collect(),
        Some(_) => return malformed("`entry` is no list"),
    };
    if list.len() > BUNDLE_ENTRIES_MAX {
        let what = format!("at most {BUNDLE_ENTRIES_MAX} entries are taken at once");
        return Err(InvalidRequest::new(InvalidKind::TooLarge, what));
    }
    let mut names = HashSet::new();
    let mut entries = Vec::with_capacity(list.len());
    for value in list {
        let entry = entry(value, raw.conditions.prefer)?;
        // BA-07: two resources of one name make every reference to it ambiguous.
        if let Some(name) = &entry.full_url
            && !names.insert(name.clone())
        {
            return malformed("two entries have one `fullUrl`");
        }
        entries.push(entry);
    }
    Ok(Submission { kind, entries })
}

fn entry(value: Value<'_>, prefer: Option<&str>) -> Result<Entry, InvalidRequest> {
    let malformed = InvalidRequest::malformed;
    let request = value.get("request").ok_or_else(|| malformed("an entry has no `request`"))?;
    let (Some(name), Some(url)) = (request.get_str("method"), request.get_str("url")) else {
        return Err(malformed("an entry's `request` has no `method` or no `url`"));
    };
    let method = match &*name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "PATCH" => Method::Patch,
        "DELETE" => Method::Delete,
        _ => return Err(malformed("an entry's `method` is none of FHIR's")),
    };
    let full_url = match value.get("fullUrl") {
        None => None,
        Some(url) => match url.as_str() {
            Some(url) if url.len() <= FULL_URL_BYTES_MAX => Some(url.into_owned()),
            _ => return Err(malformed("an entry's `fullUrl` is no address")),
        },
    };
    let resource = value.get("resource");
    // BA-16: a Bundle would hide entries, and Parameters are nothing but a patch here.
    let hides = |resource: Value<'_>| match resource.get_str("resourceType").as_deref() {
        Some("Bundle") => true,
        Some("Parameters") => method != Method::Patch,
        _ => false,
    };
    if resource.is_some_and(hides) {
        return Err(malformed("an entry's resource is a Bundle or Parameters"));
    }
    let line = format!("{name} {url}");
    let asks = ask(method, &url, request, resource, prefer);
    Ok(Entry { full_url, line, asks })
}

fn ask(
    method: Method,
    url: &str,
    request: Value<'_>,
    resource: Option<Value<'_>>,
    prefer: Option<&str>,
) -> Result<Interaction, InvalidRequest> {
    // Relative to the base, and so written with or without a slash in front.
    let path = url.strip_prefix('/').unwrap_or(url);
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    if path.is_empty() {
        return Err(InvalidRequest::malformed(format!("an entry cannot ask for {}", quote(url))));
    }
    let path = format!("/{path}");
    // Whatever else is wrong with it: nobody exports from within a Bundle (S1-13).
    if bulk::asks_export(&path) {
        return Err(bulk::refused());
    }
    let text = |name: &str| match request.get(name) {
        None => Ok(None),
        Some(value) => {
            value.as_str().map(Some).ok_or_else(|| InvalidRequest::malformed(format!("an entry's `{name}` is no text")))
        }
    };
    let (if_match, if_none_match, if_none_exist) = (text("ifMatch")?, text("ifNoneMatch")?, text("ifNoneExist")?);
    if request.get("ifModifiedSince").is_some() {
        return Err(InvalidRequest::not_supported("`ifModifiedSince` is not supported"));
    }
    let body = resource.map(|resource| body(method, resource)).transpose()?;
    let raw = Raw {
        method,
        path: &path,
        query,
        // An entry is answered within a Bundle, so always as a resource.
        accept: Some("application/fhir+json"),
        body: body.as_ref().map(|(media, bytes)| Body { media: Some(media), bytes }),
        conditions: Conditions {
            if_match: if_match.as_deref(),
            if_none_match: if_none_match.as_deref().filter(|_| !matches!(method, Method::Get | Method::Head)),
            if_none_exist: if_none_exist.as_deref(),
            // Said once, of all.
            prefer,
        },
    };
    match super::read(&raw)? {
        // The statement is public, and a Bundle within a Bundle has been refused by its address already.
        Interaction::Capabilities | Interaction::Bundle(_) | Interaction::Bulk(_) => {
            Err(InvalidRequest::not_supported("this cannot be asked within a Bundle"))
        }
        // Its content would be no resource.
        Interaction::Binary { id, proof, view, .. } => Ok(Interaction::Binary { id, proof, raw: false, view }),
        other => Ok(other),
    }
}

/// The body a request alone would have had. A JSON Patch travels as a Binary (R4 "patch" in batches).
fn body(method: Method, resource: Value<'_>) -> Result<(&'static str, Cow<'_, [u8]>), InvalidRequest> {
    const FHIR: &str = "application/fhir+json";
    if method != Method::Patch || !resource.get("resourceType").is_some_and(|kind| kind.is_str("Binary")) {
        return Ok((FHIR, Cow::Borrowed(resource.raw().as_bytes())));
    }
    let data = resource.get_str("data").and_then(|data| STANDARD.decode(&*data).ok());
    match data {
        Some(data) if resource.get("contentType").is_some_and(|media| media.is_str(media::JSON_PATCH)) => {
            Ok((media::JSON_PATCH, Cow::Owned(data)))
        }
        _ => Err(InvalidRequest::new(InvalidKind::Media, "a patch within a Bundle is a Binary of JSON Patch")),
    }
}

impl Submission {
    /// Whether every entry could be read; the first that could not, else.
    ///
    /// # Errors
    /// That entry's reason.
    pub fn whole(&self) -> Result<(), &InvalidRequest> {
        self.entries.iter().find_map(|entry| entry.asks.as_ref().err()).map_or(Ok(()), Err)
    }
}
