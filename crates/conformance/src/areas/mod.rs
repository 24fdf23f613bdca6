//! The rows, one file per subject.

mod assertions;
mod attested;
mod authorize;
mod backend;
mod bound;
mod discovery;
mod dpop;
mod exchange;
mod headers;
mod keys;
mod launch;
mod openid;
mod pages;
mod par;
mod questions;
mod refresh;
mod resource;
mod scopes;
pub(crate) mod shown;
mod token;

use crate::row::Row;

/// Every area in the order it runs.
pub const ALL: &[(&str, &[Row])] = &[
    ("discovery", discovery::ROWS),
    ("assertions", assertions::ROWS),
    ("keys", keys::ROWS),
    ("token", token::ROWS),
    ("backend", backend::ROWS),
    ("launch", launch::ROWS),
    ("questions", questions::ROWS),
    ("resource", resource::ROWS),
    ("authorize", authorize::ROWS),
    ("pages", pages::ROWS),
    ("exchange", exchange::ROWS),
    ("refresh", refresh::ROWS),
    ("scopes", scopes::ROWS),
    ("openid", openid::ROWS),
    ("dpop", dpop::ROWS),
    ("bound", bound::ROWS),
    ("par", par::ROWS),
    ("headers", headers::ROWS),
    ("attested", attested::ROWS),
];
