//! From the decision to the release: calls to the upstream one after another, each permitted by the judgement before it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use domain::audit::Phi;
use domain::{Millis, Reason, Session, TenantId};
use fhir::request::{Interaction, SubmissionKind};
use orgpolicy::Action;
use policy::{
    Ask, BinaryProof, Consents, Decision, Denial, Finding, PageCursor, Permit, TenantRules, Verdict, WritePermit,
};

use super::budget::Place;
use super::organisation::Allowed;
use super::watched::Watched;
use super::{Answer, Caller, Gate, Tenant, absent, export, record};
use crate::audit::{Audit, Lane};
use crate::broker::{Room, Sent};
use crate::error::Refusal;
use crate::registry::{Registry, Standing};

/// What every entry of one request shares.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    pub tenant: &'a Tenant,
    pub rules: &'a TenantRules,
    pub trace: &'a record::Trace,
    pub caller: &'a Caller,
    /// Proofs of link that came with the request, opened.
    pub proofs: &'a BTreeMap<String, BinaryProof>,
    /// Where answers may be kept.
    pub room: Room,
    /// The other end of the connection.
    pub from: IpAddr,
}

/// What may be done next.
enum Next {
    Ask(Permit),
    Write(WritePermit),
}

impl Gate {
    /// One interaction, or the entries of a batch one by one.
    pub(super) async fn work(&self, job: &Job<'_>, interaction: Interaction, if_none_match: Option<&str>) -> Answer {
        if let Interaction::Bundle(submission) = &interaction
            && export::is_within(submission)
        {
            self.alert_export(job.trace, job.caller, "an entry of a Bundle asked for a bulk export").await;
        }
        match interaction {
            Interaction::Bulk(bulk) => Box::pin(self.bulk(job, bulk)).await,
            Interaction::Bundle(submission) if submission.kind == SubmissionKind::Batch => {
                Box::pin(self.batch(job, submission)).await
            }
            Interaction::Bundle(submission) => match submission.whole() {
                // One refusal refuses the whole (BA-03).
                Err(invalid) => self.deny(job.trace, job.caller, invalid.clone().into()).await,
                Ok(()) => match job.caller.purse.entries(submission.entries.len(), self.clock.now()) {
                    Err(over) => self.over(job.trace, job.caller, over).await,
                    Ok(()) => self.one(job, Interaction::Bundle(submission), None).await,
                },
            },
            other => self.one(job, other, if_none_match).await,
        }
    }

    /// From the decision to the release.
    pub(super) async fn one(&self, job: &Job<'_>, interaction: Interaction, if_none_match: Option<&str>) -> Answer {
        let Job { tenant, rules, caller, proofs, .. } = *job;
        let now = self.clock.now();
        let trace = job.trace;
        if let Err(over) = caller.purse.left() {
            return self.over(trace, caller, over).await;
        }
        // Kept before anything is asked: whatever comes of requests at once, no more of them say "not there" than may.
        let place = match caller.purse.place().await {
            Ok(place) => place,
            Err(refusal) => return self.deny(trace, caller, refusal).await,
        };
        if let Err(refusal) = exported(caller, &interaction) {
            return self.deny(trace, caller, refusal).await;
        }
        let interaction = match &caller.veil {
            None => interaction,
            Some(veil) => match Box::pin(self.meant(veil, rules, interaction)).await {
                Ok(interaction) => interaction,
                Err(refusal) => return self.deny(trace, caller, refusal).await,
            },
        };
        let page = match &interaction {
            Interaction::Page { token, .. } => match self.open_page(tenant, token) {
                Some(page) => Some(page),
                None => {
                    let refusal =
                        Refusal::new(Reason::PageInvalid, "the page link is not valid; start the search again");
                    return self.deny(trace, caller, refusal).await;
                }
            },
            _ => None,
        };
        // The organisation's policies come before the upstream is asked anything, Consents included.
        let judgement = self.judge(job, &interaction, page.as_ref());
        let registered = &caller.standing.integration;
        let allowed = judgement.allowed(registered);
        let trace = &trace.judged(judgement);
        let job = &Job { trace, ..*job };
        let guard = allowed.as_ref().and_then(|allowed| allowed.guard.clone());
        let ask = |integration, interaction: Interaction, page: Option<PageCursor>, consents: Consents| Ask {
            now,
            rules,
            integration,
            approval: &caller.standing.approval,
            profile: &caller.standing.profile,
            session: &caller.session,
            interaction,
            page,
            proofs: proofs.clone(),
            consents,
            guard: guard.clone(),
        };
        let Some(Allowed { integration, .. }) = allowed else {
            let as_registered = policy::decide(ask(registered, interaction, page, Consents::none()));
            return self.not_allowed(job, as_registered).await;
        };
        let consents = match self.known_consents(tenant, &caller.session) {
            Some(known) => known,
            None => {
                // What is refused without Consents is refused with them, and then the upstream is asked nothing at all.
                let asked = ask(&integration, interaction.clone(), page.clone(), Consents::none());
                if let Decision::Deny(denial) = policy::decide(asked) {
                    if Arc::ptr_eq(&integration, registered) {
                        return self.denied(job, denial).await;
                    }
                    let as_registered = policy::decide(ask(registered, interaction, page, Consents::none()));
                    return self.not_allowed(job, as_registered).await;
                }
                match Box::pin(self.ask_consents(tenant, rules, &caller.session)).await {
                    Ok(consents) => consents,
                    Err(refusal) => return self.deny(trace, caller, refusal).await,
                }
            }
        };
        let number = page.as_ref().map_or(1, PageCursor::number);
        let narrowed = !Arc::ptr_eq(&integration, registered);
        let again = narrowed.then(|| (interaction.clone(), page.clone(), consents.clone()));
        let next = match policy::decide(ask(&integration, interaction, page, consents)) {
            Decision::Permit(permit) => Next::Ask(permit),
            Decision::Write(permit) => Next::Write(permit),
            Decision::Deny(denial) => {
                let Some((interaction, page, consents)) = again else { return self.denied(job, denial).await };
                let as_registered = policy::decide(ask(registered, interaction, page, consents));
                return self.not_allowed(job, as_registered).await;
            }
        };
        // The page that is asked for counts, whatever is on it.
        if let Err(over) = caller.purse.page(number) {
            return self.over(trace, caller, over).await;
        }
        self.asked(job, next, place, if_none_match).await
    }

    /// What policies refuse. Where there are other reasons too, those are given, with the alerts that go with them.
    async fn not_allowed(&self, job: &Job<'_>, as_registered: Decision) -> Answer {
        if let Decision::Deny(denial) = as_registered {
            return self.denied(job, denial).await;
        }
        let refusal = Refusal::new(Reason::Policy, "the policies of this organisation do not allow this");
        self.deny(job.trace, job.caller, refusal).await
    }

    /// A refusal before anything is asked; a type that nobody expected is also an alert (S2-04).
    pub(super) async fn denied(&self, job: &Job<'_>, denial: Denial) -> Answer {
        let Job { tenant, trace, caller, .. } = *job;
        if denial.reason == Reason::TypeUnexpected {
            let phi = trace.phi(&caller.session);
            Box::pin(self.audit.alert(&tenant.settings.id, denial.reason.code(), &denial.says, phi)).await;
        }
        self.deny(trace, caller, denial.into()).await
    }

    /// Calls until there is something to release.
    async fn asked(&self, job: &Job<'_>, mut next: Next, place: Place, if_none_match: Option<&str>) -> Answer {
        let Job { tenant, rules, trace, caller, room, .. } = *job;
        let room = if caller.may_have_large() { room } else { Room::Memory };
        // The queue is bounded: no room means the request is refused before the upstream is touched (audit.md §9.1).
        let Ok(slot) = self.audit.reserve(Lane::Release) else { return overloaded() };
        let mut seal = |bytes: &[u8]| self.keys.seal_page(&tenant.settings.id, bytes).ok();
        // What is kept of answers while a page is filled has its share of the memory too.
        let mut _kept = None;
        let (released, large, _lease) = loop {
            let permit = match next {
                Next::Ask(permit) => permit,
                // What a de-identified session may ask changes nothing; should it ever, then not here.
                Next::Write(_) if caller.veil.is_some() => {
                    let refusal = Refusal::new(Reason::DeIdentified, "a de-identified session changes nothing");
                    return self.deny(trace, caller, refusal).await;
                }
                Next::Write(permit) => return Box::pin(self.change(job, slot, permit, place)).await,
            };
            // The lease bounds what all answers together may hold; it is given back once the body is on its way.
            let Sent { answered, spool, lease } =
                Box::pin(self.broker.send_held(&tenant.settings.id, permit, room)).await;
            let (verdict, large) = match spool {
                None => (policy::verify(answered, &mut seal), None),
                Some(spool) => Box::pin(self.judged_apart(tenant, answered, spool)).await,
            };
            match verdict {
                Verdict::Released(released) => break (released, large, lease),
                Verdict::Next(permit) => {
                    _kept = self.broker.keep(&tenant.settings.id, permit.kept_bytes());
                    if _kept.is_none() {
                        return overloaded();
                    }
                    next = Next::Ask(permit);
                }
                Verdict::Write(permit) => next = Next::Write(permit),
                Verdict::Denied(denial) => {
                    // Refused for what a look-up found: told as late, and as seldom, as "not there".
                    let looked_up = denial.reason == Reason::WriteRefused;
                    if looked_up {
                        absent::spend(&self.audit, trace, &caller.session, place);
                    }
                    let answer = self.deny(trace, caller, denial.into()).await;
                    if looked_up {
                        absent::next_tick(self.clock.now()).await;
                    }
                    return answer;
                }
                Verdict::Consents(_) => return overloaded(),
            }
        };
        let absent = released.reason() == Some(Reason::NotFound);
        // Counted here, where everything else could leave: whoever goes away before the tick has looked all the same.
        if absent {
            absent::spend(&self.audit, trace, &caller.session, place);
        } else {
            drop(place);
        }
        // An end that came while the upstream was answering counts (DESIGN, step 2).
        let alive = self.alive(&self.registry.snapshot(), &caller.session);
        if let Err(refusal) = alive.and_then(|_| self.still_ruled(job)) {
            return self.deny(trace, caller, refusal).await;
        }
        if !released.findings().is_empty() {
            let phi = || trace.phi(&caller.session);
            Box::pin(raise(&self.audit, &self.registry, &tenant.settings.id, released.findings(), phi)).await;
        }
        let (released, report) = match &caller.veil {
            None => (released, None),
            Some(veil) => match Box::pin(self.veiled(veil, &caller.session, rules, released)).await {
                Ok(veiled) => veiled,
                Err(refusal) => return self.deny(trace, caller, refusal).await,
            },
        };
        if let Err(over) = caller.purse.release(&released) {
            return self.over(trace, caller, over).await;
        }
        let digest = large.as_ref().map(|large| large.digest.as_str());
        let mut record = trace.released(&caller.session, &caller.standing, &released, false, digest);
        if let Some(report) = &report {
            report.write(&mut record);
        }
        let Ok(recorded) = self.audit.record(slot, record, released).await else {
            return Answer::unrecorded(unrecorded());
        };
        if absent {
            absent::next_tick(self.clock.now()).await;
        }
        let large = large.map(|large| {
            let (registry, session, clock) = (self.registry.clone(), caller.session.clone(), self.clock.clone());
            let alive = move || still_alive(&registry, &session, clock.now());
            Watched::new(large.spool, Box::new(alive))
        });
        Answer::released(recorded, if_none_match, large)
    }

    fn open_page(&self, tenant: &Tenant, token: &str) -> Option<PageCursor> {
        PageCursor::decode(&self.keys.open_page(&tenant.settings.id, token)?).ok()
    }

    /// Opens the proofs of link in a request; one that does not open proves nothing.
    pub(super) fn open_proofs(
        &self,
        tenant: &Tenant,
        interaction: &Interaction,
        body: Option<&[u8]>,
    ) -> BTreeMap<String, BinaryProof> {
        let asked = match interaction {
            Interaction::Binary { proof, .. } => proof.as_deref(),
            _ => None,
        };
        let body = body.and_then(|body| std::str::from_utf8(body).ok()).unwrap_or_default();
        let texts = asked.into_iter().chain(policy::sealed_texts(body));
        texts
            .filter_map(|text| {
                let bytes = self.keys.open_page(&tenant.settings.id, text)?;
                Some((text.to_owned(), BinaryProof::decode(&bytes).ok()?))
            })
            .collect()
    }
}

/// What a role that refuses exports keeps from its integrations, wherever it is asked for (S4-09).
fn exported(caller: &Caller, asked: &Interaction) -> Result<(), Refusal> {
    let Some(Err(why)) = caller.standing.role.as_ref().map(|role| role.exports()) else { return Ok(()) };
    if exports(asked) { Err(Refusal::new(Reason::RoleRefused, why.to_string())) } else { Ok(()) }
}

/// The same, by the names that policies have for it.
pub(super) fn is_export(action: Action) -> bool {
    matches!(action, Action::Everything | Action::Binary | Action::Export)
}

fn exports(asked: &Interaction) -> bool {
    match asked {
        Interaction::Everything(_) | Interaction::Binary { .. } | Interaction::Bulk(_) => true,
        Interaction::Bundle(submission) => {
            submission.entries.iter().any(|entry| entry.asks.as_ref().is_ok_and(exports))
        }
        _ => false,
    }
}

/// Alerts for what the upstream did wrong; a filter it ignored is not trusted again until proved (DESIGN, step 6).
pub(super) async fn raise(
    audit: &Audit,
    registry: &Registry,
    tenant: &TenantId,
    findings: &[Finding],
    phi: impl Fn() -> Phi,
) {
    for finding in findings {
        let (code, says) = match finding {
            Finding::ForeignMatch { kind, param } => {
                registry.poison(tenant, *kind, param).await;
                let says = format!(
                    "the upstream ignored `{param}` in a search of {kind}; such searches are refused until `hilum check` proves the filter"
                );
                ("upstream-ignored-filter", says)
            }
            Finding::ForeignLink => {
                ("upstream-foreign-link", "a page link led away from the upstream and was dropped".to_owned())
            }
            Finding::Rewritten { kind } => {
                let says = format!("the upstream stored another {kind} than was written, or says so");
                ("upstream-rewrote", says)
            }
            _ => ("upstream-finding", "the upstream's answer broke a rule".to_owned()),
        };
        audit.alert(tenant, code, &says, phi()).await;
    }
}

/// As `Gate::alive`, for a body that is on its way.
fn still_alive(registry: &Registry, session: &Session, now: Millis) -> bool {
    let snapshot = registry.snapshot();
    let fits = |standing: Standing| standing.integration.epoch == session.epoch;
    now < session.expires_at
        && !registry.session_ended(&session.id)
        && snapshot.standing(&session.approval, now).is_ok_and(fits)
}

pub(super) fn overloaded() -> Answer {
    Answer::unrecorded(Refusal::new(Reason::Overloaded, "too many requests are being worked on; try again"))
}

pub(super) fn unrecorded() -> Refusal {
    Refusal::new(Reason::RecordFailed, "the audit record could not be made durable")
}
