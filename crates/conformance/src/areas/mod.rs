//! The rows, one file per subject.

mod assertions;
mod discovery;

use crate::row::Row;

/// Every area in the order it runs.
pub const ALL: &[(&str, &[Row])] = &[("discovery", discovery::ROWS), ("assertions", assertions::ROWS)];
