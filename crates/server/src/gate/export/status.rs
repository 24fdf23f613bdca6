//! How far a job is; once it is complete, its manifest in our own words (S1-14).

use http::StatusCode;
use policy::{Manifest, TenantRules};

use super::stored::Stored;
use super::{Found, export_label, failed, retry_after, unknown};
use crate::broker::ExportStatus;
use crate::error::Refusal;
use crate::gate::answer::Step;
use crate::gate::work::Job;
use crate::gate::{Answer, Gate};

impl Gate {
    pub(super) async fn export_status(&self, job: &Job<'_>, name: &str) -> Answer {
        let Job { tenant, rules, trace, caller, .. } = *job;
        let Found { id, stored, .. } = match self.find_job(job, name).await {
            Ok(found) => found,
            Err(answer) => return answer,
        };
        if let Some(manifest) = &stored.manifest {
            let step = complete(rules, name, &stored.request, manifest);
            return self.stepped(job, &id, "export-status", step).await;
        }
        let answer = match self.broker.export_status(&tenant.settings.id, &stored.place).await {
            ExportStatus::Pending(seconds) => {
                let step =
                    Step { status: StatusCode::ACCEPTED, retry_after: Some(retry_after(seconds)), ..Step::default() };
                return self.stepped(job, &id, "export-status", step).await;
            }
            ExportStatus::Gone => return self.no_job(job).await,
            ExportStatus::Failed(status) => return self.deny(trace, caller, failed(status)).await,
            ExportStatus::Done(answer) => answer,
        };
        let Ok(manifest) = Manifest::read(&answer, &stored.job) else {
            let phi = trace.phi(&caller.session);
            let says = "the manifest of an export is not one, or of another kind than was asked for";
            self.audit.alert(&tenant.settings.id, "upstream-broken-manifest", says, phi).await;
            return self.deny(trace, caller, failed(502)).await;
        };
        if manifest.left_out() > 0 || manifest.errors() > 0 {
            let (left_out, errors) = (manifest.left_out(), manifest.errors());
            let says = format!(
                "an export has {left_out} files of types that were not asked for, and {errors} of errors; they are not passed on"
            );
            self.audit.alert(&tenant.settings.id, "upstream-finding", &says, trace.phi(&caller.session)).await;
        }
        let step = complete(rules, name, &stored.request, &manifest);
        let stored = Stored { manifest: Some(manifest), ..stored };
        let sealed = stored.encode();
        let sealed =
            sealed.and_then(|plain| self.keys.seal_row(tenant.settings.id.as_str(), &export_label(&id), &plain).ok());
        let kept = match sealed {
            None => Err(unknown()),
            Some(sealed) => self.keys.store().complete_export(&id, &sealed).await.map_err(|why| {
                tracing::error!(%why, "an export could not be kept");
                unknown()
            }),
        };
        match kept {
            Ok(true) => self.stepped(job, &id, "export-status", step).await,
            // Somebody was faster: what is kept now is the one answer there is, and whoever cancelled it wants none.
            Ok(false) => self.kept_elsewhere(job, name).await,
            Err(refusal) => self.deny(trace, caller, refusal).await,
        }
    }

    async fn kept_elsewhere(&self, job: &Job<'_>, name: &str) -> Answer {
        let found = match self.find_job(job, name).await {
            Ok(found) => found,
            Err(answer) => return answer,
        };
        match &found.stored.manifest {
            Some(manifest) => {
                let step = complete(job.rules, name, &found.stored.request, manifest);
                self.stepped(job, &found.id, "export-status", step).await
            }
            None => {
                let refusal: Refusal = unknown();
                self.deny(job.trace, job.caller, refusal).await
            }
        }
    }
}

fn complete(rules: &TenantRules, name: &str, request: &str, manifest: &Manifest) -> Step {
    let address = |number: usize| format!("{}/$bulk/{name}/{number}", rules.public_base);
    Step { status: StatusCode::OK, body: manifest.public(request, &address), ..Step::default() }
}
