//! Batches: each entry is decided, asked, verified and recorded by itself, as if it had come alone (b.13).

use domain::Reason;
use fhir::json::quote;
use fhir::request::{Interaction, Submission};

use super::work::Job;
use super::{Answer, Gate};
use crate::broker::Room;
use crate::error::Refusal;

/// A batch is answered no further than this, and one answer: twice the body that a request may have.
const ANSWER_BYTES_MAX: usize = 2 * fhir::request::BODY_BYTES_MAX;

impl Gate {
    /// The answers of a batch, in its order. An entry that is refused is answered so, and takes nothing from the others.
    pub(super) async fn batch(&self, job: &Job<'_>, submission: Submission) -> Answer {
        if submission.entries.is_empty() {
            let refusal = Refusal::new(Reason::RequestInvalid, "the batch has no entry");
            return self.deny(job.trace, job.caller, refusal).await;
        }
        let mut body = br#"{"resourceType":"Bundle","type":"batch-response","entry":["#.to_vec();
        for (at, entry) in submission.entries.into_iter().enumerate() {
            let trace = job.trace.entry(&entry.line);
            let mut proofs = job.proofs.clone();
            if let Ok(asks @ Interaction::Binary { .. }) = &entry.asks {
                proofs.extend(self.open_proofs(job.tenant, asks, None));
            }
            // All entries of one answer are in memory together.
            let job = Job { trace: &trace, proofs: &proofs, room: Room::Memory, ..*job };
            // The first was charged as the request.
            let charged = if at == 0 { Ok(()) } else { job.caller.purse.request(self.clock.now()) };
            let answer = match entry.asks {
                _ if let Err(over) = charged => self.over(&trace, job.caller, over).await,
                // Refused before it is asked, so that a change is not made that cannot be told of.
                Ok(_) if body.len() > ANSWER_BYTES_MAX => {
                    let says = "the answer to this batch has grown too large; ask for this entry by itself";
                    self.deny(&trace, job.caller, Refusal::new(Reason::TooCostly, says)).await
                }
                // A Bundle within a Bundle was refused when it was read, so this does not come back here.
                Ok(asks) => self.one(&job, asks, None).await,
                Err(invalid) => self.not_read(&trace, job.caller, invalid.into()).await,
            };
            if at > 0 {
                body.push(b',');
            }
            write(&mut body, answer);
        }
        body.extend(*b"]}");
        Answer::of_entries(body)
    }
}

/// One entry of the answer.
fn write(out: &mut Vec<u8>, answer: Answer) {
    let (status, body, headers) = answer.into_entry();
    out.extend(format!(r#"{{"response":{{"status":"{status}""#).into_bytes());
    for (name, value) in headers {
        out.extend(format!(r#","{name}":{}"#, quote(&value)).into_bytes());
    }
    let is_outcome = body.starts_with(br#"{"resourceType":"OperationOutcome""#) || status >= 400;
    if is_outcome && !body.is_empty() {
        out.extend(*br#","outcome":"#);
        out.extend_from_slice(&body);
    }
    out.push(b'}');
    if !is_outcome && !body.is_empty() {
        out.extend(*br#","resource":"#);
        out.extend_from_slice(&body);
    }
    out.push(b'}');
}
