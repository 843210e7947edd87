//! Changes of a password file that leave all other lines as they are.

use std::fmt;

use crate::file::{FileError, lines};
use crate::hash::PasswordHash;
use crate::users::Users;

/// The text of a password file, to be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PasswordFile(String);

/// Why a name cannot be that of a user in a password file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidName(&'static str);

/// Whether a broker finds a user of this name in a password file.
///
/// # Errors
/// If the file's format has no place for the name, or another reading of it.
pub fn check_name(name: &str) -> Result<(), InvalidName> {
    Err(InvalidName(match name {
        "" => "is empty",
        _ if name.len() > usize::from(u16::MAX) => "has more than 65535 bytes",
        _ if name.contains(':') => "has a colon",
        _ if name.contains(char::is_control) => "has a control character",
        _ if name.starts_with('#') => "begins with #, like a comment",
        _ if name.trim_ascii() != name => "begins or ends with a blank",
        _ => return Ok(()),
    }))
}

impl PasswordFile {
    /// A file to change.
    ///
    /// # Errors
    /// If a broker would refuse it, since a change could then hide the fault.
    pub fn parse(text: &[u8]) -> Result<Self, FileError> {
        Users::parse(text)?;
        // The lines were read as UTF-8.
        Ok(Self(String::from_utf8_lossy(text).into_owned()))
    }

    /// Sets a user's hash: in the user's line, or in a new one at the end. True if the user is new.
    ///
    /// # Errors
    /// If the name is not possible.
    pub fn set(&mut self, name: &str, hash: &PasswordHash) -> Result<bool, InvalidName> {
        check_name(name)?;
        let line = format!("{name}:{hash}");
        let is_new = !self.replace(name, Some(&line));
        if is_new {
            if !self.0.is_empty() && !self.0.ends_with('\n') {
                self.0.push('\n');
            }
            self.0.push_str(&line);
            self.0.push('\n');
        }
        Ok(is_new)
    }

    /// Removes a user. False if there is none.
    pub fn remove(&mut self, name: &str) -> bool {
        self.replace(name, None)
    }

    /// Replaces a user's line, or removes it. False if there is none.
    fn replace(&mut self, name: &str, by: Option<&str>) -> bool {
        let mut found = false;
        let text: Vec<&str> = self.0.split('\n').collect();
        let text = text.into_iter().filter_map(|line| {
            if user_of(line) != Some(name) {
                return Some(line);
            }
            found = true;
            by
        });
        self.0 = text.collect::<Vec<_>>().join("\n");
        found
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The user of a line.
fn user_of(line: &str) -> Option<&str> {
    let (_, line) = lines(line.as_bytes()).next()?;
    let line = line.ok().filter(|line| !line.starts_with('#'))?;
    line.split_once(':').map(|(name, _)| name.trim_ascii())
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the user name {}", self.0)
    }
}

impl std::error::Error for InvalidName {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hash::{HashKind, Memory, SALT_BYTES};

    fn hash(salt: u8) -> PasswordHash {
        PasswordHash::new(HashKind::Sha512, b"p", [salt; SALT_BYTES], &mut Memory::default()).unwrap()
    }

    #[test]
    fn a_change_leaves_comments_blanks_and_other_users() {
        let (one, other) = (hash(1), hash(2));
        let text = format!("# comment\n\n joe :{one}\r\nann:{one}");
        let mut file = PasswordFile::parse(text.as_bytes()).unwrap();
        assert_eq!(file.set("bob", &other), Ok(true));
        assert_eq!(file.as_str(), format!("# comment\n\n joe :{one}\r\nann:{one}\nbob:{other}\n"));
        assert_eq!(file.set("joe", &other), Ok(false));
        assert!(file.remove("ann") && !file.remove("ann") && !file.remove("# comment"));
        assert_eq!(file.as_str(), format!("# comment\n\njoe:{other}\nbob:{other}\n"));
    }

    #[test]
    fn a_file_that_a_broker_refuses_is_not_changed() {
        assert_eq!(PasswordFile::parse(b"\na:plain").unwrap_err().line, 2);
    }

    proptest! {
        /// A name that may be set is found by a broker, with its hash and no other.
        #[test]
        fn a_user_that_is_set_is_found(
            names in prop::collection::vec("[ -~é]{0,4}|[#: ab\t]{1,4}", 0..6),
            newline in any::<bool>(),
        ) {
            let mut file = PasswordFile(if newline { "# c\n".to_owned() } else { "# c".to_owned() });
            let mut model = std::collections::BTreeMap::new();
            for (salt, name) in names.iter().enumerate() {
                let hash = hash(salt as u8);
                if file.set(name, &hash).is_ok() {
                    model.insert(name.clone(), hash);
                }
            }
            let users = Users::parse(file.as_str().as_bytes()).unwrap();
            prop_assert_eq!(users.len(), model.len());
            for (name, hash) in &model {
                prop_assert!(users.hash(name).is_some_and(|found| **found == *hash));
            }
            prop_assert!(file.as_str().starts_with("# c\n") || model.is_empty());
        }
    }
}
