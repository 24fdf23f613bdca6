//! Request tables by case.
