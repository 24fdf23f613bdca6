//! Searches: which patient they name, what they would infer or include, and how the upstream is made to narrow them.

use domain::{Actions, Operation, Reason};
use fhir::owner::{self, OwnerRule};
use fhir::params::{self, ParamKind, SearchParam};
use fhir::references::{self, Reference};
use fhir::request::{Asked, Include, Modifier, Param, Search};
use fhir::{Id, ResourceType};

use super::record::{check_compartment, page_size};
use super::slices::{self, Slices};
use super::{Denial, Frame, hops, other_patient};
use crate::permit::{Plan, UpstreamBody, UpstreamCall, Verb};
use crate::shape::{Filling, Last, SearchShape, Shape, Union};

/// An id no server gives out: 64 characters of one kind. Sent where a search can match nothing.
const NO_ID: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Matches on a page of a union of slices, where the caller does not say: as many as common servers give.
const UNION_COUNT: u32 = 20;

/// Most types a bare id is spelled out for; the widest list R4 gives a parameter short of "any" has ten.
const SPELLED_OUT_MAX: usize = 12;

pub(super) fn plan(frame: &Frame<'_>, mut search: Search) -> Result<Plan, Denial> {
    let kind = search.kind;
    if matches!(search.asked, Asked::LastN(_)) {
        frame.check_operation(Operation::LastN)?;
    }
    frame.check_scope(kind, Actions::SEARCH)?;
    check_compartment(frame, search.compartment.as_ref())?;
    let named = name_patient(frame, &mut search)?;
    frame.check_type(kind)?;
    if search.compartment.is_some() && frame.cx.grants.shares(kind) {
        // Sent without narrowing it would find everybody's, and say that they are the patient's.
        return Err(Denial::new(Reason::NotSupported, format!("`{kind}` is in no patient's compartment")));
    }
    let hops = hops::plan(frame, &search)?;
    refuse_masked_sort(&search)?;
    search.count = page_size(frame, search.count)?;
    let narrowed_by = narrow(frame, &mut search)?;
    let slices = slices::of(frame, &search);
    if let Slices::One(params) = &slices {
        search.params.extend(params.iter().cloned());
    }
    in_order(&mut search);
    // Inclusion follows the grants; what is dropped is missing from the self link (IN-02, IN-06).
    search.includes.retain(|include| may_include(frame, kind, include));
    // From a type that is nobody's, reverse includes would look through everybody's records for the session's few.
    search.revincludes.retain(|include| {
        frame.cx.grants.includes(include.source) && (narrowed_by.is_some() || frame.cx.grants.shares(include.source))
    });
    search.total = None;
    let applied = search.shown_query();
    let view = std::mem::take(&mut search.view);
    let filling = Filling::of(search.count, None);
    let mut shape = SearchShape { empty: named.empty, narrowed_by, applied, hops, filling, ..SearchShape::default() };
    if named.empty {
        search.params =
            vec![Param { name: "_id", kind: ParamKind::Token, modifier: None, values: vec![NO_ID.to_owned()] }];
        search.includes.clear();
        search.revincludes.clear();
        search.sort.clear();
        search.count = Some(1);
        shape.hops.clear();
    }
    let (mut interaction, mut path) = ("search", kind.name().to_owned());
    if let Asked::LastN(max) = search.asked {
        // What is last is found here, among what the session may see: an order over anything else would tell of it.
        interaction = "lastn";
        search.sort = vec![("date".to_owned(), true)];
        search.count = Some(frame.rules.count_max);
        shape.last = Some(Last { max, ..Last::default() });
    }
    shape.includes.clone_from(&search.includes);
    shape.revincludes.clone_from(&search.revincludes);
    let mut query = search.canonical_query();
    if let (Slices::Several(several), false) = (slices, named.empty) {
        // Where one slice ends and the next begins is no page's end, so their pages need a size of our own.
        let size = search.count.unwrap_or(UNION_COUNT.min(frame.rules.count_max));
        search.count = Some(size);
        shape.filling.size = Some(size);
        let mut queries = several.into_iter().map(|params| {
            let mut one = search.clone();
            one.params.extend(params);
            in_order(&mut one);
            one.canonical_query()
        });
        query = queries.next().unwrap_or(query);
        shape.union = Some(Union { at: 0, rest: queries.collect() });
    }
    let mut call = match search.asked {
        Asked::Form => {
            path.push_str("/_search");
            let body = Some(UpstreamBody::Form(query));
            UpstreamCall { verb: Verb::Post, path, query: String::new(), body, if_match: None }
        }
        Asked::Get | Asked::LastN(_) => UpstreamCall::get(path, query),
    };
    if let Some(hop) = shape.hops.first() {
        call = UpstreamCall::get(hop.kind.name(), hop.query.clone());
        shape.waiting = Some(search);
    }
    let remark = (narrowed_by.is_some() && !named.patient).then_some(Reason::UnboundSearch);
    let plan = frame.plan(interaction, kind, call, Shape::Search(Box::new(shape)), view, Actions::SEARCH);
    Ok(Plan { remark, ..plan })
}

/// One order for the same meaning; what is asked twice is asked once.
pub(crate) fn in_order(search: &mut Search) {
    search.params.sort_by(|a, b| (a.name, a.modifier, &a.values).cmp(&(b.name, b.modifier, &b.values)));
    search.params.dedup();
}

pub(super) fn unproved(kind: ResourceType, param: &str) -> Denial {
    Denial::new(
        Reason::FilterUnproved,
        format!(
            "the server behind the gate was seen to ignore `{param}` on `{kind}`; an operator must run `hilum check`"
        ),
    )
}

/// What a search says of patients.
pub(super) struct Named {
    /// It names the session's patient.
    patient: bool,
    /// Nothing can match it.
    pub(super) empty: bool,
}

/// What one value of a reference parameter means.
enum Meaning {
    /// The session's patient.
    Session,
    /// Another patient.
    Other,
    /// Some instance of ours that is no patient, in relative form.
    Instance(String),
    /// A bare id where several types may stand, a patient among them: each type but another patient, in relative form.
    Instances(Vec<String>),
    /// A bare id where too many types may stand to spell them out.
    Ambiguous,
    /// Left as it is: a canonical URL, or a bare id where no patient may stand.
    Kept,
    /// Can match nothing here: another server's instance, or not a patient where only the patient counts.
    Nothing,
}

/// Judges and canonicalises every parameter that may point to a patient (SR-03 … SR-17, SR-39).
pub(super) fn name_patient(frame: &Frame<'_>, search: &mut Search) -> Result<Named, Denial> {
    let kind = search.kind;
    let mut named = Named { patient: search.compartment.is_some(), empty: false };
    for param in &mut search.params {
        if kind == ResourceType::PATIENT && param.name == "_id" {
            named.patient = true;
            if param.modifier.is_some() {
                return Err(unoffered(param));
            }
            param.values.retain(|id| *id == frame.cx.patient.as_str());
            if param.values.is_empty() {
                return Err(other_patient());
            }
            continue;
        }
        if param.kind != ParamKind::Reference {
            continue;
        }
        let Some(known) = params::find(kind, param.name) else { return Err(unoffered(param)) };
        let target = match param.modifier {
            None => None,
            Some(Modifier::Type(target)) => Some(target),
            Some(Modifier::Missing) if !known.patient => continue,
            Some(_) => return Err(unoffered(param)),
        };
        let only_patient = narrows(kind, known);
        let (mut kept, mut others) = (Vec::new(), 0_usize);
        for value in &param.values {
            match meaning(frame, known, target, only_patient, value) {
                Meaning::Session => {
                    named.patient = true;
                    kept.push(format!("Patient/{}", frame.cx.patient));
                }
                Meaning::Other => others += 1,
                Meaning::Instance(text) => kept.push(text),
                Meaning::Instances(texts) => kept.extend(texts),
                Meaning::Ambiguous => {
                    return Err(Denial::new(
                        Reason::NotSupported,
                        format!("`{}`: give the type too, as `Type/id`", param.name),
                    ));
                }
                Meaning::Kept => kept.push(value.clone()),
                Meaning::Nothing => {}
            }
        }
        kept.dedup();
        if kept.is_empty() {
            if others > 0 {
                return Err(other_patient());
            }
            named.empty = true;
            // The search is answered locally with nothing; its own words stay for the self link.
            continue;
        }
        param.modifier = None;
        param.values = kept;
    }
    Ok(named)
}

/// Whether a parameter says whose a resource is: there only the session's patient can match.
fn narrows(kind: ResourceType, param: &SearchParam) -> bool {
    param.patient
        && match owner::rule(kind) {
            OwnerRule::Primary(paths) | OwnerRule::Added(paths) => {
                !param.paths.is_empty()
                    && param.paths.iter().all(|path| paths.iter().any(|known| known.elements == path.elements))
            }
            _ => params::narrow_by(kind) == Some(param.name) && param.name == "patient",
        }
}

fn meaning(
    frame: &Frame<'_>,
    param: &SearchParam,
    target: Option<ResourceType>,
    only_patient: bool,
    value: &str,
) -> Meaning {
    let patient = frame.cx.patient.as_str();
    let instance = |kind: ResourceType, id: &str| match kind {
        ResourceType::PATIENT if id == patient => Meaning::Session,
        ResourceType::PATIENT => Meaning::Other,
        _ if only_patient => Meaning::Nothing,
        kind if target.is_some_and(|target| target != kind) => Meaning::Nothing,
        kind => Meaning::Instance(format!("{kind}/{id}")),
    };
    match references::parse(value) {
        Reference::Relative { kind, id, .. } => instance(kind, id),
        Reference::Absolute { base, kind, id, .. } => {
            if base == frame.rules.upstream_base || base == frame.rules.public_base {
                instance(kind, id)
            } else {
                Meaning::Nothing
            }
        }
        Reference::Fragment(_) => Meaning::Nothing,
        Reference::Other(id) if Id::fits(id) => match target {
            Some(target) => instance(target, id),
            None if only_patient || param.targets == [ResourceType::PATIENT] => instance(ResourceType::PATIENT, id),
            // Sent bare it would also ask after another patient of that id, whose references are masked (p11).
            None if param.patient && param.targets.len() > SPELLED_OUT_MAX => Meaning::Ambiguous,
            None if param.patient => Meaning::Instances(
                param
                    .targets
                    .iter()
                    .filter(|kind| **kind != ResourceType::PATIENT || id == patient)
                    .map(|kind| format!("{kind}/{id}"))
                    .collect(),
            ),
            None => match param.targets {
                [only] => instance(*only, id),
                _ => Meaning::Kept,
            },
        },
        Reference::Other(_) if param.patient => Meaning::Nothing,
        Reference::Other(_) => Meaning::Kept,
    }
}

fn unoffered(param: &Param) -> Denial {
    let modifier = param.modifier.map(|modifier| format!(":{}", modifier.as_str())).unwrap_or_default();
    Denial::new(Reason::NotSupported, format!("`{}{modifier}` is not offered", param.name))
}

/// An order by references that may be masked would tell something of them (p11).
fn refuse_masked_sort(search: &Search) -> Result<(), Denial> {
    let masked = search.sort.iter().find(|(name, _)| {
        params::find(search.kind, name).is_some_and(|param| param.patient && !narrows(search.kind, param))
    });
    match masked {
        Some((name, _)) => Err(Denial::new(Reason::NotSupported, format!("sorting by `{name}` is not offered"))),
        None => Ok(()),
    }
}

/// `:iterate` also starts from types that came along, and so needs those granted (IN-11).
fn may_include(frame: &Frame<'_>, kind: ResourceType, include: &Include) -> bool {
    let Some(param) = params::find(include.source, include.param) else { return false };
    if include.source != kind && !frame.cx.grants.includes(include.source) {
        return false;
    }
    match include.target {
        Some(target) => param.targets.contains(&target) && frame.cx.grants.includes(target),
        None => param.targets.iter().any(|target| frame.cx.grants.includes(*target)),
    }
}

/// Imposes the patient on the upstream search; gives back by which parameter.
pub(super) fn narrow(frame: &Frame<'_>, search: &mut Search) -> Result<Option<&'static str>, Denial> {
    let kind = search.kind;
    if frame.cx.grants.shares(kind) {
        return Ok(None);
    }
    let usual = params::narrow_by(kind);
    let mut proved = frame.rules.filters.proved_for(kind).peekable();
    let name = if proved.peek().is_none() {
        usual
    } else {
        // What was proved comes first; of several, the usual one.
        let found: Vec<&'static str> = proved.filter_map(|name| filters_by_patient(kind, name)).collect();
        found.iter().find(|name| Some(**name) == usual).or(found.first()).copied()
    };
    let Some(name) = name else {
        return Err(Denial::new(
            Reason::NotSupported,
            format!(
                "searches of `{kind}` cannot be narrowed to one patient at the server behind the gate; read by id instead"
            ),
        ));
    };
    if frame.rules.filters.is_poisoned(kind, name) {
        return Err(unproved(kind, name));
    }
    let (param_kind, value) = match kind {
        ResourceType::PATIENT => (ParamKind::Token, frame.cx.patient.to_string()),
        _ => (ParamKind::Reference, format!("Patient/{}", frame.cx.patient)),
    };
    let imposed = Param { name, kind: param_kind, modifier: None, values: vec![value] };
    // A list that also holds others (`actor=Patient/P1,Practitioner/x`) stays beside it: both must hold.
    if !search.params.contains(&imposed) {
        search.params.push(imposed);
    }
    Ok(Some(name))
}

fn filters_by_patient(kind: ResourceType, name: &str) -> Option<&'static str> {
    let param = params::find(kind, name)?;
    let by_id = kind == ResourceType::PATIENT && param.name == "_id";
    (by_id || param.patient && kind != ResourceType::PATIENT).then_some(param.name)
}
