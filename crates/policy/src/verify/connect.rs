//! Includes: what came along stays only where a released resource leads to it by an include that was asked for.
//!
//! Otherwise an include would tell of what lies between: that somebody else's resource refers to the session's (IN-11), or
//! would bring whatever an upstream chooses to add.

use std::collections::HashSet;

use fhir::ResourceType;
use fhir::json::Value;
use fhir::params;
use fhir::request::Include;

use super::bundle::{Accepted, Judged};
use crate::context::Context;
use crate::shape::SearchShape;

type Name = (ResourceType, String);

/// Drops included entries that no released resource leads to.
pub(super) fn keep_connected(cx: &Context, shape: &SearchShape, judged: &mut Judged<'_>) {
    let name = |entry: &Accepted<'_>| -> Name { (entry.kind, entry.id.clone().into_owned()) };
    if !judged.accepted.iter().any(|entry| entry.included) {
        return;
    }
    let mut kept: HashSet<Name> = HashSet::new();
    // What a kept resource leads to, by plain includes from matches and by iterating ones from anything kept.
    let mut led_to: HashSet<Name> = HashSet::new();
    let mut fresh: Vec<usize> = Vec::new();
    for (at, entry) in judged.accepted.iter().enumerate() {
        if !entry.included {
            kept.insert(name(entry));
            fresh.push(at);
        }
    }
    let mut first = true;
    while !fresh.is_empty() {
        for at in fresh.drain(..) {
            let Some(entry) = judged.accepted.get(at) else { continue };
            for include in shape.includes.iter().filter(|include| include.iterate || !entry.included) {
                refers_to(cx, include, entry.kind, entry.resource, &mut |name| _ = led_to.insert(name));
            }
        }
        for (at, entry) in judged.accepted.iter().enumerate() {
            let own = name(entry);
            if !entry.included || kept.contains(&own) {
                continue;
            }
            let leads_back = || {
                shape.revincludes.iter().filter(|include| include.iterate || first).any(|include| {
                    let mut found = false;
                    refers_to(cx, include, entry.kind, entry.resource, &mut |name| found |= kept.contains(&name));
                    found
                })
            };
            if led_to.contains(&own) || leads_back() {
                fresh.push(at);
            }
        }
        for at in &fresh {
            if let Some(entry) = judged.accepted.get(*at) {
                kept.insert(name(entry));
            }
        }
        first = false;
    }
    let mut dropped = 0;
    judged.accepted.retain(|entry| {
        let keeps = !entry.included || kept.contains(&name(entry));
        dropped += u32::from(!keeps && !entry.cut);
        keeps
    });
    judged.filtered += dropped;
}

/// Visits the instances that `resource` refers to by this include.
pub(super) fn refers_to(
    cx: &Context,
    include: &Include,
    kind: ResourceType,
    resource: Value<'_>,
    visit: &mut dyn FnMut(Name),
) {
    if include.source != kind {
        return;
    }
    by_param(cx, kind, include.param, resource, &mut |name| {
        if include.target.is_none_or(|target| target == name.0) {
            visit(name);
        }
    });
}

/// Visits the instances that `resource` refers to where a reference parameter looks.
pub(super) fn by_param(
    cx: &Context,
    kind: ResourceType,
    param: &str,
    resource: Value<'_>,
    visit: &mut dyn FnMut(Name),
) {
    let Some(param) = params::find(kind, param) else { return };
    for path in param.paths {
        resource.at_path(path.elements, &mut |value| {
            let Some(text) = value.get_str("reference") else { return };
            if let Some((kind, id)) = cx.instance(&text) {
                visit((kind, id.to_owned()));
            }
        });
    }
}
