//! A black-box conformance suite for SMART on FHIR authorization servers and the FHIR APIs they guard.
//!
//! It knows a server by its URL and what it says of itself, and reads the standards on its own: it shares no code with any
//! server, ours included, so that a mistake there is not made here again. Rows are in `areas`, one file per subject, each a table
//! of what is sent and what is expected, by requirement and clause. `docs/conformance.md` says how to run it.

mod areas;
pub mod browser;
pub mod config;
mod flow;
mod host;
pub mod html;
pub mod http;
pub mod jose;
mod row;
mod suite;
mod target;

pub use areas::shown::{SHOWN, Shown};
pub use row::{Case, Finding, Row, Status};
pub use suite::{Suite, rows};
