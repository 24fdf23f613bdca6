//! Create, update and delete: what is refused, what is stored, and what the answer says about it.

use serde_json::{Map, Value, json};

use crate::fault::Fault;
use crate::serve::message::{Ask, Content, Refused, Reply, Wants};
use crate::serve::outcome;
use crate::serve::render::own;
use crate::serve::route::{State, find};
use crate::shelf::{Found, Shelf, Stored};

/// What a write asks for, its resource apart.
pub(crate) enum Target<'a> {
    Create(&'a str),
    Update(&'a str, &'a str),
    Delete(&'a str, &'a str),
    /// An update or delete of whatever a query finds.
    Conditional,
}

impl<'a> Target<'a> {
    /// The write that this method and these path segments ask for; none: they ask for none.
    pub(crate) fn read(method: &str, segments: &[&'a str]) -> Option<Self> {
        let (kind, rest) = segments.split_first()?;
        kind.parse::<fhir::ResourceType>().ok()?;
        match (method, rest) {
            ("POST", []) => Some(Self::Create(kind)),
            ("PUT" | "DELETE", []) => Some(Self::Conditional),
            ("PUT", [id]) => Some(Self::Update(kind, id)),
            ("DELETE", [id]) => Some(Self::Delete(kind, id)),
            _ => None,
        }
    }
}

/// A write to be done.
pub(crate) struct Write<'a> {
    pub(crate) target: Target<'a>,
    pub(crate) resource: Result<Value, Refused>,
    /// The id of what is created, when it was given out beforehand.
    pub(crate) id: Option<String>,
    /// When it happens.
    pub(crate) at: i64,
}

impl State {
    /// Does a write and answers it. What it wrote comes along, so that a transaction can take it back.
    pub(super) fn write(
        &self,
        shelf: &mut Shelf,
        write: Write<'_>,
        ask: &Ask<'_>,
        faults: &[Fault],
    ) -> Result<(Reply, Stored), Refused> {
        if faults.contains(&Fault::WriteConflict) {
            let text = format!("HAPI-0550: version constraint failed in row of {}", self.bystander(shelf, ask.path));
            return Err(Refused::new(409, "conflict", &text));
        }
        if ask.if_none_exist.is_some() {
            return Err(Refused::new(412, "not-supported", "HAPI-0949: conditional creates are not enabled here"));
        }
        match write.target {
            Target::Conditional => {
                Err(Refused::new(412, "not-supported", "HAPI-0959: conditional writes are not enabled here"))
            }
            Target::Create(kind) => {
                let mut resource = self.fitting(shelf, write.resource?, kind)?;
                rewrite(&mut resource, faults);
                let id = write.id.unwrap_or_else(|| shelf.fresh_id(kind));
                let stored = shelf.write(kind, &id, resource, write.at);
                Ok((self.written(shelf, 201, &stored, ask, faults), stored))
            }
            Target::Update(kind, id) => {
                let mut resource = self.fitting(shelf, write.resource?, kind)?;
                self.same_id(shelf, &resource, id)?;
                self.if_match(shelf, kind, id, ask, faults)?;
                rewrite(&mut resource, faults);
                let status = if matches!(shelf.find(kind, id), Found::Here(_)) { 200 } else { 201 };
                let stored = shelf.write(kind, id, resource, write.at);
                Ok((self.written(shelf, status, &stored, ask, faults), stored))
            }
            Target::Delete(kind, id) => {
                self.if_match(shelf, kind, id, ask, faults)?;
                let stored = match shelf.find(kind, id) {
                    Found::Here(_) => shelf.delete(kind, id, write.at),
                    // What is deleted already stays as it is.
                    Found::Deleted => {
                        shelf.versions(kind, id).last().cloned().ok_or_else(|| self.gone(shelf, kind, id))?
                    }
                    Found::Absent => {
                        let outcome = outcome::not_found(kind, id, &self.bystander(shelf, id));
                        return Err(Refused { status: 404, outcome });
                    }
                };
                Ok((self.written(shelf, 200, &stored, ask, faults), stored))
            }
        }
    }

    /// Puts what another system is said to write first.
    pub(super) fn race(&self, shelf: &mut Shelf, faults: &[Fault]) {
        for fault in faults {
            if let Fault::Raced(resource) = fault {
                let at = shelf.tick(self.now);
                let _known = shelf.put(resource.clone(), at);
            }
        }
    }

    /// The resource in the body of a request.
    pub(super) fn body(&self, shelf: &Shelf, ask: &Ask<'_>) -> Result<Value, Refused> {
        if ask.content_type.is_some_and(|kind| !kind.contains("json")) {
            let text = "HAPI-0382: the content type of a write must be application/fhir+json";
            return Err(Refused::new(415, "not-supported", text));
        }
        if ask.body.is_empty() {
            return Err(Refused::new(400, "processing", "HAPI-0446: no body was supplied in the request"));
        }
        serde_json::from_str(ask.body).map_err(|error| {
            let text = format!(
                "HAPI-1861: failed to parse the request body as JSON: {error}; the last good one was of {}",
                self.bystander(shelf, ask.path)
            );
            Refused::new(400, "processing", &text)
        })
    }

    /// The resource, if it is one and of that type.
    fn fitting(&self, shelf: &Shelf, resource: Value, kind: &str) -> Result<Value, Refused> {
        let bystander = self.bystander(shelf, "");
        let Some(members) = resource.as_object() else {
            return Err(Refused::new(400, "processing", &format!("HAPI-1858: no resource, unlike {bystander}")));
        };
        let own = members.get("resourceType").and_then(Value::as_str).unwrap_or("");
        if own != kind {
            let text =
                format!("HAPI-2003: incorrect resource type \"{own}\" for {kind}, as in the last body for {bystander}");
            return Err(Refused::new(400, "processing", &text));
        }
        match malformed(members) {
            Some(key) => {
                let text = format!("{kind}.{key} is malformed; compare {kind}?patient={bystander}");
                Err(Refused::new(422, "structure", &text))
            }
            None => Ok(resource),
        }
    }

    fn same_id(&self, shelf: &Shelf, resource: &Value, id: &str) -> Result<(), Refused> {
        let own = resource.get("id").and_then(Value::as_str);
        if own == Some(id) && fhir::Id::fits(id) {
            return Ok(());
        }
        let text = format!(
            "HAPI-0420: the body has the id \"{}\", the URL \"{id}\"; did you mean {}?",
            own.unwrap_or(""),
            self.bystander(shelf, id)
        );
        Err(Refused::new(400, "processing", &text))
    }

    /// Whether the version that the caller knows is still the current one (R4 §3.1.0.5).
    fn if_match(&self, shelf: &Shelf, kind: &str, id: &str, ask: &Ask<'_>, faults: &[Fault]) -> Result<(), Refused> {
        let Some(wanted) = ask.if_match.filter(|_| !faults.contains(&Fault::IgnoreIfMatch)) else { return Ok(()) };
        let current = match shelf.find(kind, id) {
            Found::Here(stored) => Some(stored.version.as_str()),
            Found::Deleted | Found::Absent => None,
        };
        let plain = |tag: &str| tag.trim().trim_start_matches("W/").trim_matches('"').to_owned();
        let fits = |tag: &str| current.is_some_and(|current| plain(tag) == current || tag.trim() == "*");
        if wanted.split(',').any(fits) {
            return Ok(());
        }
        let text = format!(
            "HAPI-0989: Trying to update {kind}/{id}/_history/{} but this is not the current version; version {} is, last \
             written for {}",
            plain(wanted),
            current.unwrap_or("none"),
            self.bystander(shelf, id)
        );
        Err(Refused::new(412, "conflict", &text))
    }

    /// The answer to a write that was done, with the faults that lie about it.
    fn written(&self, shelf: &Shelf, status: u16, stored: &Stored, ask: &Ask<'_>, faults: &[Fault]) -> Reply {
        let name = format!("{}/{}", stored.kind, stored.id);
        let deleted = stored.resource.is_null();
        let done = outcome::done(&format!("HAPI-2006: wrote {name}/_history/{} in 4 ms", stored.version));
        let mut reply = Reply::about(status, stored);
        reply.content = match ask.wants() {
            Wants::Nothing => Content::Empty,
            Wants::Resource if !deleted => Content::Resource(stored.resource.clone()),
            Wants::Resource | Wants::Outcome => Content::Plain(done),
        };
        if deleted && matches!(reply.content, Content::Empty) {
            reply.status = 204;
        }
        let (mut at, mut located) = (name, status == 201);
        for fault in faults {
            match fault {
                Fault::WriteAnswersOther(reference) => {
                    if let Some(other) = find(shelf, reference) {
                        reply.content = Content::Resource(other.resource.clone());
                    }
                }
                Fault::WriteOutcome(text) if !deleted => {
                    reply.status = 200;
                    reply.content = Content::Plain(outcome::outcome("informational", text));
                }
                Fault::WriteLocation(other) => (at, located) = (other.clone(), true),
                _ => {}
            }
        }
        let location = format!("{}/{at}/_history/{}", self.base, stored.version);
        if located {
            reply.headers.push(("location", location.clone()));
        }
        if !deleted {
            reply.headers.push(("content-location", location));
        }
        reply
    }
}

/// The first member that no resource can have so. The rest of FHIR is not checked, as in servers without a validator.
fn malformed(members: &Map<String, Value>) -> Option<&str> {
    let wrong = |key: &str, value: &Value| match key {
        "id" | "language" | "implicitRules" => !value.is_string(),
        "meta" | "text" => !value.is_object(),
        "subject" | "patient" => !(value.is_object() || value.is_array()),
        "contained" | "extension" | "identifier" => value.is_null(),
        _ => value.is_null() || value.as_array().is_some_and(Vec::is_empty),
    };
    members.iter().find(|(key, value)| wrong(key, value)).map(|(key, _)| key.as_str())
}

/// Stores something else than was sent.
fn rewrite(resource: &mut Value, faults: &[Fault]) {
    for fault in faults {
        if let (Fault::RewriteSubject(reference), Some(members)) = (fault, resource.as_object_mut()) {
            own(members, &json!({ "reference": reference }));
        }
    }
}
