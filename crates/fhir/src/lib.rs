//! FHIR R4 as a language: resource types, ids, compartment tables, and reading a FHIR request.
//!
//! Pure: no runtime, sockets, files, environment, clock or randomness.

mod id;
pub mod json;
mod types;

pub use id::{Id, InvalidId};
pub use types::{InvalidResourceType, ResourceType};
