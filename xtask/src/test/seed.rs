//! What tests that draw at random begin with.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::process::Command;

use anyhow::{Context as _, Result};

/// Tells a run which seed to use.
const VARIABLE: &str = "HOLDFAST_TEST_SEED";
/// What proptest goes by.
const PROPTEST: &str = "PROPTEST_RNG_SEED";
/// The seed where nobody says otherwise: a failure is then one of the change, and not of the draw.
const DEFAULT: u64 = 2012;

/// One number for every test of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u64);

impl Seed {
    /// The seed in the environment, or always the same.
    pub fn of_this_run() -> Result<Self> {
        match std::env::var(VARIABLE) {
            Ok(text) => text.parse().map(Self).with_context(|| format!("{VARIABLE}={text}")),
            Err(_) => Ok(Self(DEFAULT)),
        }
    }

    /// A seed that nobody had before.
    pub fn new() -> Self {
        Self(RandomState::new().build_hasher().finish())
    }

    /// Gives it to `cargo test`: to tests of our own, and to proptest.
    pub fn give(self, command: &mut Command) {
        command.env(VARIABLE, self.0.to_string()).env(PROPTEST, self.0.to_string());
    }

    /// The same as words for the shell, where `cargo test` is called directly.
    pub fn assignments(self) -> String {
        format!("{} {PROPTEST}={}", self.assignment(), self.0)
    }

    /// The seed as a word for the shell.
    pub fn assignment(self) -> String {
        format!("{VARIABLE}={}", self.0)
    }
}
