//! Fakes, fixtures and second opinions for tests. Never a dependency of the product.

pub mod naive;
pub mod world;
