//! Approvals: asked for by an operator, decided by a privacy officer who is another person (S0-05).

use axum::extract::{Path, State};
use axum::http::Uri;
use domain::{Approval, ApprovalId, ApprovalStatus, FirstApproval, IntegrationId, Reason};

use super::integrations::reason;
use super::problem::ApiError;
use super::read::{self, Body, status_word};
use super::visit::Visit;
use super::{Answer, asked, created, ok, query, shapes};
use crate::clock::random;
use crate::registry::Registry;
use crate::registry::plan::{Again, Asked, Plan, live};
use crate::registry::rules;
use crate::registry::snapshot::{Held, Snapshot};

pub(super) async fn list(State(registry): State<Registry>, visit: Visit, uri: Uri) -> Answer {
    let query = query(&uri, &["status", "integration"])?;
    let integration: Option<IntegrationId> = asked(&query, "integration")?;
    let status = query.get("status");
    let words = ["requested", "approved", "suspended", "rejected", "ended"];
    if let Some(word) = status.filter(|word| !words.contains(&word.as_str())) {
        return Err(ApiError::malformed(format!("`status`: `{word}` is none of {}", words.join(", "))));
    }
    let snapshot = registry.snapshot();
    let fits = |one: &Approval| {
        integration.as_ref().is_none_or(|id| *id == one.integration)
            && status.is_none_or(|status| status == status_word(one))
    };
    let all = snapshot.approvals(visit.tenant()?).into_iter().map(|held| &held.value);
    ok(shapes::items(all.filter(|one| fits(one)).take(1_000).map(|one| shapes::approval(&snapshot, one))))
}

pub(super) async fn show(
    State(registry): State<Registry>,
    visit: Visit,
    Path((_, id)): Path<(String, String)>,
) -> Answer {
    let snapshot = registry.snapshot();
    ok(shapes::approval(&snapshot, &find(&snapshot, &visit, &id)?.value))
}

pub(super) async fn request(State(registry): State<Registry>, visit: Visit, Body(mut fields): Body) -> Answer {
    let integration: Option<IntegrationId> = fields.must("integration");
    let rest = read::request(&mut fields);
    let (integration, (task, justification, terms)) = fields.end(integration.zip(rest)).map_err(ApiError::mistakes)?;
    let note = format!("{integration} {task}: {justification}");
    let id = ApprovalId(random()?);
    let asked = Asked { integration, task, terms, justification, by: visit.caller.person.clone(), id };
    let _one = registry.0.changing.lock().await;
    let mut plan = Plan::new(&registry.snapshot(), registry.0.clock.now());
    let id = plan.request(visit.tenant()?, asked, Again::Ask).map_err(ApiError::mistakes)?;
    registry.write_plan(&visit, visit.deed(id, note), &plan).await?;
    let snapshot = registry.snapshot();
    let held = find(&snapshot, &visit, &id.to_string())?;
    let shape = shapes::approval(&snapshot, &held.value);
    if plan.change.is_empty() { ok(shape) } else { created(shape) }
}

pub(super) async fn approve(
    State(registry): State<Registry>,
    visit: Visit,
    Path((_, id)): Path<(String, String)>,
    Body(mut fields): Body,
) -> Answer {
    let (until, seen) = (fields.time("until"), fields.maybe::<String>("digest"));
    let until = fields.end(until).map_err(ApiError::mistakes)?;
    let now = registry.0.clock.now();
    let _one = registry.0.changing.lock().await;
    let snapshot = registry.snapshot();
    let held = find(&snapshot, &visit, &id)?;
    let approval = &held.value;
    if approval.requested_by == visit.caller.person {
        return Err(ApiError::forbidden(
            Reason::SelfApproval,
            "nobody approves their own request; ask another privacy officer",
        ));
    }
    if approval.status != ApprovalStatus::Requested {
        return Err(ApiError::conflict(format!("it is {}; only a request can be approved", status_word(approval))));
    }
    if !snapshot.fits(&approval.id) || seen.is_some_and(|seen| seen != approval.digest) {
        return Err(ApiError::conflict("what is asked has changed; read it again before approving"));
    }
    let integration = snapshot.integration(&approval.integration).ok_or_else(|| ApiError::missing("integration"))?;
    let profile = snapshot.profile(&approval.tenant, &approval.task).ok_or_else(|| ApiError::missing("task"))?;
    let mut mistakes = rules::until(integration, until, now);
    if !integration.usable(now) {
        mistakes.push("the integration is suspended, ended or past its end".into());
    }
    // Asked again now: another approval may have come in between.
    mistakes.extend(rules::request(&snapshot, integration, profile, &approval.terms, &approval.justification));
    if !mistakes.is_empty() {
        return Err(ApiError::mistakes(mistakes));
    }
    let by = visit.caller.person.clone();
    let until = match &approval.first {
        _ if integration.class.approvers() < 2 => until,
        // S1-12: the first of two puts nothing in force.
        None => {
            let mut new = Approval::clone(approval);
            new.first = Some(FirstApproval { by, at: now, until });
            let note = format!("first of two, until {}, digest {}", read::show_time(until), approval.digest);
            return written(&registry, &visit, &snapshot, new, held.revision, note).await;
        }
        Some(first) if first.by == by => {
            let says = "an export takes two people; ask another privacy officer to approve it too";
            return Err(ApiError::forbidden(Reason::SelfApproval, says));
        }
        Some(first) => until.min(first.until),
    };
    // What the first agreed to may be over by now.
    let mistakes = rules::until(integration, until, now);
    if !mistakes.is_empty() {
        return Err(ApiError::mistakes(mistakes));
    }
    let status = ApprovalStatus::Approved { by, at: now, until };
    let note = format!("until {}, digest {}", read::show_time(until), approval.digest);
    decide(&registry, &visit, &snapshot, held, status, note).await
}

pub(super) async fn reject(
    State(registry): State<Registry>,
    visit: Visit,
    Path((_, id)): Path<(String, String)>,
    Body(fields): Body,
) -> Answer {
    let reason = reason(fields)?;
    let _one = registry.0.changing.lock().await;
    let snapshot = registry.snapshot();
    let held = find(&snapshot, &visit, &id)?;
    if held.value.status != ApprovalStatus::Requested {
        return Err(ApiError::conflict(format!("it is {}; only a request can be rejected", status_word(&held.value))));
    }
    let status = ApprovalStatus::Rejected { by: visit.caller.person.clone(), at: registry.0.clock.now() };
    decide(&registry, &visit, &snapshot, held, status, reason).await
}

pub(super) async fn suspend(
    State(registry): State<Registry>,
    visit: Visit,
    Path((_, id)): Path<(String, String)>,
    Body(fields): Body,
) -> Answer {
    let reason = reason(fields)?;
    let _one = registry.0.changing.lock().await;
    let snapshot = registry.snapshot();
    let held = find(&snapshot, &visit, &id)?;
    if !live(&held.value.status) {
        return Err(ApiError::conflict(format!("it is {} already", status_word(&held.value))));
    }
    let status = ApprovalStatus::Suspended { reason: reason.clone(), at: registry.0.clock.now() };
    decide(&registry, &visit, &snapshot, held, status, reason).await
}

pub(super) async fn end(
    State(registry): State<Registry>,
    visit: Visit,
    Path((_, id)): Path<(String, String)>,
    Body(fields): Body,
) -> Answer {
    let reason = reason(fields)?;
    let _one = registry.0.changing.lock().await;
    let snapshot = registry.snapshot();
    let held = find(&snapshot, &visit, &id)?;
    if matches!(held.value.status, ApprovalStatus::Ended { .. } | ApprovalStatus::Rejected { .. }) {
        return Err(ApiError::conflict(format!("it is {} already", status_word(&held.value))));
    }
    let status = ApprovalStatus::Ended { by: visit.caller.person.clone(), at: registry.0.clock.now() };
    decide(&registry, &visit, &snapshot, held, status, reason).await
}

async fn decide(
    registry: &Registry,
    visit: &Visit,
    snapshot: &Snapshot,
    held: &Held<Approval>,
    status: ApprovalStatus,
    note: String,
) -> Answer {
    let mut approval = Approval::clone(&held.value);
    if let ApprovalStatus::Approved { at, .. } = held.value.status {
        approval.approved_at = Some(at);
    }
    if let ApprovalStatus::Approved { at, .. } = status {
        approval.approved_at = Some(at);
    }
    approval.status = status;
    written(registry, visit, snapshot, approval, held.revision, note).await
}

async fn written(
    registry: &Registry,
    visit: &Visit,
    snapshot: &Snapshot,
    approval: Approval,
    revision: u64,
    note: String,
) -> Answer {
    let id = approval.id;
    let mut plan = Plan::new(snapshot, registry.0.clock.now());
    plan.put_approval(approval, Some(revision));
    registry.write_plan(visit, visit.deed(id, note), &plan).await?;
    let snapshot = registry.snapshot();
    ok(shapes::approval(&snapshot, &find(&snapshot, visit, &id.to_string())?.value))
}

fn find<'a>(snapshot: &'a Snapshot, visit: &Visit, id: &str) -> Result<&'a Held<Approval>, ApiError> {
    let id: ApprovalId = id.parse().map_err(|_| ApiError::missing("approval"))?;
    snapshot.held_approval(visit.tenant()?, &id).ok_or_else(|| ApiError::missing("approval"))
}
