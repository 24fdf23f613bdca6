//! The rows of `spec/enforcement.md` section (b) that can be decided purely, by their case ids.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    missing_docs
)]

mod attacks;
mod fixture;
mod includes;
mod naive;
mod pages;
mod read;
mod references;
mod search;
mod standing;
mod transactions;
mod views;
mod write_answers;
mod writes;
mod written_back;
