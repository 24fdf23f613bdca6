//! What may pass: `decide` judges a request before the upstream is asked, `verify` judges every resource it answers.
//!
//! The chain `Permit` → `Answered` → `Released` cannot be skipped: each owns its predecessor and is made in one place
//! only (`decide`, [`Permit::answered`], `verify`). Pure: `now` is an argument, sealing is a closure.

mod consent;
mod context;
mod criteria;
mod cursor;
mod decide;
mod export;
mod grants;
mod labels;
mod offers;
mod outcome;
mod permit;
mod proof;
mod released;
mod rules;
mod shape;
mod verify;

pub use consent::{ConsentContext, Consents, ConsentsBuilder};
pub use context::Authority;
pub use cursor::{InvalidCursor, PageCursor};
pub use decide::{Ask, Decision, Denial, Guard, ask_consents, decide};
pub use export::{ExportAsk, ExportJob, ExportPermit, ExportPlan, InvalidJob, Members, decide_export};
pub use offers::{Offer, offers, offers_at_most};
pub use outcome::outcome;
pub use permit::{Answered, Permit, UpstreamAnswer, UpstreamBody, UpstreamCall, Verb, WritePermit};
pub use proof::{BinaryProof, sealed_texts};
pub use released::{Content, Counts, Finding, Released};
pub use rules::{Filters, TenantRules};
pub use verify::{
    BrokenLine, ExportFile, Held, Interrupted, InvalidManifest, Line, LineJudge, Manifest, ReleasedLine, Sealer, Sink,
    Source, Verdict, decide_lines, verify, verify_spooled,
};
