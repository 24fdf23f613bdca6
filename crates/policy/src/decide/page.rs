//! Further pages: a sealed link says where they lie, never that they may be seen.

use domain::{Actions, Operation, Reason};
use fhir::ResourceType;

use super::{Denial, Frame, search};
use crate::cursor::{PageCursor, Pages};
use crate::permit::{Plan, UpstreamBody, UpstreamCall, Verb};
use crate::shape::{Filling, SearchShape, Shape, Union};

pub(super) fn plan(frame: &Frame<'_>, kind: ResourceType, cursor: Option<PageCursor>) -> Result<Plan, Denial> {
    let cursor = cursor
        .filter(|cursor| {
            cursor.session == frame.cx.session
                && cursor.scope == frame.cx.scope
                && cursor.kind == kind
                && frame.cx.now < cursor.expires_at
        })
        .ok_or_else(|| {
            Denial::new(Reason::PageInvalid, "this page link belongs to another session or is too old; search again")
        });
    let call = |cursor: &PageCursor| match cursor.form {
        false => UpstreamCall::get(cursor.path.clone(), cursor.query.clone()),
        true => UpstreamCall {
            verb: Verb::Post,
            body: Some(UpstreamBody::Form(cursor.query.clone())),
            ..UpstreamCall::get(cursor.path.clone(), "")
        },
    };
    // The grant is looked at first: without it nothing is said of the link (p1).
    let action = match cursor.as_ref().map(|cursor| &cursor.pages) {
        Ok(Pages::History(_) | Pages::Everything) => Actions::READ,
        _ => Actions::SEARCH,
    };
    frame.check_scope(kind, action)?;
    frame.check_type(kind)?;
    let cursor = cursor?;
    let view = cursor.view.clone();
    let filling = Filling::of(cursor.size, cursor.start.clone());
    match &cursor.pages {
        Pages::Search { includes, revincludes, slice, rest } => {
            if let Some(param) = cursor.narrowed_by
                && frame.rules.filters.is_poisoned(kind, param)
            {
                return Err(search::unproved(kind, param));
            }
            let shape = SearchShape {
                narrowed_by: cursor.narrowed_by,
                includes: includes.clone(),
                revincludes: revincludes.clone(),
                union: slice.map(|at| Union { at, rest: rest.clone() }),
                page: Some(cursor.clone()),
                filling,
                ..SearchShape::default()
            };
            let call = call(&cursor);
            Ok(frame.plan("page", kind, call, Shape::Search(Box::new(shape)), view, action))
        }
        Pages::History(id) => {
            frame.check_instance(kind, id)?;
            let now = UpstreamCall::get(format!("{kind}/{id}"), "");
            let (after, applied) = (Some(call(&cursor)), String::new());
            let shape = Shape::History { id: id.clone(), page: Some(cursor.clone()), applied, after, filling };
            Ok(frame.plan("page", kind, now, shape, view, action))
        }
        Pages::Everything => {
            frame.check_operation(Operation::Everything)?;
            let shape = Shape::Everything { page: Some(cursor.clone()), applied: String::new(), filling };
            Ok(frame.plan("page", kind, call(&cursor), shape, view, action))
        }
    }
}
