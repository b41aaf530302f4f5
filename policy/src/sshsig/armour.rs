//! The text around a signature: its first and last line, and Base64 between them. It never looks at
//! what that says.

use base64ct::{Base64, Encoding};

const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "\n-----END SSH SIGNATURE-----";

/// The bytes inside the armour.
///
/// As OpenSSH does it: the first line has to be the very first, and nothing behind the last line
/// matters.
pub(super) fn open(armour: &str) -> Result<Vec<u8>, String> {
    let Some(rest) = armour.strip_prefix(BEGIN) else {
        return Err(format!("its first line is not `{BEGIN}`"));
    };
    let Some(rest) = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n')) else {
        return Err(format!("something stands behind `{BEGIN}`"));
    };
    let Some((body, _)) = rest.split_once(END) else {
        return Err(format!("it has no line `{}`; is it cut short?", END.trim_start()));
    };
    decode_base64(body).ok_or_else(|| "it is not Base64; is it damaged?".to_owned())
}

/// Padded Base64 with white space anywhere in it.
pub(super) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let blank = |c: &u8| matches!(c, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r');
    let letters: Vec<u8> = text.bytes().filter(|c| !blank(c)).collect();
    // It fits: three bytes for every four letters.
    let mut bytes = vec![0; letters.len()];
    let length = Base64::decode(&letters, &mut bytes).ok()?.len();
    bytes.truncate(length);
    Some(bytes)
}
