//! Hilum's server: HTTP, one folder per service. The core that decides is in `policy`; this crate moves bytes and records.

pub mod app;
pub mod audit;
pub mod authorize;
pub mod broker;
pub mod clock;
pub mod console;
pub mod error;
pub mod gate;
pub mod hex;
pub mod identity;
pub mod keys;
pub mod listen;
pub mod outbound;
pub mod registry;
pub mod settings;
pub mod spool;
pub mod surrogates;
