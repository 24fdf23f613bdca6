//! Binary: had by a sealed proof of link, by its security context, or by a document that links to it; else it is not there.
//!
//! At most two look-ups are made, and what decides is never the Binary's content (BI-01 … BI-08).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::Actions;
use fhir::json::{Document, Value};
use fhir::owner::{self, OwnerRule};
use fhir::{Id, ResourceType};

use super::edit::Edits;
use super::{Asked, Part, Step, bundle, identity, judge, label, project, read_answer, version, walk};
use crate::context::{Context, Party};
use crate::grants::EITHER;
use crate::permit::{Plan, UpstreamAnswer, UpstreamCall};
use crate::released::{Content, Counts};
use crate::shape::{BinaryShape, ProvedBy};

/// What is answered where a Binary states no media type that is one.
const OCTETS: &str = "application/octet-stream";

pub(super) fn step(plan: &Plan, shape: &mut BinaryShape, answer: &UpstreamAnswer) -> Step {
    if let Some((held, by)) = shape.held.take() {
        return match proves(&plan.cx, shape, &by, answer) {
            Ok(true) => match Document::parse(&held) {
                Ok(document) => release(plan, shape, &document).into(),
                Err(_) => Part::broken().into(),
            },
            Ok(false) => Part::foreign().into(),
            Err(part) => Step::Done(*part),
        };
    }
    let document = match read_answer(answer, Asked::Instance) {
        Ok(document) => document,
        Err(part) => return Step::Done(*part),
    };
    let binary = document.root();
    if !identity(binary).is_some_and(|(kind, id)| kind == plan.kind && id == shape.id.as_str()) {
        return Part::broken().into();
    }
    let by = match binary.get("securityContext") {
        Some(context) => {
            let text = context.get_str("reference").unwrap_or_default();
            match (plan.cx.party(&text), plan.cx.instance(&text)) {
                (Party::Session, _) => return release(plan, shape, &document).into(),
                (Party::Thing(kind), Some((_, id))) if is_owned(kind) => match id.parse() {
                    Ok(id) => ProvedBy::Context(kind, id),
                    Err(_) => return Part::foreign().into(),
                },
                _ => return Part::foreign().into(),
            }
        }
        None if shape.proven.is_some() => return release(plan, shape, &document).into(),
        None if may_look_for_documents(&plan.cx) => ProvedBy::Document,
        None => return Part::foreign().into(),
    };
    let call = match &by {
        ProvedBy::Context(kind, id) => UpstreamCall::get(format!("{kind}/{id}"), ""),
        ProvedBy::Document => {
            let (base, id) = (&plan.cx.upstream_base, &shape.id);
            let locations = format!("Binary/{id},{base}/Binary/{id}").replace(':', "%3A");
            let query = format!("location={locations}&patient=Patient/{}", plan.cx.patient);
            UpstreamCall::get(ResourceType::DOCUMENT_REFERENCE.name(), query)
        }
    };
    shape.held = Some((answer.body.clone(), by));
    Step::Next(call)
}

fn is_owned(kind: ResourceType) -> bool {
    kind != ResourceType::BINARY && !matches!(owner::rule(kind), OwnerRule::Outside)
}

/// A link that this very session could have written is no proof (BI-05).
fn may_look_for_documents(cx: &Context) -> bool {
    let kind = ResourceType::DOCUMENT_REFERENCE;
    let writes = [Actions::CREATE, Actions::UPDATE];
    cx.grants.covering(kind, &writes).next().is_none() && cx.grants.includes(kind)
}

/// Whether the second look-up shows that the Binary is the session's.
fn proves(cx: &Context, shape: &BinaryShape, by: &ProvedBy, answer: &UpstreamAnswer) -> Result<bool, Box<Part>> {
    let document = read_answer(answer, Asked::Instance)?;
    match by {
        ProvedBy::Context(kind, id) => {
            let root = document.root();
            let same = identity(root).is_some_and(|(found, name)| found == *kind && name == id.as_str());
            Ok(same && is_releasable(cx, root))
        }
        ProvedBy::Document => {
            let entries = bundle::entries(document.root(), "searchset").ok_or_else(|| Box::new(Part::broken()))?;
            Ok(entries.iter().filter_map(|entry| entry.get("resource")).any(|resource| {
                identity(resource).is_some_and(|(kind, _)| kind == ResourceType::DOCUMENT_REFERENCE)
                    && is_releasable(cx, resource)
                    && links_to(cx, resource, &shape.id)
            }))
        }
    }
}

/// R4 Binary.securityContext: the Binary is treated as that resource is. So what the session may not have of the resource,
/// by scope, label or Consent, it may not have of the Binary either.
fn is_releasable(cx: &Context, resource: Value<'_>) -> bool {
    identity(resource).is_some_and(|(kind, id)| {
        judge::judge(cx, kind, &id, &EITHER, resource).is_ok()
            && walk::walk(cx, kind, resource, &mut Edits::default(), &mut |_| None).is_ok()
    })
}

fn links_to(cx: &Context, document: Value<'_>, id: &Id) -> bool {
    let mut found = false;
    document.at_path(&["content", "attachment", "url"], &mut |url| {
        found |= url.as_str().is_some_and(|url| walk::binary_id(cx, &url) == Some(id.as_str()));
    });
    found
}

/// What was proved; labels and Consents count all the same.
fn release(plan: &Plan, shape: &BinaryShape, document: &Document<'_>) -> Part {
    let binary = document.root();
    let (kind, id) = (plan.kind, shape.id.as_str());
    let clause = plan.cx.grants.admits(kind, &[Actions::READ], binary);
    let Some(clause) = clause.filter(|_| !judge::is_denied(&plan.cx, kind, id, binary)) else { return Part::foreign() };
    let (counts, resources) = (Counts { released: 1, filtered: 0 }, vec![label(kind, id, binary)]);
    let etag = version(binary).map(|version| format!("W/\"{version}\""));
    if shape.raw {
        let data = match binary.get("data") {
            None => Some(Vec::new()),
            Some(data) => data.as_str().and_then(|data| STANDARD.decode(data.as_bytes()).ok()),
        };
        let Some(data) = data else { return Part::broken() };
        let stated = binary.get_str("contentType").map(std::borrow::Cow::into_owned);
        let media = shape.proven.clone().flatten().or(stated).filter(|media| is_media(media));
        let content = Content::Raw(media.unwrap_or_else(|| OCTETS.to_owned()));
        return Part { content, etag, counts, resources, clauses: vec![clause], ..Part::new(200, None, data) };
    }
    let mut edits = Edits::default();
    if walk::walk(&plan.cx, kind, binary, &mut edits, &mut |_| None).is_err() {
        return Part::foreign();
    }
    edits.settle(&mut |_, _| false);
    let mut body = Vec::with_capacity(binary.raw().len() + 256);
    project::write(&mut body, kind, &plan.view, binary, &edits, document.text());
    Part { etag, counts, resources, clauses: vec![clause], ..Part::new(200, None, body) }
}

/// `type/subtype` with parameters, in characters a header can hold (RFC 9110 §8.3.1).
fn is_media(text: &str) -> bool {
    let token =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b));
    let (media, parameters) = text.split_once(';').map_or((text, ""), |(media, parameters)| (media, parameters));
    let named = media.trim().split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype));
    named && text.len() <= 200 && parameters.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
}

#[test]
fn a_media_type_is_one() {
    for (text, fits) in [
        ("application/pdf", true),
        ("text/plain; charset=utf-8", true),
        ("application/pdf\r\nX: y", false),
        ("pdf", false),
        ("a/b c", false),
        ("", false),
    ] {
        assert_eq!(is_media(text), fits, "`{text}`");
    }
}
