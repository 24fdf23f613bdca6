//! What a resource that is to be stored may hold: the session's patient and nobody else, no label and no link it was not given.

use std::collections::BTreeSet;

use domain::{Actions, Filter, Reason};
use fhir::ResourceType;
use fhir::json::{Document, Kind, Value};
use fhir::owner::{self, OwnerRule};
use fhir::references::{Reference, parse};

use super::super::edit::Edits;
use super::super::judge::{is_denied, is_member};
use super::super::restore::{Link, same};
use super::super::walk;
use crate::context::{Context, Party};
use crate::criteria;
use crate::decide::Denial;
use crate::grants::suggestion;

/// Most instances one resource may newly refer to: each is looked up.
const REFERENCES_MAX: usize = 20;

/// What was found in it.
pub(super) struct Judged {
    /// The clause that admits it.
    pub(super) clause: u32,
    /// Instances of patients it newly refers to, to be proved the session's.
    pub(super) refers_to: Vec<(ResourceType, String)>,
}

/// What the client wrote, without what was hidden from it, leads to nobody else. What is hidden counts for nothing here: else
/// one could ask for it by writing it.
pub(super) fn check_own(cx: &Context, kind: ResourceType, written: &str) -> Result<(), Denial> {
    let document = Document::parse(written.as_bytes()).map_err(|_| names_others())?;
    match foreign(cx, kind, &document) {
        Some(found) if found.is_empty() => Ok(()),
        _ => Err(names_others()),
    }
}

/// Judges what is to be stored in place of `old`, in the upstream's form.
pub(super) fn judge(
    cx: &Context,
    kind: ResourceType,
    id: &str,
    letter: Actions,
    document: &Document<'_>,
    before: Option<&Document<'_>>,
) -> Result<Judged, Denial> {
    let (new, old) = (document.root(), before.map(Document::root));
    if !is_member(cx, kind, id, new) {
        return Err(refused("the resource must be of this session's patient, and name no other"));
    }
    if is_denied(cx, kind, id, new) {
        return Err(refused("the patient's consent does not allow it"));
    }
    check_meta(cx, kind, letter, new, old)?;
    // What was stored already and is hidden from the client stays as it was; anything else of the kind is the client's.
    let known = before.and_then(|before| foreign(cx, kind, before)).unwrap_or_default();
    if foreign(cx, kind, document).is_none_or(|found| !found.is_subset(&known)) {
        return Err(names_others());
    }
    let clause = cx.grants.admits(kind, &[letter], new).ok_or_else(|| outside_slice(kind, letter))?;
    let mut texts = BTreeSet::new();
    references("", new, &mut texts);
    let mut known = BTreeSet::new();
    if let Some(old) = old {
        references("", old, &mut known);
    }
    let mut refers_to = Vec::new();
    for text in texts.difference(&known) {
        let Party::Thing(target) = cx.party(text) else { continue };
        if cx.names.contains_key(text) || matches!(owner::rule(target), OwnerRule::Outside) {
            continue;
        }
        match cx.instance(text) {
            Some((target, id)) => refers_to.push((target, id.to_owned())),
            None => return Err(refers_elsewhere()),
        }
    }
    if refers_to.len() > REFERENCES_MAX {
        return Err(Denial::new(Reason::TooCostly, "the resource refers to too many others"));
    }
    Ok(Judged { clause, refers_to })
}

/// What leads to others in a resource, as written there; `None` where no edit could take it out.
fn foreign<'d>(cx: &Context, kind: ResourceType, document: &'d Document<'_>) -> Option<BTreeSet<&'d str>> {
    let mut edits = Edits::default();
    walk::walk(cx, kind, document.root(), &mut edits, &mut |_| None).ok()?;
    Some(edits.foreign(document.text()).collect())
}

/// Labels are given by others: a client neither sets nor changes `meta.security`, nor a tag but one its scope asks for
/// (WR-21).
fn check_meta(
    cx: &Context,
    kind: ResourceType,
    letter: Actions,
    new: Value<'_>,
    old: Option<Value<'_>>,
) -> Result<(), Denial> {
    for name in ["security", "tag"] {
        let unchanged = match (in_meta(new, name), old.and_then(|old| in_meta(old, name))) {
            (None, None) => true,
            (Some(new), Some(old)) => same(new, old),
            (Some(new), None) => new.is_array() && new.elements().next().is_none(),
            (None, Some(_)) => false,
        };
        let asked_for = || name == "tag" && only_adds_what_is_asked_for(cx, kind, letter, new, old);
        if !unchanged && !asked_for() {
            return Err(refused(&format!("`meta.{name}` is not set or changed by this session")));
        }
    }
    Ok(())
}

/// Whether the tags that were there stay, and every other is one that a `_tag` criterion of a clause admits.
fn only_adds_what_is_asked_for(
    cx: &Context,
    kind: ResourceType,
    letter: Actions,
    new: Value<'_>,
    old: Option<Value<'_>>,
) -> bool {
    let tags = |resource: Value<'_>| -> Vec<String> {
        in_meta(resource, "tag")
            .map(|list| list.elements().map(|tag| tag.raw().to_owned()).collect())
            .unwrap_or_default()
    };
    let (new, old) = (tags(new), old.map(tags).unwrap_or_default());
    let admitted = |tag: &String| {
        let text = format!(r#"{{"meta":{{"tag":[{tag}]}}}}"#);
        let Ok(bearer) = Document::parse(text.as_bytes()) else { return false };
        cx.grants.covering(kind, &[letter]).filter_map(|clause| clause.scope.filter.as_ref()).any(|filter| {
            filter
                .pairs
                .iter()
                .filter(|(param, _)| param == "_tag")
                .any(|pair| criteria::holds(kind, &Filter { pairs: vec![pair.clone()] }, bearer.root()))
        })
    };
    old.iter().all(|tag| new.contains(tag)) && new.iter().filter(|tag| !old.contains(tag)).all(admitted)
}

fn in_meta<'d>(resource: Value<'d>, name: &str) -> Option<Value<'d>> {
    resource.get("meta")?.get(name)
}

/// Every link to a Binary is proved, or was there before (BI-06).
pub(super) fn check_links(cx: &Context, links: &BTreeSet<Link>, old: Option<Value<'_>>) -> Result<(), Denial> {
    for link in links {
        let proved = link.sealed.as_ref().and_then(|sealed| cx.proofs.get(sealed));
        let proved = proved.is_some_and(|proof| proof.proves(cx.session, &link.id, cx.now));
        if !proved && !old.is_some_and(|old| links_to(cx, old, &link.id)) {
            let says = "an attachment's link needs the address this session was given for it";
            return Err(Denial::new(Reason::WriteRefused, says));
        }
    }
    Ok(())
}

fn links_to(cx: &Context, value: Value<'_>, id: &str) -> bool {
    match value.kind() {
        Kind::Object => value.members().any(|(key, value)| {
            key.is("url") && value.as_str().is_some_and(|text| walk::binary_id(cx, &text) == Some(id))
                || links_to(cx, value, id)
        }),
        Kind::Array => value.elements().any(|element| links_to(cx, element, id)),
        _ => false,
    }
}

/// The texts of all references, and of addresses that could be some: an attachment leads to an instance as well as a
/// reference does.
fn references(within: &str, value: Value<'_>, out: &mut BTreeSet<String>) {
    match value.kind() {
        Kind::Object => {
            for (key, value) in value.members() {
                match value.as_str() {
                    Some(text) if key.is("reference") => _ = out.insert(text.into_owned()),
                    // Links to Binaries are proved by their own means; the `url` of an extension is its name.
                    Some(text)
                        if key.is("url")
                            && !matches!(within, "extension" | "modifierExtension")
                            && matches!(parse(&text), Reference::Relative { kind, .. } | Reference::Absolute { kind, .. }
                                if kind != ResourceType::BINARY) =>
                    {
                        _ = out.insert(text.into_owned());
                    }
                    _ => references(&key.text(), value, out),
                }
            }
        }
        Kind::Array => value.elements().for_each(|element| references(within, element, out)),
        _ => {}
    }
}

/// The version in an entity tag.
pub(super) fn tagged(tag: &str) -> Option<String> {
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    let version = tag.strip_prefix('"')?.strip_suffix('"')?;
    fhir::Id::fits(version).then(|| version.to_owned())
}

fn names_others() -> Denial {
    refused("the resource refers to another patient, or to what cannot be told")
}

pub(super) fn refers_elsewhere() -> Denial {
    refused("the resource refers to an instance that is not this session's")
}

pub(super) fn outside_slice(kind: ResourceType, letter: Actions) -> Denial {
    let scope = suggestion(kind, letter);
    Denial {
        reason: Reason::ScopeInsufficient,
        says: "no scope of this session covers this resource as it is or would be".to_owned(),
        scope: Some(scope),
    }
}

fn refused(says: &str) -> Denial {
    Denial::new(Reason::WriteRefused, says)
}
