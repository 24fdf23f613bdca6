//! A request as it is asked and an answer as it is meant: what stands between the wire and the shelf.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::search::{self, Mode};
use crate::serve::outcome;
use crate::shelf::Stored;

/// A request, read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a str,
    /// Below the base, without the leading slash.
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) body: &'a str,
    pub(crate) accept: Option<&'a str>,
    pub(crate) content_type: Option<&'a str>,
    pub(crate) if_match: Option<&'a str>,
    pub(crate) if_modified_since: Option<&'a str>,
    pub(crate) if_none_exist: Option<&'a str>,
    pub(crate) if_none_match: Option<&'a str>,
    pub(crate) prefer: Option<&'a str>,
}

impl Ask<'_> {
    /// Every parameter: of the query, and of the form or Parameters resource that a POST brings along.
    pub(crate) fn pairs(&self) -> Vec<(String, String)> {
        let mut pairs = search::pairs(self.query);
        if self.method != "POST" {
            return pairs;
        }
        if !self.content_type.is_some_and(|kind| kind.contains("json")) {
            pairs.extend(search::pairs(self.body));
            return pairs;
        }
        let parameters: Value = serde_json::from_str(self.body).unwrap_or_default();
        for parameter in parameters.get("parameter").and_then(Value::as_array).into_iter().flatten() {
            let name = parameter.get("name").and_then(Value::as_str);
            let members = parameter.as_object().into_iter().flatten();
            let value = members.filter(|(key, _)| key.starts_with("value")).map(|(_, value)| value).next();
            if let (Some(name), Some(value)) = (name, value) {
                pairs.push((name.to_owned(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
            }
        }
        pairs
    }

    /// What the caller wants back from a write.
    pub(crate) fn wants(&self) -> Wants {
        let preferences = self.prefer.unwrap_or("").split([',', ';']).map(str::trim);
        preferences
            .filter_map(|preference| match preference {
                "return=minimal" => Some(Wants::Nothing),
                "return=OperationOutcome" => Some(Wants::Outcome),
                _ => None,
            })
            .next()
            .unwrap_or(Wants::Resource)
    }
}

/// What an answer to a write carries (R4 §3.1.0.1.6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wants {
    Resource,
    Outcome,
    Nothing,
}

/// What is in an answer, before it is bytes.
#[derive(Clone, Debug, Default)]
pub(crate) enum Content {
    #[default]
    Empty,
    /// Written as it is, untouched by faults.
    Plain(Value),
    Resource(Arc<Value>),
    Bundle(Box<Bundle>),
    /// The bytes of a Binary with its content type.
    Raw(String, Vec<u8>),
}

/// A Bundle before it is text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bundle {
    pub(crate) kind: &'static str,
    pub(crate) id: String,
    pub(crate) now: i64,
    pub(crate) total: Option<usize>,
    pub(crate) self_link: Option<String>,
    pub(crate) next_link: Option<String>,
    pub(crate) entries: Vec<Entry>,
    /// Copies of this resource follow the entries until the body has so many bytes.
    pub(crate) flood: Option<(Arc<Value>, u64)>,
}

/// One entry of a Bundle.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    /// `Type/id`, for the `fullUrl`; without one there is none.
    pub(crate) name: Option<String>,
    pub(crate) content: Content,
    pub(crate) mode: Option<Mode>,
    pub(crate) request: Option<Value>,
    pub(crate) response: Option<Value>,
}

impl Entry {
    /// An entry of a searchset.
    pub(crate) fn found(resource: Arc<Value>, mode: Option<Mode>) -> Self {
        let text = |key: &str| resource.get(key).and_then(Value::as_str).unwrap_or("");
        let name = Some(format!("{}/{}", text("resourceType"), text("id")));
        Self { name, content: Content::Resource(resource), mode, ..Self::default() }
    }
}

/// An answer before faults of the transport.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Version of what was read or written.
    pub(crate) version: Option<String>,
    /// When that was last changed.
    pub(crate) modified: Option<i64>,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) content: Content,
}

impl Reply {
    pub(crate) fn plain(status: u16, value: Value) -> Self {
        Self { status, content: Content::Plain(value), ..Self::default() }
    }

    /// An answer about one version, without content.
    pub(crate) fn about(status: u16, stored: &Stored) -> Self {
        Self { status, version: Some(stored.version.clone()), modified: Some(stored.updated), ..Self::default() }
    }
}

/// A refusal: a status and an OperationOutcome that says too much.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) outcome: Value,
}

impl Refused {
    pub(crate) fn new(status: u16, code: &str, text: &str) -> Self {
        Self { status, outcome: outcome::outcome(code, text) }
    }
}

impl From<Refused> for Reply {
    fn from(refused: Refused) -> Self {
        Self::plain(refused.status, refused.outcome)
    }
}

/// The entity tag of a version, as FHIR writes it (R4 §3.1.0.6).
pub(crate) fn etag(version: &str) -> String {
    format!("W/\"{version}\"")
}

/// A part of `request` or `response` in a history entry or a transaction's answer, without the absent members.
pub(crate) fn part(members: &[(&str, Option<String>)]) -> Value {
    let present = members.iter().filter_map(|(key, value)| Some(((*key).to_owned(), json!(value.as_ref()?))));
    Value::Object(present.collect())
}
