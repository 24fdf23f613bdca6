//! A Bundle of requests: a transaction, done as a whole or not at all, or a batch, each entry for itself.

use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;

use serde_json::Value;

use crate::fault::Fault;
use crate::serve::message::{Ask, Bundle, Content, Entry, Refused, Reply, etag, part};
use crate::serve::outcome;
use crate::serve::route::{State, segments};
use crate::serve::write::{Target, Write};
use crate::shelf::Shelf;
use crate::time;

/// Most entries of one Bundle.
const ENTRIES_MAX: usize = 1000;

/// One entry, read.
struct Part {
    method: String,
    path: String,
    query: String,
    full_url: Option<String>,
    resource: Option<Value>,
    /// Given out beforehand to what is created, so that other entries can refer to it.
    id: Option<String>,
    if_match: Option<String>,
    if_none_exist: Option<String>,
    if_none_match: Option<String>,
}

impl Part {
    fn read(entry: &Value, base: &str) -> Result<Self, Refused> {
        let request = |key: &str| {
            entry.get("request").and_then(|request| request.get(key)).and_then(Value::as_str).map(str::to_owned)
        };
        let (Some(method), Some(url)) = (request("method"), request("url")) else {
            return Err(Refused::new(400, "processing", "HAPI-0528: an entry has no request.method or request.url"));
        };
        let url = url.strip_prefix(base).unwrap_or(&url).trim_start_matches('/');
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        Ok(Self {
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            full_url: entry.get("fullUrl").and_then(Value::as_str).map(str::to_owned),
            resource: entry.get("resource").cloned(),
            id: None,
            if_match: request("ifMatch"),
            if_none_exist: request("ifNoneExist"),
            if_none_match: request("ifNoneMatch"),
        })
    }

    /// Its place in the order of processing (R4 §3.1.0.11.2).
    fn rank(&self) -> u8 {
        match self.method.as_str() {
            "DELETE" => 0,
            "POST" => 1,
            "PUT" | "PATCH" => 2,
            _ => 3,
        }
    }

    /// The instance that it writes, as `Type/id`.
    fn instance(&self) -> Option<String> {
        let segments = segments(&self.path);
        match (self.method.as_str(), segments.as_slice()) {
            ("POST", [kind]) => Some(format!("{kind}/{}", self.id.as_deref()?)),
            ("PUT" | "DELETE", [kind, id]) => Some(format!("{kind}/{id}")),
            _ => None,
        }
    }

    fn ask<'a>(&'a self, prefer: Option<&'a str>) -> Ask<'a> {
        Ask {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            accept: Some("application/fhir+json"),
            if_match: self.if_match.as_deref(),
            if_none_exist: self.if_none_exist.as_deref(),
            if_none_match: self.if_none_match.as_deref(),
            prefer,
            ..Ask::default()
        }
    }
}

/// How the entries of a Bundle hang together.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Together {
    AllOrNothing,
    EachForItself,
}

impl State {
    /// Answers a Bundle posted to the base.
    pub(super) fn bundle(&self, ask: &Ask<'_>, faults: &[Fault]) -> Reply {
        let mut shelf = self.shelf.write().unwrap_or_else(PoisonError::into_inner);
        self.race(&mut shelf, faults);
        self.process(&mut shelf, ask, faults).unwrap_or_else(Reply::from)
    }

    fn process(&self, shelf: &mut Shelf, ask: &Ask<'_>, faults: &[Fault]) -> Result<Reply, Refused> {
        let sent = self.body(shelf, ask)?;
        let text = |key: &str| sent.get(key).and_then(Value::as_str).unwrap_or("");
        let (together, kind) = match (text("resourceType"), text("type")) {
            ("Bundle", "transaction") => (Together::AllOrNothing, "transaction-response"),
            ("Bundle", "batch") => (Together::EachForItself, "batch-response"),
            (_, other) => {
                let text = format!("HAPI-0527: Unable to process transaction where incoming Bundle.type = {other}");
                return Err(Refused::new(400, "processing", &text));
            }
        };
        let sent = sent.get("entry").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        if sent.len() > ENTRIES_MAX {
            return Err(Refused::new(413, "too-long", "too many entries"));
        }
        let mut parts = sent.iter().map(|entry| Part::read(entry, &self.base)).collect::<Result<Vec<_>, _>>()?;
        if together == Together::AllOrNothing {
            self.join(shelf, &mut parts)?;
        }
        let mut entries = self.each(shelf, &mut parts, together, ask.prefer, faults)?;
        for fault in faults {
            match fault {
                Fault::ResponseShort(missing) => entries.truncate(entries.len().saturating_sub(*missing)),
                Fault::ResponseReversed => entries.reverse(),
                _ => {}
            }
        }
        let bundle = Bundle { kind, id: "response".to_owned(), now: self.now, entries, ..Bundle::default() };
        Ok(Reply { status: 200, content: Content::Bundle(Box::new(bundle)), ..Reply::default() })
    }

    /// Does the entries in their order of processing; the answers come in the order of the entries.
    fn each(
        &self,
        shelf: &mut Shelf,
        parts: &mut [Part],
        together: Together,
        prefer: Option<&str>,
        faults: &[Fault],
    ) -> Result<Vec<Entry>, Refused> {
        let at = shelf.tick(self.now);
        let mut order: Vec<(usize, &mut Part)> = parts.iter_mut().enumerate().collect();
        order.sort_by_key(|(_, part)| part.rank());
        let (mut written, mut entries) = (Vec::new(), Vec::new());
        for (index, part) in order {
            let before = written.len();
            let done = self.one(shelf, part, at, prefer, faults, &mut written);
            let reply = match (done, together) {
                (Ok(reply), Together::AllOrNothing) if reply.status >= 400 => Err(refusal(reply)),
                (Ok(reply), _) => Ok(reply),
                (Err(refused), Together::AllOrNothing) => Err(refused),
                (Err(refused), Together::EachForItself) => Ok(refused.into()),
            };
            match reply {
                Ok(reply) => entries.push((index, self.entry(reply, written.len() > before, faults))),
                Err(refused) => {
                    for (kind, id) in written.iter().rev() {
                        shelf.undo(kind, id);
                    }
                    return Err(refused);
                }
            }
        }
        entries.sort_by_key(|(index, _)| *index);
        Ok(entries.into_iter().map(|(_, entry)| entry).collect())
    }

    /// Does one entry.
    fn one(
        &self,
        shelf: &mut Shelf,
        part: &mut Part,
        at: i64,
        prefer: Option<&str>,
        faults: &[Fault],
        written: &mut Vec<(String, String)>,
    ) -> Result<Reply, Refused> {
        let (resource, id) = (part.resource.take(), part.id.take());
        let decoded = segments(&part.path);
        let segments: Vec<&str> = decoded.iter().map(String::as_str).collect();
        let ask = part.ask(prefer);
        let Some(target) = Target::read(ask.method, &segments) else {
            return Ok(self.look(shelf, &ask, faults));
        };
        let missing = || Refused::new(400, "processing", "HAPI-0530: an entry has no resource to write");
        let versions = |shelf: &Shelf, kind: &str, id: &str| shelf.versions(kind, id).len();
        let known = match &target {
            Target::Delete(kind, id) => versions(shelf, kind, id),
            _ => 0,
        };
        let deletes = matches!(target, Target::Delete(..));
        let write = Write { target, resource: resource.ok_or_else(missing), id, at };
        let (reply, stored) = self.write(shelf, write, &ask, faults)?;
        // A delete of what was deleted already added no version, so there is none to take back.
        if !deletes || versions(shelf, &stored.kind, &stored.id) > known {
            written.push((stored.kind, stored.id));
        }
        Ok(reply)
    }

    /// Gives ids to what is created, and replaces the temporary names of entries by them.
    fn join(&self, shelf: &mut Shelf, parts: &mut [Part]) -> Result<(), Refused> {
        let (mut names, mut written) = (HashMap::new(), HashSet::new());
        for part in parts.iter_mut() {
            if part.method == "POST" && !part.path.is_empty() && !part.path.contains(['/', '$']) {
                part.id = Some(shelf.fresh_id(&part.path));
            }
            let Some(instance) = part.instance() else { continue };
            if !written.insert(instance.clone()) {
                let text = format!(
                    "HAPI-0535: Transaction bundle contains multiple resources with ID: {instance}, as did that of {}",
                    self.bystander(shelf, &instance)
                );
                return Err(Refused::new(400, "processing", &text));
            }
            let Some(name) = part.full_url.clone().filter(|_| part.method != "DELETE") else { continue };
            if names.insert(name.clone(), instance).is_some() {
                return Err(Refused::new(400, "processing", &format!("HAPI-0532: fullUrl {name} comes twice")));
            }
        }
        parts.iter_mut().filter_map(|part| part.resource.as_mut()).for_each(|resource| replace(resource, &names));
        Ok(())
    }

    /// The answer to one entry as an entry of the answer.
    fn entry(&self, reply: Reply, wrote: bool, faults: &[Fault]) -> Entry {
        let header = |name: &str| reply.headers.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_str());
        let location = header("location").or_else(|| header("content-location"));
        let relative = location.map(|url| url.strip_prefix(&self.base).unwrap_or(url).trim_start_matches('/'));
        let reason = http::StatusCode::from_u16(reply.status).ok().and_then(|status| status.canonical_reason());
        let mut response = part(&[
            ("status", Some(format!("{} {}", reply.status, reason.unwrap_or("Unknown")))),
            ("location", relative.filter(|_| wrote).map(str::to_owned)),
            ("etag", reply.version.as_deref().map(etag)),
            ("lastModified", reply.modified.filter(|_| !faults.contains(&Fault::EtagOnly)).map(time::instant)),
        ]);
        let (mut content, mut told) = (reply.content, None);
        if let Content::Plain(outcome) = content {
            (content, told) = (Content::Empty, Some(outcome));
        }
        for fault in faults {
            if let Fault::ResponseOutcome(text) = fault {
                told = Some(outcome::outcome("informational", text));
            }
        }
        if let (Some(members), Some(told)) = (response.as_object_mut(), told) {
            members.insert("outcome".to_owned(), told);
        }
        let mut entry = match content {
            Content::Resource(resource) => Entry::found(resource, None),
            content => Entry { content, ..Entry::default() },
        };
        entry.response = Some(response);
        entry
    }
}

/// An answer that spoils a transaction.
fn refusal(reply: Reply) -> Refused {
    match reply.content {
        Content::Plain(outcome) => Refused { status: reply.status, outcome },
        _ => Refused::new(reply.status, "processing", "HAPI-0533: an entry failed"),
    }
}

/// Replaces every `reference` and `url` that is exactly the temporary name of an entry (R4 §3.1.0.11.2).
fn replace(value: &mut Value, names: &HashMap<String, String>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, names)),
        Value::Object(members) => {
            for (key, member) in members {
                match member {
                    Value::String(text) if key == "reference" || key == "url" => {
                        if let Some(instance) = names.get(text.as_str()) {
                            text.clone_from(instance);
                        }
                    }
                    member => replace(member, names),
                }
            }
        }
        _ => {}
    }
}
