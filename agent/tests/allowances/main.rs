//! The command line for allowances as whole processes, against an agent that only these tests know.

#![expect(clippy::unwrap_used, reason = "a test that cannot make its data has to fail")]

mod asking;
mod fake;
mod run;

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
