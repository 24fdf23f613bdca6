//! Shortcuts around the chain `Permit` → `Answered` → `Released` do not compile.

#![allow(missing_docs)]

#[test]
fn the_chain_cannot_be_skipped() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
