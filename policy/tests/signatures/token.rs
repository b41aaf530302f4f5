//! A hardware key in software: it signs as a FIDO token does, and says of itself what a test wants
//! it to say.

use base64ct::{Base64, Encoding};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use sha2::{Digest, Sha256, Sha512};

/// Somebody touched the key.
pub const TOUCHED: u8 = 1;
/// Somebody gave its PIN.
pub const VERIFIED: u8 = 4;

/// What it claims to be for.
const APPLICATION: &[u8] = b"ssh:";

/// A key that seems to be in a token.
pub enum Token {
    Ed25519(Ed25519KeyPair),
    Ecdsa(EcdsaKeyPair),
}

impl Token {
    /// Always the same key.
    pub fn ed25519() -> Self {
        Self::Ed25519(
            Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("any 32 bytes are a seed"),
        )
    }

    /// Always another key.
    pub fn ecdsa() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("there is randomness");
        Self::Ecdsa(
            EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).expect("a new key"),
        )
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "sk-ssh-ed25519@openssh.com",
            Self::Ecdsa(_) => "sk-ecdsa-sha2-nistp256@openssh.com",
        }
    }

    /// The public key on the wire.
    pub fn public(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => {
                fields(&[self.kind().as_bytes(), key.public_key().as_ref(), APPLICATION])
            }
            Self::Ecdsa(key) => fields(&[
                self.kind().as_bytes(),
                b"nistp256",
                key.public_key().as_ref(),
                APPLICATION,
            ]),
        }
    }

    /// The line of its `.pub` file.
    pub fn line(&self) -> String {
        format!("{} {}", self.kind(), Base64::encode_string(&self.public()))
    }

    /// An armoured signature.
    pub fn sign(
        &self,
        namespace: &str,
        hash: &str,
        flags: u8,
        counter: u32,
        text: &[u8],
    ) -> String {
        armour(&self.blob(namespace, hash, flags, counter, text))
    }

    /// The signature without its armour.
    pub fn blob(
        &self,
        namespace: &str,
        hash: &str,
        flags: u8,
        counter: u32,
        text: &[u8],
    ) -> Vec<u8> {
        let digest = match hash {
            "sha256" => Sha256::digest(text).to_vec(),
            _ => Sha512::digest(text).to_vec(),
        };
        let head = [namespace.as_bytes(), b"", hash.as_bytes()];
        let message = [b"SSHSIG".to_vec(), fields(&head), fields(&[&digest])].concat();
        let mut stamp = vec![flags];
        stamp.extend(counter.to_be_bytes());
        let signed =
            [Sha256::digest(APPLICATION).as_slice(), &stamp, Sha256::digest(&message).as_slice()]
                .concat();
        let inner = match self {
            Self::Ed25519(key) => key.sign(&signed).as_ref().to_vec(),
            Self::Ecdsa(key) => {
                let signature =
                    key.sign(&SystemRandom::new(), &signed).expect("there is randomness");
                let (r, s) = signature.as_ref().split_at(32);
                fields(&[&number(r), &number(s)])
            }
        };
        let signature = [fields(&[self.kind().as_bytes(), &inner]), stamp].concat();
        let version = 1u32.to_be_bytes();
        let tail = [fields(&[&self.public()]), fields(&head), fields(&[&signature])].concat();
        [b"SSHSIG".as_slice(), &version, &tail].concat()
    }
}

/// Fields that say how long they are.
pub fn fields(fields: &[&[u8]]) -> Vec<u8> {
    let mut wire = Vec::new();
    for field in fields {
        wire.extend(u32::try_from(field.len()).expect("small").to_be_bytes());
        wire.extend_from_slice(field);
    }
    wire
}

/// A number without needless zeros, and not negative.
pub fn number(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    let sign = bytes.get(zeros).is_some_and(|&first| first >= 0x80);
    [vec![0; usize::from(sign)], bytes[zeros..].to_vec()].concat()
}

/// Armour as `ssh-keygen -Y sign` makes it.
pub fn armour(blob: &[u8]) -> String {
    let base64 = Base64::encode_string(blob);
    let lines: Vec<&str> = base64
        .as_bytes()
        .chunks(70)
        .map(|line| std::str::from_utf8(line).expect("Base64 is ASCII"))
        .collect();
    format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n"))
}

/// What is inside an armour.
pub fn blob(armour: &str) -> Vec<u8> {
    let base64: String = armour.lines().filter(|line| !line.starts_with("-----")).collect();
    Base64::decode_vec(&base64).expect("it was just made")
}
