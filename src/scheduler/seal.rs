//! How secrets are kept: sealed under a key that is not in the store (XChaCha20-Poly1305, a random nonce each time).
//!
//! ```text
//! sealed = 1 | 8 bytes that tell keys apart | 24 bytes of nonce | ciphertext and tag; bound to its tenant and name
//! ```
//! So whoever reads the database, or a copy of it, has no values, and whoever writes it cannot put one secret in the place of
//! another.

use std::fmt;
use std::fs::File;
use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use sha2::{Digest as _, Sha256};

use crate::job::{SecretName, SecretText, TenantId};

use super::error::SecretError;

const VERSION: u8 = 1;
const MARK: usize = 8;
const NONCE: usize = 24;

/// The key of a server's secrets. Its `Debug` form hides it.
#[derive(Clone)]
pub struct SecretsKey([u8; 32]);

impl SecretsKey {
    /// From 32 bytes in hexadecimal digits or base64, blanks around them left out; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let hex = || {
            let digits = text.bytes().map(|b| char::from(b).to_digit(16)).collect::<Option<Vec<_>>>()?;
            let bytes: Vec<_> = digits.chunks(2).map(|pair| (pair[0] << 4 | pair.get(1).copied().unwrap_or(0)) as u8).collect();
            (digits.len() == 64).then_some(bytes)
        };
        let bytes = hex().or_else(|| STANDARD.decode(text).ok())?;
        bytes.try_into().ok().map(Self)
    }

    /// A new one.
    pub fn random() -> std::io::Result<Self> {
        Ok(Self(random()?))
    }

    /// In hexadecimal digits: for the file that keeps it.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Tells keys apart, and nothing about them.
    fn mark(&self) -> [u8; MARK] {
        let hash = Sha256::new().chain_update(b"bellcage secrets key").chain_update(self.0).finalize();
        std::array::from_fn(|i| hash[i])
    }

    pub(super) fn seal(&self, tenant: &TenantId, name: &SecretName, value: &SecretText) -> std::io::Result<Vec<u8>> {
        let nonce: [u8; NONCE] = random()?;
        let payload = Payload { msg: value.expose().as_bytes(), aad: &bound(tenant, name) };
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), payload).map_err(|_| std::io::Error::other("a value could not be encrypted"))?;
        Ok([&[VERSION][..], &self.mark(), &nonce, &sealed].concat())
    }

    pub(super) fn open(&self, tenant: &TenantId, name: &SecretName, sealed: &[u8]) -> Result<SecretText, SecretError> {
        let damaged = || SecretError::Damaged { name: name.clone() };
        if !self.fits(sealed) {
            return Err(SecretError::OtherKey { name: name.clone() });
        }
        let (nonce, sealed) = sealed.get(1 + MARK..).and_then(|rest| rest.split_first_chunk::<NONCE>()).ok_or_else(damaged)?;
        let value = self.cipher().decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: &bound(tenant, name) }).map_err(|_| damaged())?;
        String::from_utf8(value).map(SecretText::new).map_err(|_| damaged())
    }

    /// Whether it was sealed under this key.
    pub(super) fn fits(&self, sealed: &[u8]) -> bool {
        sealed.first() == Some(&VERSION) && sealed.get(1..=MARK) == Some(&self.mark()[..])
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&Key::from(self.0))
    }
}

impl fmt::Debug for SecretsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// What a sealed value belongs to. No tenant's name has the byte between.
fn bound(tenant: &TenantId, name: &SecretName) -> Vec<u8> {
    [tenant.as_str().as_bytes(), b"/", name.as_str().as_bytes()].concat()
}

fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SecretsKey {
        SecretsKey([byte; 32])
    }

    fn name(typed: &str) -> SecretName {
        typed.parse().unwrap()
    }

    fn sealed() -> Vec<u8> {
        key(1).seal(&TenantId::default(), &name("A"), &SecretText::new("hush".to_owned())).unwrap()
    }

    #[test]
    fn what_was_sealed_is_opened_under_its_key_tenant_and_name_alone() {
        let (tenant, other) = (TenantId::default(), "other".parse().unwrap());
        let sealed = sealed();
        assert_eq!(key(1).open(&tenant, &name("A"), &sealed).unwrap().expose(), "hush");
        assert!(matches!(key(2).open(&tenant, &name("A"), &sealed), Err(SecretError::OtherKey { .. })));
        assert!(matches!(key(1).open(&tenant, &name("B"), &sealed), Err(SecretError::Damaged { .. })));
        assert!(matches!(key(1).open(&other, &name("A"), &sealed), Err(SecretError::Damaged { .. })));
    }

    #[test]
    fn no_byte_of_it_can_be_changed_or_cut_off() {
        let whole = sealed();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            assert!(key(1).open(&TenantId::default(), &name("A"), &flipped).is_err(), "byte {at}");
            assert!(key(1).open(&TenantId::default(), &name("A"), &whole[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn the_value_is_not_in_what_is_kept_and_no_two_are_alike() {
        let (one, two) = (sealed(), sealed());
        assert_ne!(one, two);
        assert!(!one.windows(4).any(|part| part == b"hush"));
    }

    #[test]
    fn a_key_is_32_bytes_in_hexadecimal_digits_or_base64() {
        let hex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1F";
        let base64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";
        assert_eq!(SecretsKey::parse(hex).unwrap().0, SecretsKey::parse(base64).unwrap().0);
        assert_eq!(SecretsKey::parse(&key(7).to_hex()).unwrap().0, [7; 32]);
        for bad in ["", "secret", &hex[1..], &hex[2..], "AAEC", &format!("{hex}00")] {
            assert!(SecretsKey::parse(bad).is_none(), "{bad:?}");
        }
    }
}
