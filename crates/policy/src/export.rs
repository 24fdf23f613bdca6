//! Bulk export: what an approval lets an `analytics` integration take of one population (S1-12 … S1-15).
//!
//! [`decide_export`] → [`ExportPlan`] → (the Group, as the upstream has it) → [`ExportPermit`] → [`ExportJob`]: each owns its
//! predecessor and is made in one place. What a job's files hold is judged line by line, by [`crate::LineJudge`].

use std::collections::BTreeSet;
use std::fmt;

use domain::{Actions, Approval, Class, Filter, Integration, Millis, Reason, Session, Subject, TaskProfile};
use fhir::request::{ExportOf, KickOff, TypeFilter};
use fhir::{Id, ResourceType};

use crate::context::Authority;
use crate::criteria;
use crate::decide::{Denial, check_standing};
use crate::grants::Grants;
use crate::permit::{UpstreamAnswer, UpstreamCall};
use crate::rules::TenantRules;
use crate::verify::members;

/// What an export of a type takes: every instance is found and read.
pub(crate) const EXPORTS: Actions = Actions::V1_READ;

/// First line of a stored job, with the version of its form.
const HEAD: &str = "export-job 1";

/// Who asks for an export, or for a file of one, at which time.
pub struct ExportAsk<'a> {
    /// The time of the decision.
    pub now: Millis,
    /// The tenant's rules.
    pub rules: &'a TenantRules,
    /// The integration as registered now, without what the organisation's policies keep from it.
    pub integration: &'a Integration,
    /// The approval as it stands now; the caller has compared its digest.
    pub approval: &'a Approval,
    /// The profile version the approval is for.
    pub profile: &'a TaskProfile,
    /// What the verified token says.
    pub session: &'a Session,
}

impl ExportAsk<'_> {
    /// Whose records this session may export: class, subject, approvers and launch mode must all say so.
    pub(crate) fn population(&self) -> Result<&ExportOf, Denial> {
        check_standing(self.now, self.integration, self.approval, self.profile, self.session)?;
        let refused = |says: &str| Err(Denial::new(Reason::ExportRefused, says));
        if self.integration.class != Class::Analytics {
            return refused("bulk export is for integrations of class analytics alone");
        }
        // Exports are asked for by the tenant's own token: nobody else's session has any.
        if self.session.subject != Subject::Cohort || Authority::of(self.session) != Authority::Tenant {
            return refused("a session for one patient exports nothing");
        }
        if !self.approval.is_by_two() {
            return refused("an export takes an approval by two people");
        }
        match self.approval.export() {
            Some(of) => Ok(of),
            None => refused("the approval of this session is for no export"),
        }
    }
}

/// Why a type cannot be exported, if it cannot.
pub(crate) fn check(grants: &Grants, kind: ResourceType) -> Result<(), Denial> {
    if grants.covering(kind, &[EXPORTS]).next().is_none() {
        let scope = format!("system/{kind}.rs");
        let says = format!("no scope of this session covers this; ask for `{scope}` if the task's profile has it");
        return Err(Denial { reason: Reason::ScopeInsufficient, says, scope: Some(scope) });
    }
    if !grants.expects(kind) {
        return Err(Denial::new(
            Reason::TypeUnexpected,
            format!("the integration is not registered to touch `{kind}`"),
        ));
    }
    if !grants.releasable(kind) || kind == ResourceType::BINARY {
        let says = format!("`{kind}` belongs to no single patient and is not shared here");
        return Err(Denial::new(Reason::TypeNotShared, says));
    }
    Ok(())
}

/// Judges a kick-off: its population is the approved one, its types are granted, its filters can be held to here.
///
/// # Errors
/// Why not; the upstream is asked nothing then.
pub fn decide_export(ask: &ExportAsk<'_>, kick_off: KickOff) -> Result<ExportPlan, Denial> {
    let of = ask.population()?;
    if *of != kick_off.of {
        let says =
            format!("this session may export `{of}` and nothing else; another population takes its own approval");
        return Err(Denial::new(Reason::ExportRefused, says));
    }
    let grants = Grants::new(ask.integration, ask.profile, ask.session, ask.rules, None);
    let kinds = if kick_off.kinds.is_empty() {
        ResourceType::all().filter(|kind| check(&grants, *kind).is_ok()).collect()
    } else {
        kick_off.kinds.iter().try_for_each(|kind| check(&grants, *kind))?;
        kick_off.kinds
    };
    if kinds.is_empty() {
        return Err(Denial::new(
            Reason::ScopeInsufficient,
            "no scope of this session covers a type that can be exported",
        ));
    }
    let mut filters = Vec::with_capacity(kick_off.filters.len());
    for filter in &kick_off.filters {
        if !kinds.contains(&filter.kind) {
            check(&grants, filter.kind)?;
        }
        let query = read_filter(filter).map(|read| written(&read));
        filters.push(TypeFilter { kind: filter.kind, query: query.ok_or_else(not_a_filter)? });
    }
    Ok(ExportPlan { of: kick_off.of, kinds, filters, upstream_base: ask.rules.upstream_base.clone(), now: ask.now })
}

fn not_a_filter() -> Denial {
    Denial::new(Reason::NotSupported, "a `_typeFilter` holds token parameters of its type, as a granular scope does")
}

/// A `_typeFilter` that can be judged on a resource at hand: in the grammar of a granular scope.
pub(crate) fn read_filter(filter: &TypeFilter) -> Option<Filter> {
    let read: Filter = filter.query.parse().ok()?;
    criteria::evaluable(filter.kind, &read).then_some(read)
}

fn written(filter: &Filter) -> String {
    let pairs: Vec<String> = filter.pairs.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    pairs.join("&")
}

/// Everything that is not unreserved (RFC 3986 §2.3) is encoded, the commas of a list too.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A kick-off that was judged, before it is known whom its population consists of.
#[derive(Debug)]
#[must_use]
pub struct ExportPlan {
    of: ExportOf,
    kinds: Vec<ResourceType>,
    filters: Vec<TypeFilter>,
    upstream_base: String,
    now: Millis,
}

impl ExportPlan {
    /// Whose records.
    #[must_use]
    pub fn of(&self) -> &ExportOf {
        &self.of
    }

    /// The types it will hold.
    #[must_use]
    pub fn kinds(&self) -> &[ResourceType] {
        &self.kinds
    }

    /// The call that tells who the members are; none where everybody is one.
    #[must_use]
    pub fn members_call(&self) -> Option<UpstreamCall> {
        match &self.of {
            ExportOf::Group(id) => Some(UpstreamCall::get(format!("Group/{id}"), "")),
            ExportOf::AllPatients => None,
        }
    }

    /// Fixes the members for good. `group` is what the upstream answered to [`ExportPlan::members_call`].
    ///
    /// # Errors
    /// The Group does not say plainly whom it consists of, or cannot be had.
    pub fn permit(self, group: Option<&UpstreamAnswer>) -> Result<ExportPermit, Denial> {
        let members = match (&self.of, group) {
            (ExportOf::AllPatients, None) => Members(Who::Everyone),
            (ExportOf::Group(id), Some(answer)) => {
                Members(Who::These(members::of_group(answer, id, &self.upstream_base, self.now)?))
            }
            _ => return Err(Denial::new(Reason::ExportRefused, "the members of this population are not known")),
        };
        let call = kick_off_call(&self.of, &self.kinds, &self.filters);
        let Self { of, kinds, filters, .. } = self;
        Ok(ExportPermit { call, job: ExportJob { of, kinds, filters, members } })
    }
}

/// The kick-off as the upstream gets it: written anew, with the types always said.
fn kick_off_call(of: &ExportOf, kinds: &[ResourceType], filters: &[TypeFilter]) -> UpstreamCall {
    let path = match of {
        ExportOf::Group(id) => format!("Group/{id}/$export"),
        ExportOf::AllPatients => "Patient/$export".to_owned(),
    };
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    let mut query = format!("_outputFormat=application%2Ffhir%2Bndjson&_type={}", names.join(","));
    if !filters.is_empty() {
        let texts: Vec<String> =
            filters.iter().map(|filter| encoded(&format!("{}?{}", filter.kind, filter.query))).collect();
        query.push_str("&_typeFilter=");
        query.push_str(&texts.join(","));
    }
    UpstreamCall::get(path, query)
}

/// Leave to begin one export upstream. Made by [`ExportPlan::permit`] alone, used up by [`ExportPermit::begun`].
// INVARIANT: call and job were judged together; there is no way to change or copy it.
#[must_use]
pub struct ExportPermit {
    call: UpstreamCall,
    job: ExportJob,
}

impl fmt::Debug for ExportPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExportPermit({:?})", self.job)
    }
}

impl ExportPermit {
    /// The one call it permits; it is asked with `Prefer: respond-async`.
    #[must_use]
    pub fn call(&self) -> &UpstreamCall {
        &self.call
    }

    /// What will be kept of it.
    #[must_use]
    pub fn job(&self) -> &ExportJob {
        &self.job
    }

    /// The upstream has accepted it; the permit is used up.
    #[must_use]
    pub fn begun(self) -> ExportJob {
        self.job
    }
}

/// Whose records a job may hold, fixed at its kick-off.
// INVARIANT: read from the upstream's Group by `ExportPlan::permit`, or from a stored job; a Group's set is not empty.
#[derive(Clone, Eq, PartialEq)]
pub struct Members(Who);

#[derive(Clone, Eq, PartialEq)]
enum Who {
    Everyone,
    These(BTreeSet<Id>),
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Who::Everyone => f.write_str("Members(everyone)"),
            Who::These(ids) => write!(f, "Members({}, [sealed])", ids.len()),
        }
    }
}

impl Members {
    /// Whether this patient is one.
    #[must_use]
    pub fn holds(&self, patient: &Id) -> bool {
        match &self.0 {
            Who::Everyone => true,
            Who::These(ids) => ids.contains(patient),
        }
    }

    /// How many there are; `None` where everybody is one.
    #[must_use]
    pub fn count(&self) -> Option<usize> {
        match &self.0 {
            Who::Everyone => None,
            Who::These(ids) => Some(ids.len()),
        }
    }
}

/// What is fixed of an export once it has begun. Holds PHI: it is stored sealed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExportJob {
    of: ExportOf,
    kinds: Vec<ResourceType>,
    filters: Vec<TypeFilter>,
    members: Members,
}

/// Bytes that are no stored job.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InvalidJob;

impl fmt::Display for InvalidJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a stored export")
    }
}

impl std::error::Error for InvalidJob {}

impl ExportJob {
    /// Whose records.
    #[must_use]
    pub fn of(&self) -> &ExportOf {
        &self.of
    }

    /// The types its files may be of.
    #[must_use]
    pub fn kinds(&self) -> &[ResourceType] {
        &self.kinds
    }

    /// Who its members are.
    #[must_use]
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// What resources of this type must satisfy, one of them; none: nothing. A filter that is no longer understood is a doubt.
    pub(crate) fn filters_of(&self, kind: ResourceType) -> Result<Vec<Filter>, Denial> {
        let of_kind = self.filters.iter().filter(|filter| filter.kind == kind);
        of_kind.map(|filter| read_filter(filter).ok_or_else(not_a_filter)).collect()
    }

    /// As it is stored: a line for each thing, and one at the end, so that a part is never taken for the whole.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = format!("{HEAD}\nof {}\n", self.of);
        for kind in &self.kinds {
            out.push_str(&format!("type {kind}\n"));
        }
        for filter in &self.filters {
            out.push_str(&format!("filter {}?{}\n", filter.kind, filter.query));
        }
        match &self.members.0 {
            Who::Everyone => out.push_str("everyone\n"),
            Who::These(ids) => ids.iter().for_each(|id| out.push_str(&format!("member {id}\n"))),
        }
        out.push_str("end\n");
        out.into_bytes()
    }

    /// Reads a stored job.
    ///
    /// # Errors
    /// [`InvalidJob`]: it is not whole, or not in a form that was ever written.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidJob> {
        let text = std::str::from_utf8(bytes).map_err(|_| InvalidJob)?;
        let text = text.strip_suffix("end\n").ok_or(InvalidJob)?;
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return Err(InvalidJob);
        }
        let of = lines.next().and_then(|line| line.strip_prefix("of ")).ok_or(InvalidJob)?;
        let of: ExportOf = of.parse().map_err(|_| InvalidJob)?;
        let (mut kinds, mut filters, mut members, mut everyone) = (Vec::new(), Vec::new(), BTreeSet::new(), false);
        for line in lines {
            match line.split_once(' ') {
                Some(("type", name)) => kinds.push(name.parse().map_err(|_| InvalidJob)?),
                Some(("filter", text)) => {
                    let (name, query) = text.split_once('?').ok_or(InvalidJob)?;
                    let kind = name.parse().map_err(|_| InvalidJob)?;
                    filters.push(TypeFilter { kind, query: query.to_owned() });
                }
                Some(("member", id)) => {
                    let id: Id = id.parse().map_err(|_| InvalidJob)?;
                    members.insert(id);
                }
                None if line == "everyone" => everyone = true,
                _ => return Err(InvalidJob),
            }
        }
        let who = match (&of, everyone, members.is_empty()) {
            (ExportOf::AllPatients, true, true) => Who::Everyone,
            (ExportOf::Group(_), false, false) => Who::These(members),
            _ => return Err(InvalidJob),
        };
        if kinds.is_empty() {
            return Err(InvalidJob);
        }
        Ok(Self { of, kinds, filters, members: Members(who) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED: &str = "export-job 1\nof Group/G1\ntype Observation\ntype Patient\n\
                          filter Observation?category=a%2Cb\nmember P1\nmember P2\nend\n";

    /// Every version ever written stays readable, or is refused as a whole.
    #[test]
    fn a_stored_job_is_read_as_it_was_written() {
        let job = ExportJob::decode(STORED.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(job.encode()).unwrap(), STORED);
        assert_eq!((job.of().to_string().as_str(), job.kinds().len(), job.members().count()), ("Group/G1", 2, Some(2)));
        assert!(job.members().holds(&"P1".parse().unwrap()) && !job.members().holds(&"P3".parse().unwrap()));
        let all = ExportJob::decode(b"export-job 1\nof all-patients\ntype Patient\neveryone\nend\n").unwrap();
        assert!(all.members().holds(&"P3".parse().unwrap()));
        assert!(!format!("{job:?}").contains("P1"));
        for bad in [
            "",
            "export-job 2\nof Group/G1\ntype Patient\nmember P1\nend\n",
            "export-job 1\nof Group/G1\ntype Patient\nend\n",
            "export-job 1\nof Group/G1\nmember P1\nend\n",
            "export-job 1\nof Group/G1\ntype Patient\neveryone\nend\n",
            "export-job 1\nof Group/G1\ntype Patient\neveryone\nmember P1\nend\n",
            "export-job 1\nof all-patients\ntype Patient\nmember P1\nend\n",
            "export-job 1\nof Group/G1\ntype Patient\nmember P1/x\nend\n",
            "export-job 1\nof Group/G1\ntype Nonsense\nmember P1\nend\n",
            "export-job 1\nof Group/G1\ntype Patient\nmember P1\nmore\nend\n",
            "export-job 1\nof Group/G1\ntype Patient\nmember P1\n",
        ] {
            assert!(ExportJob::decode(bad.as_bytes()).is_err(), "{bad}");
        }
        for end in 0..STORED.len() {
            assert!(ExportJob::decode(STORED.get(..end).unwrap().as_bytes()).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn a_kick_off_is_written_anew() {
        let filter = TypeFilter { kind: ResourceType::OBSERVATION, query: "category=a%2Cb&code=x".into() };
        let of = ExportOf::Group("G1".parse().unwrap());
        let call = kick_off_call(&of, &[ResourceType::OBSERVATION, ResourceType::PATIENT], &[filter]);
        assert_eq!(call.path, "Group/G1/$export");
        assert_eq!(
            call.query,
            "_outputFormat=application%2Ffhir%2Bndjson&_type=Observation,Patient\
             &_typeFilter=Observation%3Fcategory%3Da%252Cb%26code%3Dx"
        );
    }
}
