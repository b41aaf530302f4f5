//! Signature files: nothing in one may make holdfast panic, whatever it then says about it.
#![no_main]

use base64ct::{Base64, Encoding};
use holdfast_policy::sshsig::{ALLOWANCE_NAMESPACE, PublicKey, Signature};
use libfuzzer_sys::fuzz_target;

const TEXT: &[u8] = include_bytes!("../../tests/signatures/vectors/text");

// Once as the file itself, and once as what is inside the armour: few mutations of Base64 lead to
// anything new in there.
fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        check(text);
    }
    let base64 = Base64::encode_string(data);
    check(&format!("-----BEGIN SSH SIGNATURE-----\n{base64}\n-----END SSH SIGNATURE-----\n"));
});

fn check(armour: &str) {
    match Signature::parse(armour) {
        Ok(signature) => {
            let key = signature.key();
            assert_eq!(PublicKey::parse(&key.line()).as_ref(), Ok(key));
            assert_eq!(key.fingerprint().len(), "SHA256:".len() + 43);
            if let Ok(verified) = signature.verify(ALLOWANCE_NAMESPACE, TEXT) {
                assert_eq!(verified.key, *key);
            }
            assert!(signature.verify("another-namespace", TEXT).is_err());
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control)),
    }
}
