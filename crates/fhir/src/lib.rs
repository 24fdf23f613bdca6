//! FHIR R4 as a language: resource types, ids, compartment tables, and reading a FHIR request.
//!
//! Pure: no runtime, sockets, files, environment, clock or randomness.

pub mod compartment;
pub mod elements;
mod id;
pub mod json;
pub mod owner;
pub mod params;
pub mod patch;
mod path;
pub mod references;
pub mod request;
mod structure;
pub mod summary;
mod tables;
mod types;

pub use id::{Id, InvalidId};
pub use path::ElementPath;
pub use types::{InvalidResourceType, ResourceType};
