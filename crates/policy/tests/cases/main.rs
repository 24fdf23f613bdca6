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
mod binary;
mod export;
mod filling;
mod fixture;
mod hops;
mod includes;
mod labels;
mod large;
mod matrix;
mod naive;
mod pages;
mod read;
mod records;
mod references;
mod search;
mod slices;
mod standing;
mod transactions;
mod views;
mod write_answers;
mod writes;
mod written_back;
