//! Walks a resource that may be released: what it says of others is masked (p11), what it must not hold refuses it.

use domain::Actions;
use fhir::json::{Key, Kind, Value, name_hash, quote};
use fhir::references::{self, Place, Reference};
use fhir::{Id, ResourceType};

use super::edit::{Edits, Why};
use super::judge::{self, Refusal};
use crate::context::{Context, Party};
use crate::grants::EITHER;
use crate::proof::BinaryProof;

/// What stands in place of a reference to another patient (R4, data-absent-reason).
const MASKED: &str = concat!(
    r#"{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","#,
    r#""valueCode":"masked"}]}"#
);

/// Most resources in one `contained`: real ones hold fewer than ten.
const CONTAINED_MAX: usize = 128;

/// Hashes of the names that say how an object is read.
mod hash {
    use super::name_hash;

    pub(super) const CONTAINED: u16 = name_hash(b"contained");
    pub(super) const DISPLAY: u16 = name_hash(b"display");
    pub(super) const DIV: u16 = name_hash(b"div");
    pub(super) const IDENTIFIER: u16 = name_hash(b"identifier");
    pub(super) const REFERENCE: u16 = name_hash(b"reference");
    pub(super) const RESOURCE_TYPE: u16 = name_hash(b"resourceType");
    pub(super) const TYPE: u16 = name_hash(b"type");
    pub(super) const UNDERSCORE_DISPLAY: u16 = name_hash(b"_display");
    pub(super) const UNDERSCORE_URL: u16 = name_hash(b"_url");
    pub(super) const URL: u16 = name_hash(b"url");
}

/// Makes the sealed text of a proof; none where links carry none.
pub(super) type Links<'l> = dyn FnMut(&BinaryProof) -> Option<String> + 'l;

/// Collects the edits of `resource`; refuses it if it holds what no edit can take out.
pub(super) fn walk(
    cx: &Context,
    kind: ResourceType,
    resource: Value<'_>,
    edits: &mut Edits,
    links: &mut Links<'_>,
) -> Result<(), Refusal> {
    let strict = cx.grants.shares(kind);
    Walk { cx, edits, links, root: resource, strict, inside: false }.resource(kind, resource)
}

struct Walk<'w, 'd, 'l> {
    cx: &'w Context,
    edits: &'w mut Edits,
    links: &'w mut Links<'l>,
    root: Value<'d>,
    /// Another patient anywhere refuses the whole: shared types (p4) and contained resources (CT-04).
    strict: bool,
    /// Within `contained`.
    inside: bool,
}

impl<'d> Walk<'_, 'd, '_> {
    fn resource(&mut self, kind: ResourceType, resource: Value<'d>) -> Result<(), Refusal> {
        let root = Place::root(kind);
        for (key, value) in resource.members() {
            match key.hash() {
                hash::RESOURCE_TYPE if key.is("resourceType") => {}
                hash::CONTAINED if key.is("contained") => self.contained(value)?,
                _ => self.member(key, root, value)?,
            }
        }
        Ok(())
    }

    /// Contained resources are judged by their own type; another patient among them cannot be told from the session's.
    fn contained(&mut self, list: Value<'d>) -> Result<(), Refusal> {
        // Every fragment is looked up in this list, so its length is bounded.
        if self.inside || !list.is_array() || list.elements().count() > CONTAINED_MAX {
            return Err(Refusal);
        }
        for inner in list.elements() {
            let kind: ResourceType = inner.get_str("resourceType").and_then(|name| name.parse().ok()).ok_or(Refusal)?;
            let id = inner.get_str("id").unwrap_or_default();
            let granted =
                self.cx.grants.admits(kind, &EITHER, inner).is_some() && !judge::is_denied(self.cx, kind, &id, inner);
            if kind == ResourceType::PATIENT || !granted || !judge::contained_fits(self.cx, kind, inner, self.root) {
                return Err(Refusal);
            }
            let (cx, edits, links) = (self.cx, &mut *self.edits, &mut *self.links);
            let mut walk = Walk { cx, edits, links, root: self.root, strict: true, inside: true };
            walk.resource(kind, inner)?;
        }
        Ok(())
    }

    /// One member of the element at `above`; where a primitive stands does not matter, so its place is not looked up.
    fn member(&mut self, key: Key<'d>, above: Place, value: Value<'d>) -> Result<(), Refusal> {
        match value.kind() {
            Kind::Object | Kind::Array => {
                let name = key.text();
                self.value(&name, above.child(&name), value)
            }
            // Most texts of a resource stop here; a narrative may hold addresses anywhere in it.
            Kind::Plain if !self.may_lead(value) && key.hash() != hash::DIV => Ok(()),
            Kind::Plain | Kind::Escaped => {
                self.text(&key.text(), value);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether a text without escapes can be or hold an address that matters: one at a base of the upstream's or ours, or
    /// one that can name a Patient.
    fn may_lead(&self, value: Value<'d>) -> bool {
        let raw = value.raw().as_bytes();
        let begins = |base: &str| {
            raw.get(1) == base.as_bytes().first()
                && raw.get(1..).is_some_and(|inside| inside.starts_with(base.as_bytes()))
        };
        value.may_name() || begins(&self.cx.upstream_base) || begins(&self.cx.public_base)
    }

    fn value(&mut self, name: &str, place: Place, value: Value<'d>) -> Result<(), Refusal> {
        match value.kind() {
            Kind::Object => self.object(name, place, value),
            Kind::Array => value.elements().try_for_each(|element| self.value(name, place, element)),
            Kind::Plain | Kind::Escaped => {
                self.text(name, value);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn object(&mut self, name: &str, place: Place, object: Value<'d>) -> Result<(), Refusal> {
        let (mut reference, mut names_someone, mut url, mut says_patient) = (None, false, None, false);
        let mut has_names = false;
        for (key, value) in object.members() {
            match key.hash() {
                hash::REFERENCE if value.is_string() && key.is("reference") => reference = Some(value),
                hash::IDENTIFIER if key.is("identifier") => names_someone = true,
                hash::DISPLAY if key.is("display") => names_someone = true,
                hash::UNDERSCORE_DISPLAY if key.is("_display") => has_names = true,
                hash::URL if value.is_string() && key.is("url") => url = Some(value),
                hash::TYPE if key.is("type") => says_patient |= value.is_str("Patient"),
                // A resource anywhere but at the root or in `contained` was not judged.
                hash::RESOURCE_TYPE if key.is("resourceType") => return Err(Refusal),
                _ => {}
            }
        }
        if let Some(reference) = reference {
            return self.reference(place, object, reference, names_someone || has_names);
        }
        // `type` says it where no table does: a Reference in an element nobody defined.
        if names_someone && (says_patient || place.is_reference() || name.ends_with("Reference")) {
            if self.strict && says_patient {
                return Err(Refusal);
            }
            let why = if says_patient || names_patient(object, place) { Why::Foreign } else { Why::NameOnly };
            self.edits.replace(object.span(), why, MASKED);
            // What goes with it can lead to somebody all the same, which a write must not.
            return object.members().try_for_each(|(key, value)| self.member(key, place, value));
        }
        let drop_url = url.is_some_and(|url| is_attachment(name) && !self.is_ours(url));
        if drop_url {
            self.edits.remove_members(object, &mut |key| key.is("url") || key.is("_url"), Why::Foreign, None);
        }
        let proof = url.filter(|_| !drop_url && is_attachment(name)).and_then(|url| self.proof(object, url));
        for (key, value) in object.members() {
            match key.hash() {
                hash::URL | hash::UNDERSCORE_URL if drop_url && (key.is("url") || key.is("_url")) => {}
                hash::URL if proof.is_some() && key.is("url") => {
                    self.edits.replace(value.span(), Why::Address, quote(proof.as_deref().unwrap_or_default()));
                }
                // An extension's `url` is its name; any other is an address.
                hash::URL
                    if value.is_string() && key.is("url") && !matches!(name, "extension" | "modifierExtension") =>
                {
                    self.text("uri", value);
                }
                _ => self.member(key, place, value)?,
            }
        }
        Ok(())
    }

    /// An object with a `reference` text, wherever it stands: tables and extensions alike.
    fn reference(
        &mut self,
        place: Place,
        object: Value<'d>,
        reference: Value<'d>,
        has_names: bool,
    ) -> Result<(), Refusal> {
        let text = reference.as_str().unwrap_or_default();
        let known = match self.cx.party(&text) {
            Party::Session => true,
            Party::OtherPatient if self.strict => return Err(Refusal),
            Party::Unknown if self.strict && has_patient(&text) => return Err(Refusal),
            Party::OtherPatient | Party::Unknown => {
                self.edits.replace(object.span(), Why::Foreign, MASKED);
                return Ok(());
            }
            Party::Contained if self.resolves(&text) => true,
            Party::Contained => {
                self.edits.replace(object.span(), Why::Foreign, MASKED);
                return Ok(());
            }
            Party::Thing(_) => false,
        };
        if !known && has_names {
            let instance = self.cx.instance(&text).map(|(kind, id)| (kind, id.to_owned()));
            let mut names = |key: &Key<'_>| key.is("identifier") || key.is("display") || key.is("_display");
            self.edits.remove_members(object, &mut names, Why::Names, instance.as_ref());
        }
        object.members().try_for_each(|(key, value)| self.member(key, place, value))
    }

    /// Whether a fragment points into the released resource: at the container, or at something contained.
    fn resolves(&self, text: &str) -> bool {
        text == "#"
            || text.strip_prefix('#').is_some_and(|id| {
                self.root.get("contained").is_some_and(|list| {
                    list.elements().any(|inner| inner.get("id").is_some_and(|found| found.is_str(id)))
                })
            })
    }

    /// Upstream URLs become ours wherever they stand; one that names another patient loses the id.
    fn text(&mut self, name: &str, value: Value<'d>) {
        let (ours, theirs) = (&self.cx.public_base, &self.cx.upstream_base);
        if name == "div" && !self.may_link(value) {
            return;
        }
        let Some(text) = value.as_str() else { return };
        if name == "div" {
            let linked = self.without_links(&text.replace(theirs.as_str(), ours));
            if linked != *text {
                let why = if linked == text.replace(theirs.as_str(), ours) { Why::Address } else { Why::Foreign };
                self.edits.replace(value.span(), why, quote(&linked));
            }
            return;
        }
        if let Some(rest) = below(&text, theirs).or_else(|| below(&text, ours)) {
            let other = self.names_other(rest.trim_start_matches('/'));
            let (rest, why) = if other { ("/Patient", Why::Foreign) } else { (rest, Why::Address) };
            self.edits.replace(value.span(), why, quote(&format!("{ours}{rest}")));
        } else if (text.starts_with("Patient/") && is_url_name(name) && self.names_other(&text))
            || self.leads_to_other(name, &text)
        {
            self.edits.replace(value.span(), Why::Foreign, quote("Patient"));
        }
    }

    /// Whether a narrative may hold an address of the upstream's or of a Patient. No character of the two words looked for can
    /// stand there in another way, but for those that are hidden altogether.
    fn may_link(&self, value: Value<'d>) -> bool {
        let host = self.cx.upstream_base.split('/').nth(2).unwrap_or("");
        value.may_hide() || has_patient(value.raw()) || value.raw().contains(host)
    }

    /// Whether a URL, however spelt, leads to another patient's record: on another host to anybody's, relative to anybody's
    /// but the session's. Names of code systems and of extensions can look like it and are nobody.
    fn leads_to_other(&self, name: &str, text: &str) -> bool {
        // Nearly every text of a resource stops here: without the word, written out or encoded, there is no such address.
        let bytes = text.as_bytes();
        if !bytes.contains(&b'%') && !has_patient(text) {
            return false;
        }
        let absolute = text.contains("://");
        let is_address = (absolute || is_url_name(name)) && !matches!(name, "system" | "url");
        let names = |text: &str| {
            let segments = || text.split(['/', '?', '#', '|', '=', '&']);
            let mut pairs = segments().zip(segments().skip(1));
            pairs.any(|(kind, id)| kind == "Patient" && Id::fits(id) && (absolute || id != self.cx.patient.as_str()))
        };
        is_address
            && !text.contains(char::is_whitespace)
            && (names(text) || text.contains('%') && names(&decoded(text)))
    }

    /// A narrative whose links into other patients' records have lost the id; its words cannot be judged (CT-03).
    fn without_links(&self, div: &str) -> String {
        const LINK: &str = "Patient/";
        let mut out = String::with_capacity(div.len());
        let mut rest = div;
        while let Some((before, after)) = rest.split_once(LINK) {
            out.push_str(before);
            let is_id = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'%' | b'_');
            let end = after.bytes().position(|b| !is_id(b)).unwrap_or(after.len());
            let (id, behind) = after.split_at_checked(end).unwrap_or((after, ""));
            // In an attribute or a URL; "patient/caregiver" in prose stays.
            let is_link = before.ends_with(['"', '\'', '/', '=']);
            let is_own = id == self.cx.patient.as_str();
            out.push_str(if is_link && !is_own { "Patient" } else { LINK });
            if !is_link || is_own {
                out.push_str(id);
            }
            rest = behind;
        }
        out.push_str(rest);
        out
    }

    /// Whether a relative URL goes through another patient's record.
    fn names_other(&self, relative: &str) -> bool {
        relative.strip_prefix("Patient/").is_some_and(|rest| {
            let end = rest.find(['/', '?', '#', '|']).unwrap_or(rest.len());
            rest.get(..end) != Some(self.cx.patient.as_str())
        })
    }

    /// The address of an attachment's Binary with its proof of link, where the session may read a Binary at all (BI-04).
    fn proof(&mut self, attachment: Value<'d>, url: Value<'d>) -> Option<String> {
        let grants = &self.cx.grants;
        let (kind, letters) = (ResourceType::BINARY, [Actions::READ]);
        if !grants.expects(kind) || grants.covering(kind, &letters).next().is_none() {
            return None;
        }
        let text = url.as_str()?;
        let id = binary_id(self.cx, &text)?;
        let media = attachment.get_str("contentType").map(std::borrow::Cow::into_owned);
        let (session, expires_at) = (self.cx.session, self.cx.links_expire_at);
        let sealed = (self.links)(&BinaryProof { session, id: id.parse().ok()?, media, expires_at })?;
        Some(format!("{}/{kind}/{id}?_hilum={sealed}", self.cx.public_base))
    }

    /// Whether an attachment's URL leads to the upstream, absolute or relative; anything else is another host's (BI-08).
    fn is_ours(&self, url: Value<'_>) -> bool {
        let Some(text) = url.as_str() else { return false };
        let relative = match below(&text, &self.cx.upstream_base) {
            Some(rest) => rest.trim_start_matches('/'),
            None => &*text,
        };
        match references::parse(relative) {
            Reference::Relative { .. } => !self.names_other(relative),
            _ => false,
        }
    }
}

/// The Binary of this server that an address leads to, as the upstream writes addresses.
pub(super) fn binary_id<'t>(cx: &Context, text: &'t str) -> Option<&'t str> {
    match cx.instance(text) {
        Some((ResourceType::BINARY, id)) => Some(id),
        _ => None,
    }
}

/// Whether a name without a reference can be a patient's: where one may stand, and anything is said but a display.
fn names_patient(object: Value<'_>, place: Place) -> bool {
    place.may_be_patient() && object.members().any(|(key, _)| !key.is("display") && !key.is("_display"))
}

/// Percent-encoding taken away once; what is not UTF-8 behind it is no id.
fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let value = std::str::from_utf8(behind.get(..2).unwrap_or_default())
            .ok()
            .filter(|digits| *first == b'%' && digits.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(value.unwrap_or(*first));
        rest = if value.is_some() { behind.get(2..).unwrap_or_default() } else { behind };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Whether the word stands in `text`, as in every address of a Patient that is written out.
fn has_patient(text: &str) -> bool {
    const WORD: &[u8] = b"Patient";
    text.as_bytes().windows(WORD.len()).any(|window| window == WORD)
}

/// What follows `base` in `text`, if `text` is at or below it.
fn below<'t>(text: &'t str, base: &str) -> Option<&'t str> {
    text.strip_prefix(base).filter(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#', '|']))
}

/// Elements of type Attachment in R4, by name.
fn is_attachment(name: &str) -> bool {
    matches!(name, "photo" | "presentedForm" | "content" | "document" | "image" | "attachment" | "form")
        || name.ends_with("Attachment")
}

/// Where a relative URL may stand; `reference` in odd forms (a list, another case) among them.
fn is_url_name(name: &str) -> bool {
    ["uri", "url", "Uri", "Url", "Canonical", "source"].iter().any(|end| name.ends_with(end))
        || name.eq_ignore_ascii_case("reference")
}

#[test]
fn masked_is_json() {
    assert!(fhir::json::Document::parse(MASKED.as_bytes()).is_ok());
    assert_eq!(below("https://ehr/r4/x", "https://ehr/r4"), Some("/x"));
    assert_eq!(below("https://ehr/r4x", "https://ehr/r4"), None);
}
