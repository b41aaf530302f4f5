//! Allowances: the document, its one form, who has to sign, and what is refused.
#![expect(clippy::unwrap_used, reason = "a test that cannot make its data has to fail")]

mod attacks;
mod canonical;
mod documents;
mod summary;
mod support;
mod trust;

#[path = "../signatures/token.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests of signatures use all of it")]
mod token;
