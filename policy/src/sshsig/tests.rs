//! Signatures made by OpenSSH (and two by a hardware key in software, which OpenSSH accepts), and
//! every way to refuse one.

use super::*;

const TEXT: &[u8] = include_bytes!("../../tests/signatures/vectors/text");

macro_rules! vector {
    ($name:literal) => {
        include_str!(concat!("../../tests/signatures/vectors/", $name))
    };
}

const ED25519: &str = vector!("ed25519.sig");

fn verify(armour: &str) -> Result<Verified, SignatureError> {
    Signature::parse(armour)?.verify(ALLOWANCE_NAMESPACE, TEXT)
}

/// The bytes inside a signature of OpenSSH's, changed, in new armour.
fn changed(armour: &str, change: impl FnOnce(&mut Vec<u8>)) -> Result<Verified, SignatureError> {
    let mut blob = armour::open(armour).unwrap();
    change(&mut blob);
    let base64 = <base64ct::Base64 as base64ct::Encoding>::encode_string(&blob);
    verify(&format!("-----BEGIN SSH SIGNATURE-----\n{base64}\n-----END SSH SIGNATURE-----\n"))
}

fn malformed(result: Result<Verified, SignatureError>) -> String {
    match result {
        Err(SignatureError::Malformed(what)) => what,
        other => panic!("{other:?}"),
    }
}

/// Replaces the only place where `from` stands.
fn replace(blob: &mut Vec<u8>, from: &[u8], to: &[u8]) {
    let found: Vec<usize> = (0..blob.len()).filter(|&at| blob[at..].starts_with(from)).collect();
    assert_eq!(found.len(), 1);
    blob.splice(found[0]..found[0] + from.len(), to.iter().copied());
}

/// A signature put together field by field.
fn made(key: &[&[u8]], hash: &str, proof: &[&[u8]]) -> Result<Verified, SignatureError> {
    let fields = |fields: &[&[u8]]| {
        let mut wire = Vec::new();
        fields.iter().for_each(|field| wire::put_string(&mut wire, field));
        wire
    };
    changed(ED25519, |blob| {
        blob.truncate(10);
        blob.extend(fields(&[
            &fields(key),
            ALLOWANCE_NAMESPACE.as_bytes(),
            b"",
            hash.as_bytes(),
            &fields(proof),
        ]));
    })
}

#[test]
fn every_kind_of_key_verifies() {
    for (armour, public, algorithm) in [
        (ED25519, vector!("ed25519.pub"), "ssh-ed25519"),
        (vector!("ecdsa-256.sig"), vector!("ecdsa-256.pub"), "ecdsa-sha2-nistp256"),
        (vector!("ecdsa-384.sig"), vector!("ecdsa-384.pub"), "ecdsa-sha2-nistp384"),
        (vector!("ecdsa-521.sig"), vector!("ecdsa-521.pub"), "ecdsa-sha2-nistp521"),
        (vector!("rsa-2048.sig"), vector!("rsa-2048.pub"), "ssh-rsa"),
        (vector!("rsa-2048-sha256.sig"), vector!("rsa-2048.pub"), "ssh-rsa"),
    ] {
        let verified = verify(armour).unwrap();
        assert_eq!(verified.key, PublicKey::parse(public).unwrap());
        assert_eq!(verified.key.algorithm(), algorithm);
        assert_eq!(verified.hardware, None);
        assert!(public.starts_with(&verified.key.line()));
        let edited = Signature::parse(armour).unwrap().verify(ALLOWANCE_NAMESPACE, b"edited");
        assert_eq!(edited, Err(SignatureError::Invalid), "{algorithm}");
    }
}

#[test]
fn hardware_keys_report_their_touch() {
    for (armour, public, touched, verified) in [
        (vector!("sk-ed25519.sig"), vector!("sk-ed25519.pub"), true, true),
        (vector!("sk-ed25519-untouched.sig"), vector!("sk-ed25519.pub"), false, false),
        (vector!("sk-ecdsa.sig"), vector!("sk-ecdsa.pub"), true, false),
        (vector!("sk-ecdsa-untouched.sig"), vector!("sk-ecdsa.pub"), false, false),
    ] {
        let found = verify(armour).unwrap();
        assert_eq!(found.hardware, Some(Hardware { touched, verified }));
        assert_eq!(found.key, PublicKey::parse(public).unwrap());
    }
}

#[test]
fn hardware_flags_are_signed() {
    for armour in [vector!("sk-ed25519-untouched.sig"), vector!("sk-ecdsa-untouched.sig")] {
        // The flags stand before the four bytes of the counter, at the end.
        let touched = changed(armour, |blob| {
            let flags = blob.len() - 5;
            assert_eq!(blob[flags], 0);
            blob[flags] = 1;
        });
        assert_eq!(touched, Err(SignatureError::Invalid));
        let counted = changed(armour, |blob| *blob.last_mut().unwrap() += 1);
        assert_eq!(counted, Err(SignatureError::Invalid));
    }
    let elsewhere = changed(vector!("sk-ecdsa.sig"), |blob| replace(blob, b"ssh:", b"web:"));
    assert_eq!(elsewhere, Err(SignatureError::Invalid));
}

#[test]
fn a_signature_for_another_purpose() {
    let error = verify(vector!("ed25519-file.sig")).unwrap_err();
    let wanted = ALLOWANCE_NAMESPACE.to_owned();
    assert_eq!(error, SignatureError::WrongNamespace { found: "file".to_owned(), wanted });
    assert_eq!(
        error.to_string(),
        "it was made for the namespace `file`, not for `holdfast-allowance`"
    );
    // Relabelling it does not help: the namespace is signed.
    let relabelled = changed(vector!("ed25519-file.sig"), |blob| {
        replace(blob, b"\0\0\0\x04file", b"\0\0\0\x12holdfast-allowance");
    });
    assert_eq!(relabelled, Err(SignatureError::Invalid));
}

#[test]
fn a_namespace_cannot_steer_a_terminal() {
    let error = changed(vector!("ed25519-file.sig"), |blob| replace(blob, b"file", b"\x1b[2J"));
    let shown = error.unwrap_err().to_string();
    assert!(shown.contains("\u{fffd}[2J") && !shown.contains('\x1b'), "{shown}");
}

/// A weak key, signature or hash is refused by its name.
#[test]
fn weak_keys_are_named() {
    let weak = |armour| verify(armour).unwrap_err().to_string();
    assert_eq!(weak(vector!("dsa.sig")), "a DSA key (`ssh-dss`) is too weak");
    assert_eq!(weak(vector!("rsa-1024.sig")), "an RSA key of 1024 bits is too weak");
    let sha1 = changed(vector!("rsa-2048.sig"), |blob| {
        replace(blob, b"\0\0\0\x0crsa-sha2-512", b"\0\0\0\x07ssh-rsa");
        replace(blob, b"\0\0\x01\x14\0\0\0\x07", b"\0\0\x01\x0f\0\0\0\x07");
    });
    assert_eq!(sha1.unwrap_err().to_string(), "a signature with SHA-1 (`ssh-rsa`) is too weak");
    let hash = changed(ED25519, |blob| replace(blob, b"\0\0\0\x06sha512", b"\0\0\0\x04sha1"));
    assert_eq!(hash.unwrap_err().to_string(), "the hash `sha1` is too weak");
    let bits = |bytes: &[u8]| made(&[b"ssh-rsa", &[1, 0, 1], bytes], "sha512", &[]).unwrap_err();
    assert_eq!(bits(&[]), SignatureError::Weak("an RSA key of 0 bits".to_owned()));
    assert_eq!(bits(&[0x7f; 256]), SignatureError::Weak("an RSA key of 2047 bits".to_owned()));
}

#[test]
fn unsupported_keys_are_named() {
    let unsupported = |result: Result<Verified, SignatureError>| match result {
        Err(SignatureError::Unsupported(what)) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        unsupported(verify(vector!("certificate.sig"))),
        "a certificate (`ssh-ed25519-cert-v01@openssh.com`)"
    );
    assert_eq!(unsupported(made(&[b"ssh-ed448"], "sha512", &[])), "a key of the kind `ssh-ed448`");
    assert_eq!(
        unsupported(made(&[b"ssh-rsa", &[3], &[0x7f; 1025]], "sha512", &[])),
        "an RSA key of 8199 bits"
    );
    assert_eq!(unsupported(changed(ED25519, |blob| blob[9] = 2)), "version 2 of SSH signatures");
    assert_eq!(unsupported(changed(ED25519, |blob| blob[9] = 0)), "version 0 of SSH signatures");
    let hash = changed(ED25519, |blob| replace(blob, b"sha512", b"sha999"));
    assert_eq!(unsupported(hash), "the hash `sha999`");
    let point = PublicKey::parse(vector!("sk-ecdsa.pub")).unwrap();
    let key::Kind::HardwareEcdsa { point, .. } = point.kind() else { panic!("{point:?}") };
    let key: [&[u8]; 4] = [b"sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256", point, b"ssh:"];
    let browser = made(&key, "sha512", &[b"webauthn-sk-ecdsa-sha2-nistp256@openssh.com", b""]);
    assert_eq!(
        unsupported(browser),
        "a browser's signature (`webauthn-sk-ecdsa-sha2-nistp256@openssh.com`)"
    );
}

#[test]
fn broken_armour_says_why() {
    let begin = "-----BEGIN SSH SIGNATURE-----";
    for (armour, message) in [
        (String::new(), format!("its first line is not `{begin}`")),
        (format!("\n{ED25519}"), format!("its first line is not `{begin}`")),
        (ED25519.replace("-----\nU1", "----- \nU1"), format!("something stands behind `{begin}`")),
        (
            ED25519.replace("\n-----END", "-----END"),
            "it has no line `-----END SSH SIGNATURE-----`; is it cut short?".to_owned(),
        ),
        (ED25519.replacen("U1NI", "U1N", 1), "it is not Base64; is it damaged?".to_owned()),
        (ED25519.replacen("U1NI", "U1N!", 1), "it is not Base64; is it damaged?".to_owned()),
        (
            format!("{begin}\n\n-----END SSH SIGNATURE-----"),
            "it does not begin with `SSHSIG`".to_owned(),
        ),
    ] {
        assert_eq!(malformed(verify(&armour)), message, "{armour}");
    }
    assert_eq!(
        verify("").unwrap_err().to_string(),
        format!("this is no SSH signature: its first line is not `{begin}`")
    );
}

#[test]
fn armour_as_other_systems_write_it() {
    let base64: String = ED25519.lines().filter(|line| !line.starts_with('-')).collect();
    let one_line = format!("-----BEGIN SSH SIGNATURE-----\n{base64}\n-----END SSH SIGNATURE-----");
    for armour in [
        ED25519.replace('\n', "\r\n"),
        one_line,
        ED25519.replace("U1NI", " U\t1\n\nN\x0bI "),
        format!("{ED25519}whatever follows"),
    ] {
        assert!(verify(&armour).is_ok(), "{armour}");
    }
}

#[test]
fn truncated_field_is_named() {
    let blob = armour::open(ED25519).unwrap();
    let cuts = [
        (3, "it does not begin with `SSHSIG`"),
        (8, "the version is cut short"),
        (20, "the public key is cut short"),
        (70, "the namespace is cut short"),
        (88, "the reserved field is cut short"),
        (95, "the name of the hash is cut short"),
        (blob.len() - 1, "the signature is cut short"),
    ];
    for (length, message) in cuts {
        assert_eq!(malformed(changed(ED25519, |blob| blob.truncate(length))), message);
    }
    for length in 0..blob.len() {
        changed(ED25519, |blob| blob.truncate(length)).unwrap_err();
    }
}

#[test]
fn what_follows_a_signature_is_refused() {
    assert_eq!(malformed(changed(ED25519, |blob| blob.push(0))), "something follows the signature");
}

/// The reserved field is ignored, as the format says.
#[test]
fn reserved_field_is_ignored() {
    let hold = b"holdfast-allowance\0\0\0\0";
    let result = changed(ED25519, |blob| replace(blob, hold, b"holdfast-allowance\0\0\0\x01x"));
    assert!(result.is_ok());
}

#[test]
fn fields_that_cannot_be() {
    let point = |name: &[u8], point: &[u8]| {
        malformed(made(&[b"ecdsa-sha2-nistp256", name, point], "sha512", &[]))
    };
    assert_eq!(point(b"nistp384", &[4; 65]), "the curve is `nistp384`, not `nistp256`");
    assert_eq!(point(b"nistp256", &[2; 33]), "this is no point of `nistp256`");
    assert_eq!(point(b"nistp256", &[2; 65]), "this is no point of `nistp256`");
    let key = |key: &[&[u8]]| malformed(made(key, "sha512", &[]));
    assert_eq!(key(&[b"ssh-ed25519", b"short"]), "an Ed25519 key has 32 bytes, not 5");
    assert_eq!(key(&[b"ssh-ed25519", &[0; 32], b""]), "something follows the public key");
    assert_eq!(key(&[b"ssh-\xff"]), "the kind of the public key is not text");
    assert_eq!(key(&[b"ssh-ed25519\0", &[0; 32]]), "the kind of the public key is not text");
    assert_eq!(key(&[b"ssh-rsa", &[3], &[0x80; 256]]), "the modulus is negative");
    assert_eq!(key(&[b"ssh-rsa", &[3], &[1; 2049]]), "the modulus is too large");
    let ed25519: [&[u8]; 2] = [b"ssh-ed25519", &[0; 32]];
    let proof = |proof: &[&[u8]]| malformed(made(&ed25519, "sha512", proof));
    assert_eq!(proof(&[b"ssh-ed25519", b"short"]), "an Ed25519 signature has 64 bytes, not 5");
    assert_eq!(
        proof(&[b"rsa-sha2-512", &[0; 64]]),
        "a `ssh-ed25519` key cannot sign as `rsa-sha2-512`"
    );
    assert_eq!(proof(&[b"ssh-ed25519", &[0; 64], b""]), "something follows the signature");
    let mut large = Vec::new();
    wire::put_big_number(&mut large, &[1; 33]);
    let p256: [&[u8]; 3] = [b"ecdsa-sha2-nistp256", b"nistp256", &[4; 65]];
    assert_eq!(
        malformed(made(&p256, "sha512", &[b"ecdsa-sha2-nistp256", &large])),
        "a number of the signature is too large"
    );
}

#[test]
fn point_off_its_curve_never_verifies() {
    let numbers = [0, 0, 0, 1, 1, 0, 0, 0, 1, 1];
    for (name, curve, size) in [
        ("ecdsa-sha2-nistp256", "nistp256", 65),
        ("ecdsa-sha2-nistp384", "nistp384", 97),
        ("ecdsa-sha2-nistp521", "nistp521", 133),
    ] {
        let key: [&[u8]; 3] = [name.as_bytes(), curve.as_bytes(), &vec![4; size]];
        let result = made(&key, "sha512", &[name.as_bytes(), &numbers]);
        assert_eq!(result, Err(SignatureError::Invalid), "{curve}");
    }
}

#[test]
fn fingerprints_are_openssh_s() {
    // `ssh-keygen -l -f FILE.pub`
    for (public, fingerprint) in [
        (vector!("ed25519.pub"), "SHA256:iUT67A2oOgeAxkQfhXyy4Ckmgz7CUM71EGhL2QZefsA"),
        (vector!("ecdsa-256.pub"), "SHA256:QCWyfLFulC7l10ROCF23u4RbTvzwTLIWx7DAAE2VbYA"),
        (vector!("ecdsa-384.pub"), "SHA256:bqUtDXKswbyW+Nu/FLLrgKEFLWDhtK/SJh9isNGsKx8"),
        (vector!("ecdsa-521.pub"), "SHA256:w9rKgb/LMF0OCAgjcH1cjN4bXZuQuNRBzVZYHP0qzaI"),
        (vector!("rsa-2048.pub"), "SHA256:Ies9JsoXBLunErWZnVmtW5AsfMW8q4DoSb6oI4pl80o"),
        (vector!("sk-ed25519.pub"), "SHA256:u3XYI8FD0iAKicuev894GMPS487mPAsIuB8xtsnAOWA"),
        (vector!("sk-ecdsa.pub"), "SHA256:xLJ4d9aWUBtWeKhDvbXzT1PIXI6OjgVd5hmgukzWlbU"),
    ] {
        assert_eq!(PublicKey::parse(public).unwrap().fingerprint(), fingerprint);
    }
}

/// A revoked key must not come back in other clothes.
#[test]
fn padded_numbers_are_one_key() {
    let key = PublicKey::parse(vector!("rsa-2048.pub")).unwrap();
    let key::Kind::Rsa { e, n } = key.kind() else { panic!("{key:?}") };
    let mut wire = Vec::new();
    for field in [&b"ssh-rsa"[..], &[&[0, 0], &e[..]].concat(), &[&[0, 0, 0], &n[..]].concat()] {
        wire::put_string(&mut wire, field);
    }
    assert_eq!(PublicKey::from_wire(&wire).unwrap(), key);
}

#[test]
fn unreadable_public_key_says_why() {
    let error = |line: &str| PublicKey::parse(line).unwrap_err().to_string();
    assert!(error("ssh-ed25519").contains("a key has a kind and Base64"));
    assert!(error("ssh-ed25519 AAAA!").contains("the key is not Base64"));
    assert_eq!(error("hello AAAA"), "a key of the kind `hello` is not supported");
    assert_eq!(error(vector!("dsa.pub")), "a DSA key (`ssh-dss`) is too weak");
    assert!(error(vector!("certificate.pub")).starts_with("a certificate"));
    let relabelled = vector!("ed25519.pub").replace("ssh-ed25519", "ssh-rsa");
    assert!(error(&relabelled).contains("the line says `ssh-rsa`, and its key is `ssh-ed25519`"));
}
