//! What may pass: `decide` judges a request before the upstream is asked, `verify` judges every resource it answers.
//!
//! The chain `Permit` → `Answered` → `Released` cannot be skipped: each owns its predecessor and is made in one place
//! only (`decide`, [`Permit::answered`], `verify`). Pure: `now` is an argument, sealing is a closure.

mod consent;
mod context;
mod criteria;
mod cursor;
mod decide;
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
pub use cursor::{InvalidCursor, PageCursor};
pub use decide::{Ask, Decision, Denial, Guard, ask_consents, decide};
pub use offers::{Offer, offers, offers_at_most};
pub use outcome::outcome;
pub use permit::{Answered, Permit, UpstreamAnswer, UpstreamBody, UpstreamCall, Verb, WritePermit};
pub use proof::{BinaryProof, sealed_texts};
pub use released::{Content, Counts, Finding, Released};
pub use rules::{Filters, TenantRules};
pub use verify::{Interrupted, Sealer, Sink, Source, Verdict, verify, verify_spooled};
