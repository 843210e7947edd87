//! A fast keyed digest of a user's password, to recognize one that was checked lately. The key lives as long as the
//! process, so a digest is of no use outside it.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The key of a process.
#[derive(Clone)]
pub struct DigestKey([u8; 32]);

/// The digest of a user name and a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl DigestKey {
    /// A key of random bytes.
    pub fn new(random: [u8; 32]) -> Self {
        Self(random)
    }

    /// The digest of a user name with a password.
    pub fn digest(&self, user: &str, password: &[u8]) -> Digest {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key may have any length");
        mac.update(&(user.len() as u64).to_be_bytes());
        mac.update(user.as_bytes());
        mac.update(password);
        Digest(mac.finalize().into_bytes().into())
    }

    /// A number for a name that cannot be foreseen without the key.
    pub(crate) fn number(&self, name: &str) -> u64 {
        let Digest(bytes) = self.digest(name, b"");
        u64::from_be_bytes(bytes[..8].try_into().expect("eight bytes"))
    }
}

impl std::fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DigestKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_depends_on_key_name_and_password() {
        let (one, other) = (DigestKey::new([1; 32]), DigestKey::new([2; 32]));
        assert_eq!(one.digest("a", b"bc"), one.digest("a", b"bc"));
        for different in [one.digest("ab", b"c"), one.digest("a", b"bd"), other.digest("a", b"bc")] {
            assert_ne!(one.digest("a", b"bc"), different);
        }
        assert_ne!(one.number("a"), one.number("b"));
    }
}
