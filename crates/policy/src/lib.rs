//! What may pass: `decide` judges a request before the upstream is asked, `verify` judges every resource it answers.
//!
//! The chain `Permit` → `Answered` → `Released` cannot be skipped: each owns its predecessor and is made in one place
//! only (`decide`, [`Permit::answered`], `verify`). Pure: `now` is an argument, sealing is a closure.

mod criteria;
mod cursor;
mod decide;
mod grants;
mod outcome;
mod permit;
mod released;
mod rules;
mod verify;

pub use cursor::{InvalidCursor, PageCursor};
pub use decide::{Ask, Decision, Denial, decide};
pub use outcome::outcome;
pub use permit::{Answered, Permit, UpstreamAnswer, UpstreamCall};
pub use released::{Counts, Finding, Released};
pub use rules::{Filters, TenantRules};
pub use verify::verify;
