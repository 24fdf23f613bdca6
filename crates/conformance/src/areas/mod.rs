//! The rows, one file per subject.

mod assertions;
mod authorize;
mod backend;
mod discovery;
mod exchange;
mod questions;
mod refresh;
mod resource;
mod token;

use crate::row::Row;

/// Every area in the order it runs.
pub const ALL: &[(&str, &[Row])] = &[
    ("discovery", discovery::ROWS),
    ("assertions", assertions::ROWS),
    ("token", token::ROWS),
    ("backend", backend::ROWS),
    ("questions", questions::ROWS),
    ("resource", resource::ROWS),
    ("authorize", authorize::ROWS),
    ("exchange", exchange::ROWS),
    ("refresh", refresh::ROWS),
];
