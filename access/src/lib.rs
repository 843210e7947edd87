//! Users and rights, without I/O: the text of mosquitto's password files and access rules in, verdicts out.
//!
//! [`Users`] reads a password file and checks passwords; [`PasswordFile`] edits one. [`Rules`] reads an `acl_file` and
//! says which topics a client may read and write. Where mosquitto 2.0 and 2.1 differ, 2.1 is followed, and lines that
//! they read differently are [`Notes`](Note) with their number. Files, threads and clocks are the caller's.
//!
//! ```
//! use wisp_access::{Access, Client, Rules};
//!
//! let rules = Rules::parse(b"user joe\ntopic read a/#\ntopic deny a/secret\npattern write u/%u/#\n").unwrap();
//! let joe = Client { user: Some("joe"), id: "c1" };
//! assert!(rules.allow(&joe, Access::Read, "a/b") && !rules.allow(&joe, Access::Read, "a/secret"));
//! assert!(rules.allow(&joe, Access::Write, "u/joe/x") && !rules.allow(&joe, Access::Write, "u/ann/x"));
//! ```

mod digest;
mod edit;
mod file;
mod hash;
mod rules;
mod users;

pub use digest::{Digest, DigestKey};
pub use edit::{InvalidName, PasswordFile, check_name};
pub use file::{FileError, Note};
pub use hash::{HashKind, InvalidHash, Memory, OutOfMemory, PasswordHash, SALT_BYTES};
pub use rules::{Access, Client, Rules};
pub use users::Users;
