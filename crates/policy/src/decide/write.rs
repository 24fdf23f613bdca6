//! Writes: what the request alone decides, before the stored resource is looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::{Actions, Reason};
use fhir::request::{Interaction, Search, Submission, View, Write};
use fhir::{Id, ResourceType};

use super::{Denial, Frame, Go, other_patient};
use crate::context::Context;
use crate::permit::{Plan, UpstreamCall};
use crate::shape::Shape;
use crate::verify::submission::{Item, Transaction, refused_within};
use crate::verify::write::{Advance, Writing};

/// A write of one instance.
pub(super) fn single(frame: &Frame<'_>, write: Write) -> Result<Go, Denial> {
    check(frame, &write)?;
    let (name, kind, letter) = (write.name(), write.kind(), Writing::letter(&write));
    let (writing, advance) = Writing::begin(&frame.cx, write);
    let plan = |call: UpstreamCall, writing: Writing| {
        frame.plan(name, kind, call, Shape::Write(Box::new(writing)), View::default(), letter)
    };
    match advance {
        Advance::Ask(call) => Ok(Go::Ask(plan(call, writing))),
        Advance::Ready => Ok(Go::Write(plan(writing.call(), writing))),
        Advance::Refused(denial) => Err(denial),
        Advance::Failed(_) => Err(Denial::new(Reason::RequestInvalid, "the resource cannot be read")),
    }
}

/// All entries or none; the first that is refused refuses the whole (BA-03).
pub(super) fn transaction(frame: &Frame<'_>, submission: Submission) -> Result<Go, Denial> {
    let mut names: BTreeMap<String, ResourceType> = BTreeMap::new();
    for entry in &submission.entries {
        if let (Some(name), Ok(Interaction::Write(Write::Create { kind, .. }))) = (&entry.full_url, &entry.asks)
            && name.starts_with("urn:")
        {
            names.insert(name.clone(), *kind);
        }
    }
    // The entries are judged knowing what the others create.
    let cx = &frame.cx;
    let own = Context { names, ..Context::clone(cx) };
    let frame = Frame { rules: frame.rules, profile: frame.profile, cx: Arc::new(own) };
    if submission.entries.is_empty() {
        return Err(Denial::new(Reason::RequestInvalid, "the transaction has no entry"));
    }
    let mut items = Vec::with_capacity(submission.entries.len());
    let mut changed: BTreeSet<String> = BTreeSet::new();
    for entry in submission.entries {
        let asks = entry.asks.map_err(|why| Denial::new(Reason::RequestInvalid, why.what))?;
        items.push(match asks {
            Interaction::Write(write) => {
                check(&frame, &write)?;
                let (writing, advance) = Writing::begin(&frame.cx, write);
                if let Advance::Refused(denial) = advance {
                    return Err(denial);
                }
                // R4: nothing may be in a transaction twice. Each would be judged by what is stored before the other.
                if writing.id().is_some() && !changed.insert(writing.target()) {
                    return Err(Denial::new(Reason::RequestInvalid, "two entries change one resource"));
                }
                let name = entry.full_url.filter(|name| name.starts_with("urn:") && writing.id().is_none());
                Item::Write(Box::new(writing), name)
            }
            // A version takes two calls, the instance as it is now first; a transaction makes one.
            asks @ (Interaction::Read { .. } | Interaction::Search(_)) => {
                Item::Read(Box::new(read_within(&frame, asks)?), false)
            }
            _ => return Err(refused_within()),
        });
    }
    let mut transaction = Transaction::new(items);
    let next = transaction.go_on();
    let shape = Shape::Transaction(Box::new(transaction));
    let plan = |call| frame.plan("transaction", ResourceType::BUNDLE, call, shape, View::default(), Actions::NONE);
    Ok(match next {
        Ok(call) => Go::Ask(plan(call)),
        Err(call) => Go::Write(plan(call)),
    })
}

/// A read or search of a transaction: one call, whose answer is an entry of the whole.
fn read_within(frame: &Frame<'_>, asks: Interaction) -> Result<Plan, Denial> {
    let whole = match &asks {
        Interaction::Search(search) => Some(search.clone()),
        _ => None,
    };
    let mut plan = frame.read(asks, None)?;
    let Shape::Search(shape) = &mut plan.shape else { return Ok(plan) };
    if !shape.hops.is_empty() || shape.last.is_some() {
        return Err(refused_within());
    }
    // One search of a transaction is one search: it is asked without the slices, which verification tells apart alone.
    if shape.union.take().is_some()
        && let Some(search) = whole
    {
        // How it is shown is no part of what is asked; what is narrowed is.
        let bare = frame.read(Interaction::Search(Search { view: View::default(), ..search }), None)?;
        if let Shape::Search(bare) = bare.shape {
            plan.call = UpstreamCall::get(plan.kind.name(), bare.applied);
        }
    }
    Ok(plan)
}

/// p1, p2, p4, and what no session writes at all.
fn check(frame: &Frame<'_>, write: &Write) -> Result<(), Denial> {
    let kind = write.kind();
    frame.check_scope(kind, Writing::letter(write))?;
    let id: Option<&Id> = match write {
        Write::Create { .. } => None,
        Write::Update { id, .. } | Write::Patch { id, .. } | Write::Delete { id, .. } => Some(id),
    };
    if kind == ResourceType::PATIENT {
        // A new identity, or the end of one, is nothing a session about one patient decides (WR-11, WR-31).
        match (write, id) {
            (Write::Update { .. } | Write::Patch { .. }, Some(id)) if *id == frame.cx.patient => {}
            (_, Some(id)) if *id != frame.cx.patient => return Err(other_patient()),
            _ => return Err(refused("a Patient is neither created nor deleted here")),
        }
    }
    frame.check_type(kind)?;
    // What is everybody's is changed by nobody here; and what decides about access is no client's to write.
    if frame.cx.grants.shares(kind) || kind == ResourceType::CONSENT {
        return Err(refused(&format!("`{kind}` is not written through the gate")));
    }
    Ok(())
}

fn refused(says: &str) -> Denial {
    Denial::new(Reason::WriteRefused, says)
}
