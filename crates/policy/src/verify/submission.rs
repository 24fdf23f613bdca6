//! Transactions: every entry is judged as if it came alone, with its own look-ups; then all are sent as one, and every entry
//! of the answer is judged by its own request and by what it holds (b.13). One refusal refuses the whole.

use domain::Reason;
use fhir::json::{Document, Value, quote_into};

use super::write::{Advance, Writing, finish};
use super::{Asked, Part, Sealer, Step, parse, read, read_answer, search};
use crate::decide::Denial;
use crate::outcome;
use crate::permit::{Plan, UpstreamAnswer, UpstreamBody, UpstreamCall, Verb};
use crate::released::Counts;
use crate::shape::Shape;

/// One entry.
pub(crate) enum Item {
    /// A change, and the name other entries call what it creates.
    Write(Box<Writing>, Option<String>),
    /// A read or search, and whether it was looked up beforehand: what is not there for this session refuses the whole before
    /// anything is done, whether it is absent or somebody else's.
    Read(Box<Plan>, bool),
}

/// A transaction, from its request to its answer.
pub(crate) struct Transaction {
    items: Vec<Item>,
    /// The entry whose look-ups are being made; past the last, all is sent.
    at: usize,
}

impl Transaction {
    /// What is to be done first; `asks` are the first look-ups of the entries that need any, in order.
    pub(crate) fn new(items: Vec<Item>) -> Self {
        Self { items, at: 0 }
    }

    /// `Type/id` of all that is to change.
    pub(crate) fn targets(&self) -> Vec<String> {
        let writes = self.items.iter().filter_map(|item| match item {
            Item::Write(writing, _) => Some(writing.target()),
            Item::Read(..) => None,
        });
        writes.collect()
    }

    /// The next look-up from the entry at hand on, or the call that sends all.
    pub(crate) fn go_on(&mut self) -> Result<UpstreamCall, UpstreamCall> {
        while let Some(item) = self.items.get(self.at) {
            let wanted = match item {
                Item::Write(writing, _) => writing.wants(),
                Item::Read(plan, looked_up) => {
                    let one = matches!(plan.shape, Shape::Read { .. });
                    (one && !looked_up).then(|| plan.call.clone())
                }
            };
            if let Some(call) = wanted {
                return Ok(call);
            }
            self.at += 1;
        }
        Err(self.call())
    }

    pub(super) fn step(&mut self, plan: &mut Plan, answer: &UpstreamAnswer, seal: &mut Sealer<'_>) -> Step {
        match self.items.get_mut(self.at) {
            None => return self.answered(plan, answer, seal).into(),
            Some(Item::Read(inner, looked_up)) => {
                let part = looked_up_as(inner, answer, seal);
                if part.status != 200 {
                    return Step::Done(part);
                }
                *looked_up = true;
            }
            Some(Item::Write(writing, _)) => match writing.advance(&plan.cx, answer) {
                Advance::Ask(call) => return Step::Next(call),
                Advance::Ready => self.at += 1,
                // Whole: what is not there for one entry is said of the whole.
                Advance::Refused(denial) => return Step::Denied(denial),
                Advance::Failed(part) => return Step::Done(*part),
            },
        }
        match self.go_on() {
            Ok(call) => Step::Next(call),
            Err(call) => {
                plan.clauses = self.clauses();
                Step::Write(call)
            }
        }
    }

    fn clauses(&self) -> Vec<u32> {
        let clauses = self.items.iter().flat_map(|item| match item {
            Item::Write(writing, _) => writing.clause.into_iter().collect(),
            Item::Read(plan, _) => plan.clauses.clone(),
        });
        clauses.collect()
    }

    /// The Bundle, written anew: nothing of the client's but what was judged.
    fn call(&self) -> UpstreamCall {
        let mut out = br#"{"resourceType":"Bundle","type":"transaction","entry":["#.to_vec();
        for (at, item) in self.items.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.push(b'{');
            let (call, name, body) = match item {
                Item::Write(writing, name) => (writing.call(), name.as_deref(), writing.body()),
                Item::Read(plan, _) => (plan.call.clone(), None, None),
            };
            if let Some(name) = name {
                out.extend(*br#""fullUrl":"#);
                quote_into(&mut out, name);
                out.push(b',');
            }
            if let Some(body) = body {
                out.extend(*br#""resource":"#);
                out.extend_from_slice(body.as_bytes());
                out.push(b',');
            }
            let method = match (&call.verb, item) {
                (Verb::Put, _) => "PUT",
                (Verb::Delete, _) => "DELETE",
                (Verb::Post, Item::Write(..)) => "POST",
                _ => "GET",
            };
            out.extend(format!(r#""request":{{"method":"{method}","url":"#).into_bytes());
            let query = match &call.body {
                Some(UpstreamBody::Form(form)) => form.as_str(),
                _ => call.query.as_str(),
            };
            let path = call.path.trim_end_matches("/_search");
            let url = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
            quote_into(&mut out, &url);
            if let Some(tag) = &call.if_match {
                out.extend(*br#","ifMatch":"#);
                quote_into(&mut out, tag);
            }
            out.extend(*b"}}");
        }
        out.extend(*b"]}");
        let body = String::from_utf8(out).ok().map(UpstreamBody::Resource);
        UpstreamCall { verb: Verb::Post, path: String::new(), query: String::new(), body, if_match: None }
    }

    /// The answer to all of it.
    fn answered(&mut self, plan: &Plan, answer: &UpstreamAnswer, seal: &mut Sealer<'_>) -> Part {
        match answer.status {
            200 => {}
            404 | 410 => return Part::not_found(),
            409 | 412 => {
                let says = "a resource was changed by somebody else; nothing was done";
                return Part::refused(412, Reason::VersionConflict, outcome::outcome("error", "conflict", says));
            }
            400 | 405 | 413 | 422 => {
                let says = "the server behind the gate refused the transaction; nothing was done";
                return Part::refused(422, Reason::UpstreamRefused, outcome::outcome("error", "processing", says));
            }
            429 => return Part::unavailable(),
            401 | 403 => return Part::broken(),
            // A connection that broke is among these, as 503: nobody knows what was done by then.
            _ => return unknown(),
        }
        // It says it was done; an answer that cannot be told apart by entry leaves open what was (BA-17).
        let Some(document) = parse(answer) else { return unknown() };
        let bundle = document.root();
        let fits = bundle.get("resourceType").is_some_and(|kind| kind.is_str("Bundle"))
            && bundle.get("type").is_some_and(|kind| kind.is_str("transaction-response"));
        let entries: Vec<Value<'_>> = bundle.get("entry").map(|list| list.elements().collect()).unwrap_or_default();
        if !fits || entries.len() != self.items.len() {
            return unknown();
        }
        // All or none: a change that was not made, within what is said to be done, contradicts itself.
        let done = |(item, entry): (&Item, &Value<'_>)| {
            matches!(item, Item::Read(..)) || matches!(said_status(*entry), 200 | 201 | 204)
        };
        if !self.items.iter().zip(&entries).all(done) {
            return unknown();
        }
        let parts: Vec<Part> = std::mem::take(&mut self.items)
            .iter_mut()
            .zip(entries)
            .map(|(item, entry)| item_answered(plan, item, entry, &document, seal))
            .collect();
        joined(parts)
    }
}

/// The status an entry of an answer says: three digits, and a reason phrase behind a space.
fn said_status(entry: Value<'_>) -> u16 {
    let status = entry.get("response").and_then(|response| response.get_str("status")).unwrap_or_default();
    let code = status.split(' ').next().unwrap_or_default();
    let is_code = code.len() == 3 && code.bytes().all(|digit| digit.is_ascii_digit());
    code.parse().ok().filter(|_| is_code).unwrap_or(0)
}

/// What a read of a transaction would bring if it came alone.
fn looked_up_as(plan: &mut Plan, answer: &UpstreamAnswer, seal: &mut Sealer<'_>) -> Part {
    let document = match read_answer(answer, Asked::Instance) {
        Ok(document) => document,
        Err(part) => return *part,
    };
    match &plan.shape {
        Shape::Read { id } => read(plan, id, None, document.root(), &document, answer, seal),
        _ => Part::broken(),
    }
}

/// One entry of the answer, as the answer to its request alone.
fn item_answered(
    plan: &Plan,
    item: &mut Item,
    entry: Value<'_>,
    document: &Document<'_>,
    seal: &mut Sealer<'_>,
) -> Part {
    let response = entry.get("response");
    let text = |name: &str| response.and_then(|response| response.get_str(name)).map(std::borrow::Cow::into_owned);
    let status = said_status(entry);
    let resource = entry.get("resource");
    match item {
        Item::Write(writing, _) => {
            let alone = UpstreamAnswer {
                status,
                content_type: resource.map(|_| "application/fhir+json".to_owned()),
                body: resource.map(|resource| resource.raw().as_bytes().to_vec()).unwrap_or_default(),
                etag: text("etag"),
                last_modified: None,
                location: text("location"),
            };
            finish(plan, writing, &alone, seal)
        }
        Item::Read(inner, _) => {
            let Some(resource) = resource.filter(|_| status == 200) else {
                return if matches!(status, 404 | 410) { Part::not_found() } else { Part::broken() };
            };
            let answer = UpstreamAnswer { status, ..UpstreamAnswer::default() };
            let mut shape = std::mem::replace(&mut inner.shape, Shape::Gone);
            match &mut shape {
                Shape::Read { id } => read(inner, id, None, resource, document, &answer, seal),
                Shape::Search(shape) => search::within(inner, shape, resource, document, seal),
                _ => Part::broken(),
            }
        }
    }
}

/// One Bundle of all answers.
fn joined(parts: Vec<Part>) -> Part {
    let mut out = br#"{"resourceType":"Bundle","type":"transaction-response","entry":["#.to_vec();
    let mut all = Part::new(200, None, Vec::new());
    for (at, part) in parts.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        entry(&mut out, &part);
        let Counts { released, filtered } = part.counts;
        all.counts.released = all.counts.released.saturating_add(released);
        all.counts.filtered = all.counts.filtered.saturating_add(filtered);
        all.resources.extend(part.resources);
        all.findings.extend(part.findings);
        all.clauses.extend(part.clauses);
    }
    out.extend(*b"]}");
    all.body = out;
    all
}

fn entry(out: &mut Vec<u8>, part: &Part) {
    let Part { status, location, etag, body, reason, .. } = part;
    out.extend(format!(r#"{{"response":{{"status":"{status}""#).into_bytes());
    for (name, value) in [("location", location), ("etag", etag)] {
        if let Some(value) = value {
            out.extend(format!(r#","{name}":"#).into_bytes());
            quote_into(out, value);
        }
    }
    // A body of ours about the entry is its outcome; a resource is the entry's own.
    let is_outcome = reason.is_some() || body.starts_with(br#"{"resourceType":"OperationOutcome""#);
    if is_outcome && !body.is_empty() {
        out.extend(*br#","outcome":"#);
        out.extend_from_slice(body);
    }
    out.push(b'}');
    if !is_outcome && !body.is_empty() {
        out.extend(*br#","resource":"#);
        out.extend_from_slice(body);
    }
    out.push(b'}');
}

fn unknown() -> Part {
    let says = "it is not known what was done; read before trying again";
    Part::refused(500, Reason::OutcomeUnknown, outcome::outcome("error", "incomplete", says))
}

/// What a transaction's entry may be besides a change.
pub(crate) fn refused_within() -> Denial {
    Denial::new(Reason::NotSupported, "a transaction takes reads, searches and changes of single instances")
}
