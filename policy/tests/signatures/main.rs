//! Signatures and signers, beside OpenSSH's own verdict: `ssh-keygen -Y verify` is the reference.
#![expect(unreachable_pub, reason = "`pub` says what a module offers; a test has no outside")]

mod blobs;
mod break_glass;
mod cases;
mod differential;
mod files;
mod robust;
mod ssh_keygen;
mod stricter;
mod token;
mod verdict;
