//! One stored hash of a password, in the formats that mosquitto writes.
//!
//! | text | algorithm |
//! |---|---|
//! | `$6$SALT$HASH` | SHA-512 over password and salt, once |
//! | `$7$ROUNDS$SALT$HASH` | PBKDF2 with HMAC-SHA-512 |
//! | `$argon2id$v=19$m=KIB,t=PASSES,p=LANES$SALT$HASH` | Argon2id |
//!
//! Salts of `$6$` and `$7$` have 12 bytes (mosquitto 2.0) or 64 (2.1), hashes 64, in base64 with padding.
//! Argon2id has base64 without.

use std::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64ct::{Base64, Base64Unpadded, Encoding};
use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;

/// The bytes of a new salt.
pub const SALT_BYTES: usize = 64;

const HASH_BYTES: usize = 64;
/// The salt lengths that mosquitto reads in `$6$` and `$7$`.
const SALT_LENGTHS: [usize; 2] = [12, SALT_BYTES];
/// Most memory that one check may take. More would end a broker on a small machine.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;
/// Most passes of Argon2id, and most rounds of PBKDF2: minutes of work.
const PASSES_MAX: u32 = 1_000;
const ROUNDS_MAX: u32 = 100_000_000;

/// The algorithm of a hash, and its cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HashKind {
    /// SHA-512, once. Weak: read for old files only.
    Sha512,
    /// PBKDF2 with HMAC-SHA-512.
    Pbkdf2 {
        /// Its iterations.
        rounds: u32,
    },
    /// Argon2id.
    Argon2id {
        /// The version of the algorithm: 16 or 19.
        version: u32,
        /// Memory in KiB.
        memory_kib: u32,
        /// Passes over the memory.
        passes: u32,
        /// Lanes.
        lanes: u32,
    },
}

/// A stored hash.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    kind: HashKind,
    salt: Box<[u8]>,
    hash: Box<[u8]>,
}

/// The memory for Argon2id, kept for the next check.
#[derive(Default)]
pub struct Memory(Vec<Block>);

/// There is no memory for a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// Why a text is no hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "Display says it in a sentence each")]
pub enum InvalidHash {
    Empty,
    Plain,
    Unknown,
    Fields,
    Rounds,
    Cost,
    Salt,
    Hash,
}

impl HashKind {
    /// The costs of `mosquitto_passwd -H argon2id` of 2.1.
    pub const ARGON2ID: Self = Self::Argon2id { version: 19, memory_kib: 47_104, passes: 1, lanes: 1 };
    /// The default of `mosquitto_passwd` of 2.1.
    pub const PBKDF2: Self = Self::Pbkdf2 { rounds: 1_000 };
}

impl PasswordHash {
    /// Reads a hash as it stands in a password file.
    ///
    /// # Errors
    /// If mosquitto 2.1 would not read it, or a check would take more than a bounded time and memory.
    pub fn parse(text: &str) -> Result<Self, InvalidHash> {
        let Some(fields) = text.strip_prefix('$') else {
            return Err(if text.is_empty() { InvalidHash::Empty } else { InvalidHash::Plain });
        };
        let mut fields = fields.split('$');
        match fields.next() {
            Some("6") => Self::with_sha512(HashKind::Sha512, fields),
            Some("7") => {
                let rounds = fields.next().and_then(|rounds| rounds.parse().ok());
                let rounds = rounds.filter(|rounds| (1..=ROUNDS_MAX).contains(rounds)).ok_or(InvalidHash::Rounds)?;
                Self::with_sha512(HashKind::Pbkdf2 { rounds }, fields)
            }
            Some("argon2id") => Self::with_argon2id(fields.collect()),
            _ => Err(InvalidHash::Unknown),
        }
    }

    fn with_sha512<'a>(kind: HashKind, mut fields: impl Iterator<Item = &'a str>) -> Result<Self, InvalidHash> {
        // Further fields are ignored, as mosquitto does.
        let (Some(salt), Some(hash)) = (fields.next(), fields.next()) else { return Err(InvalidHash::Fields) };
        let salt = Base64::decode_vec(salt).ok().filter(|salt| SALT_LENGTHS.contains(&salt.len()));
        let hash = Base64::decode_vec(hash).ok().filter(|hash| hash.len() == HASH_BYTES);
        let (salt, hash) = (salt.ok_or(InvalidHash::Salt)?, hash.ok_or(InvalidHash::Hash)?);
        Ok(Self { kind, salt: salt.into(), hash: hash.into() })
    }

    fn with_argon2id(fields: Vec<&str>) -> Result<Self, InvalidHash> {
        let (version, costs, salt, hash) = match fields[..] {
            [version, costs, salt, hash, ..] if version.starts_with("v=") => (&version[2..], costs, salt, hash),
            // Before version 19 the field was left out.
            [costs, salt, hash, ..] => ("16", costs, salt, hash),
            _ => return Err(InvalidHash::Fields),
        };
        let mut numbers = [0; 3];
        let mut costs = costs.split(',');
        for (number, name) in numbers.iter_mut().zip(["m=", "t=", "p="]) {
            let text = costs.next().and_then(|cost| cost.strip_prefix(name)).ok_or(InvalidHash::Fields)?;
            *number = text.parse().map_err(|_| InvalidHash::Cost)?;
        }
        let [memory_kib, passes, lanes] = numbers;
        let version = version.parse().ok().filter(|version| [16, 19].contains(version)).ok_or(InvalidHash::Fields)?;
        let salt = Base64Unpadded::decode_vec(salt).map_err(|_| InvalidHash::Salt)?;
        let hash = Base64Unpadded::decode_vec(hash).map_err(|_| InvalidHash::Hash)?;
        if !(argon2::MIN_SALT_LEN..=1024).contains(&salt.len()) {
            return Err(InvalidHash::Salt);
        }
        if !(16..=1024).contains(&hash.len()) {
            return Err(InvalidHash::Hash);
        }
        let kind = HashKind::Argon2id { version, memory_kib, passes, lanes };
        kind.argon2(hash.len()).ok_or(InvalidHash::Cost)?;
        Ok(Self { kind, salt: salt.into(), hash: hash.into() })
    }

    /// The hash of `password` with a salt of random bytes. `$6$` and `$7$` use 12 of them, since mosquitto 2.0 reads no others.
    ///
    /// # Errors
    /// If there is no memory for Argon2id.
    pub fn new(
        kind: HashKind,
        password: &[u8],
        salt: [u8; SALT_BYTES],
        memory: &mut Memory,
    ) -> Result<Self, OutOfMemory> {
        let mut hash = vec![0; HASH_BYTES];
        let salt = match kind {
            HashKind::Sha512 | HashKind::Pbkdf2 { .. } => &salt[..SALT_LENGTHS[0]],
            HashKind::Argon2id { .. } => &salt[..],
        };
        kind.derive(password, salt, &mut hash, memory)?;
        Ok(Self { kind, salt: salt.into(), hash: hash.into() })
    }

    /// Whether the hash is that of `password`. An empty password never is, as in mosquitto. The comparison takes the same
    /// time at any difference.
    ///
    /// # Errors
    /// If there is no memory for Argon2id.
    pub fn verify(&self, password: &[u8], memory: &mut Memory) -> Result<bool, OutOfMemory> {
        let mut derived = vec![0; self.hash.len()];
        self.kind.derive(password, &self.salt, &mut derived, memory)?;
        Ok(bool::from(derived.ct_eq(&self.hash)) && !password.is_empty())
    }

    /// The algorithm and its cost.
    pub fn kind(&self) -> HashKind {
        self.kind
    }
}

impl HashKind {
    /// `None` if the costs are out of range.
    fn argon2(self, hash_bytes: usize) -> Option<Argon2<'static>> {
        let Self::Argon2id { version, memory_kib, passes, lanes } = self else { return None };
        if memory_kib > MEMORY_KIB_MAX || passes > PASSES_MAX {
            return None;
        }
        let params = Params::new(memory_kib, passes, lanes, Some(hash_bytes)).ok()?;
        Some(Argon2::new(Algorithm::Argon2id, Version::try_from(version).ok()?, params))
    }

    fn derive(self, password: &[u8], salt: &[u8], out: &mut [u8], memory: &mut Memory) -> Result<(), OutOfMemory> {
        match self {
            Self::Sha512 => {
                let digest = Sha512::new().chain_update(password).chain_update(salt).finalize();
                out.copy_from_slice(&digest);
            }
            Self::Pbkdf2 { rounds } => pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, rounds, out),
            Self::Argon2id { .. } => {
                let argon2 = self.argon2(out.len()).expect("the costs were checked");
                let blocks = memory.blocks(argon2.params().block_count())?;
                // Only a password of 4 GiB is too long, which no packet carries.
                argon2.hash_password_into_with_memory(password, salt, out, blocks).map_err(|_| OutOfMemory)?;
            }
        }
        Ok(())
    }
}

impl Memory {
    fn blocks(&mut self, count: usize) -> Result<&mut [Block], OutOfMemory> {
        if let Some(more) = count.checked_sub(self.0.len()) {
            self.0.try_reserve_exact(more).map_err(|_| OutOfMemory)?;
            self.0.resize(count, Block::default());
        }
        Ok(&mut self.0[..count])
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({} KiB)", self.0.len())
    }
}

/// As it stands in a password file.
impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            HashKind::Sha512 => f.write_str("$6")?,
            HashKind::Pbkdf2 { rounds } => write!(f, "$7${rounds}")?,
            HashKind::Argon2id { version, memory_kib, passes, lanes } => {
                write!(f, "$argon2id$v={version}$m={memory_kib},t={passes},p={lanes}")?;
                let (salt, hash) = (&self.salt, &self.hash);
                return write!(f, "${}${}", Base64Unpadded::encode_string(salt), Base64Unpadded::encode_string(hash));
            }
        }
        write!(f, "${}${}", Base64::encode_string(&self.salt), Base64::encode_string(&self.hash))
    }
}

/// Without salt and hash, which belong in no log.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasswordHash({:?})", self.kind)
    }
}

impl fmt::Display for InvalidHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "there is no hash behind the name",
            Self::Plain => "the password is not hashed",
            Self::Unknown => "the hash begins with none of $6$, $7$, $argon2id$",
            Self::Fields => "the hash lacks a field",
            Self::Rounds => "the iterations are not a number from 1 to 100000000",
            Self::Cost => "the costs are not m=8 to 1048576, t=1 to 1000, p=1 and up",
            Self::Salt => "the salt has another length or is not base64",
            Self::Hash => "the hash has another length or is not base64",
        })
    }
}

impl std::error::Error for InvalidHash {}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no memory to check a password")
    }
}

impl std::error::Error for OutOfMemory {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small costs, since tests run many.
    const SMALL: HashKind = HashKind::Argon2id { version: 19, memory_kib: 64, passes: 1, lanes: 1 };

    #[test]
    fn a_hash_is_that_of_its_password_and_survives_being_written() {
        let mut memory = Memory::default();
        for kind in [HashKind::Sha512, HashKind::Pbkdf2 { rounds: 3 }, HashKind::PBKDF2, SMALL, HashKind::ARGON2ID] {
            let hash = PasswordHash::new(kind, b"secret", [7; SALT_BYTES], &mut memory).unwrap();
            let read = PasswordHash::parse(&hash.to_string()).unwrap();
            assert!(read == hash && read.kind() == kind, "{hash}");
            assert_eq!(hash.verify(b"secret", &mut memory), Ok(true));
            for wrong in [b"secreT".as_slice(), b"", b"secret\0more"] {
                assert_eq!(hash.verify(wrong, &mut memory), Ok(false), "{wrong:?} for {kind:?}");
            }
        }
    }

    const MADE_BY_2_0: &str = "$7$101$77rgr4iQxFgKfjzB$g5n9UyRWQf5soXk4Pa+c61DHhv7fIhnVWMRsKxsYDE79KRYPFKZPpDWKsmhkooHuqIBL2Aj4d2e6HFGhDCaOpA==";

    const MADE_BY_2_0_SHA512: &str =
        "$6$c+fFjOUA6I586enx$01P48QlDGBV8nJiERNVjbw4vUL8SLsEJ1ZJ35TNSShz0qQGa7sjVVjCIonMbdP9W+Tm8flqol17fkw0M9atk+A==";

    #[test]
    fn hashes_that_mosquitto_has_written_are_read() {
        // mosquitto_passwd 2.0.11: user, password secret. The last one has a salt of 64 bytes, as 2.1 writes it.
        let long = Base64::encode_string(&[7; 64]);
        let mut hash = [0; HASH_BYTES];
        pbkdf2::pbkdf2_hmac::<Sha512>(b"secret", &[7; 64], 1_000, &mut hash);
        let long = format!("$7$1000${long}${}", Base64::encode_string(&hash));
        for text in [MADE_BY_2_0, MADE_BY_2_0_SHA512, &long] {
            let hash = PasswordHash::parse(text).unwrap();
            assert_eq!(hash.verify(b"secret", &mut Memory::default()), Ok(true), "{text}");
            assert_eq!(hash.to_string(), text);
        }
    }

    #[test]
    fn an_empty_password_is_never_accepted() {
        let mut memory = Memory::default();
        let hash = PasswordHash::new(HashKind::PBKDF2, b"", [7; SALT_BYTES], &mut memory).unwrap();
        assert_eq!(hash.verify(b"", &mut memory), Ok(false));
    }

    #[test]
    fn texts_that_mosquitto_does_not_read_are_refused_with_the_reason() {
        let (salt8, salt12) = (Base64::encode_string(&[1; 8]), Base64::encode_string(&[1; 12]));
        let (hash, bare) = (Base64::encode_string(&[2; 64]), Base64Unpadded::encode_string(&[2; 64]));
        let argon_salt = Base64Unpadded::encode_string(&[1; 64]);
        for (text, error) in [
            (String::new(), InvalidHash::Empty),
            ("plain".to_owned(), InvalidHash::Plain),
            ("$5$a$b".to_owned(), InvalidHash::Unknown),
            ("$2y$10$abcdefghijklmnopqrstuv".to_owned(), InvalidHash::Unknown),
            ("$6$".to_owned(), InvalidHash::Fields),
            (format!("$6${salt8}${hash}"), InvalidHash::Salt),
            (format!("$6${salt12}${bare}"), InvalidHash::Hash),
            (format!("$6${salt12}${salt12}"), InvalidHash::Hash),
            (format!("$7$0${salt12}${hash}"), InvalidHash::Rounds),
            (format!("$7$-1${salt12}${hash}"), InvalidHash::Rounds),
            (format!("$7$100000001${salt12}${hash}"), InvalidHash::Rounds),
            (format!("$argon2id$v=19$m=47104,t=1,p=1${argon_salt}"), InvalidHash::Fields),
            (format!("$argon2id$v=18$m=47104,t=1,p=1${argon_salt}${bare}"), InvalidHash::Fields),
            (format!("$argon2id$v=19$m=4000000,t=1,p=1${argon_salt}${bare}"), InvalidHash::Cost),
            (format!("$argon2id$v=19$m=64,t=0,p=1${argon_salt}${bare}"), InvalidHash::Cost),
            (format!("$argon2id$v=19$m=64,t=1,p=1$YWI${bare}"), InvalidHash::Salt),
            (format!("$argon2id$v=19$m=64,t=1,p=1${argon_salt}$YWI"), InvalidHash::Hash),
        ] {
            assert_eq!(PasswordHash::parse(&text).err(), Some(error), "{text}");
        }
        for read in [format!("$6${salt12}${hash}$more"), format!("$7$101${salt12}${hash}")] {
            assert!(PasswordHash::parse(&read).is_ok(), "{read}");
        }
    }

    #[test]
    fn memory_is_kept_for_the_next_check() {
        let mut memory = Memory::default();
        for _ in 0..3 {
            PasswordHash::new(SMALL, b"x", [1; SALT_BYTES], &mut memory).unwrap();
        }
        assert_eq!(format!("{memory:?}"), "Memory(64 KiB)");
    }

    #[test]
    fn a_hash_is_not_shown_in_debug_output() {
        let hash = PasswordHash::new(HashKind::Sha512, b"x", [1; SALT_BYTES], &mut Memory::default()).unwrap();
        assert_eq!(format!("{hash:?}"), "PasswordHash(Sha512)");
    }
}
