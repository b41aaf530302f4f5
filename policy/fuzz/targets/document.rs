//! Allowance documents: nothing in one may make holdfast panic, and what can be read has exactly
//! one canonical text.
#![no_main]

use holdfast_policy::allowance::Allowance;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Allowance::parse("allowance.toml", text) {
        Ok(allowance) => {
            let canonical = allowance.canonical();
            let again = Allowance::parse("canonical.toml", &canonical);
            assert_eq!(again.as_ref(), Ok(&allowance), "{canonical}");
            assert_eq!(again.map(|allowance| allowance.canonical()), Ok(canonical));
        }
        Err(problems) => {
            assert!(problems.iter().all(|problem| problem.line > 0 && problem.col > 0));
        }
    }
});
