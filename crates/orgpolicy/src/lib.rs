//! An organisation's own policies, in Cedar: text in, strictly validated; who asks for what in, allowed or denied out.
//!
//! Policies only narrow: what they allow must be granted by class, approval, profile and scopes too. Everything in doubt is
//! a denial: no policy permits, a policy forbids, a policy could not be evaluated, a policy reads what nobody knows.
//!
//! Pure: `now` is an argument, and nothing here touches a socket, a file or a clock. Policy text is what a person wrote; no
//! value of a request ever becomes part of it, values enter through Cedar's typed constructors alone.

mod facts;
mod known;
mod outcome;
mod policies;
mod problem;
mod reads;
mod slice;

pub use facts::{Action, Agent, Binding, Human, InvalidAction, Principal, Relationship, RequestFacts, SessionFacts};
pub use known::{Key, Known};
pub use outcome::{Outcome, Part, Why};
pub use policies::{DEFAULT_TEXT, Effect, POLICIES_MAX, Policies, PolicyInfo, SCHEMA_TEXT, TEXT_BYTES_MAX};
pub use problem::Problem;
pub use reads::Stability;
pub use slice::Slice;
