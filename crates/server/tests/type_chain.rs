//! The shortcuts from an upstream answer to a caller that must not compile (DESIGN, "One FHIR request, one path").

#[test]
fn no_step_after_verify_can_be_skipped() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
