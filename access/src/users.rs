//! The users of a password file, and the check of a password.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::digest::DigestKey;
use crate::file::{FileError, Note, lines, shown};
use crate::hash::{InvalidHash, Memory, OutOfMemory, PasswordHash};

/// The users of a password file.
#[derive(Debug, Default)]
pub struct Users {
    by_name: HashMap<Box<str>, Arc<PasswordHash>, RandomState>,
    /// In the order of the file.
    hashes: Vec<Arc<PasswordHash>>,
    notes: Vec<Note>,
}

impl Users {
    /// Reads a password file as mosquitto 2.1 does: `USER:HASH` lines, comments with `#` in the first column, blank
    /// lines.
    ///
    /// # Errors
    /// The first line that mosquitto 2.1 refuses.
    pub fn parse(text: &[u8]) -> Result<Self, FileError> {
        let mut users = Self::default();
        for (number, line) in lines(text) {
            let line = line?;
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((name, rest)) = line.split_once(':') else {
                let text = format!("ignored, since it has no colon: {}", shown(line));
                users.notes.push(Note { line: number, text });
                continue;
            };
            let name = name.trim_matches(|char: char| char.is_ascii_whitespace());
            if name.is_empty() {
                return Err(FileError::new(number, "there is no user name in front of the colon"));
            }
            // Text behind another colon is ignored, as mosquitto does.
            let hash = rest.split(':').next().unwrap_or_default().trim_ascii();
            let hash = PasswordHash::parse(hash).map_err(|error| FileError::new(number, refusal(name, error)))?;
            let hash = Arc::new(hash);
            if users.by_name.insert(name.into(), Arc::clone(&hash)).is_some() {
                let text = format!("the user {} is there twice: remove one of the lines", shown(name));
                return Err(FileError::new(number, text));
            }
            users.hashes.push(hash);
        }
        Ok(users)
    }

    /// The number of users.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether nobody can log in.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Lines that are ignored.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// The stored hash of a user's password.
    pub fn hash(&self, name: &str) -> Option<&Arc<PasswordHash>> {
        self.by_name.get(name)
    }

    /// The user's hash if the password is right. A check for an unknown user takes the time of one for some known user,
    /// always the same one for a name.
    ///
    /// # Errors
    /// If there is no memory for the check.
    pub fn verify(
        &self,
        name: &str,
        password: &[u8],
        key: &DigestKey,
        memory: &mut Memory,
    ) -> Result<Option<&Arc<PasswordHash>>, OutOfMemory> {
        let known = self.hash(name);
        let stand_in = || {
            let count = self.hashes.len() as u64;
            (count > 0).then(|| &self.hashes[(key.number(name) % count) as usize])
        };
        let Some(checked) = known.or_else(stand_in) else { return Ok(None) };
        let is_right = checked.verify(password, memory)?;
        Ok(known.filter(|_| is_right))
    }
}

fn refusal(name: &str, error: InvalidHash) -> String {
    let name = shown(name);
    match error {
        InvalidHash::Empty | InvalidHash::Plain | InvalidHash::Unknown => {
            format!("the user {name}: {error}; write the line anew with: wisp passwd FILE {name}")
        }
        _ => format!("the user {name}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::{HashKind, SALT_BYTES};

    fn hash(password: &str) -> String {
        let kind = HashKind::Pbkdf2 { rounds: 2 };
        PasswordHash::new(kind, password.as_bytes(), [3; SALT_BYTES], &mut Memory::default()).unwrap().to_string()
    }

    fn accepts(users: &Users, name: &str, password: &str) -> bool {
        let key = DigestKey::new([9; 32]);
        users.verify(name, password.as_bytes(), &key, &mut Memory::default()).unwrap().is_some()
    }

    #[test]
    fn comments_blanks_and_line_ends_are_read_as_mosquitto_reads_them() {
        let h = hash("p");
        let text = format!("# c:d\n\n   \r\n a b :{h}  \r\né:{h}:more\nc:{h}$more\nno colon\nlast:{h}");
        let users = Users::parse(text.as_bytes()).unwrap();
        assert_eq!(users.len(), 4);
        for name in ["a b", "é", "c", "last"] {
            assert!(accepts(&users, name, "p") && !accepts(&users, name, "q"), "{name}");
        }
        assert!(!accepts(&users, "nobody", "p") && !accepts(&users, "A B", "p"));
        assert_eq!(users.notes().iter().map(|note| note.line).collect::<Vec<_>>(), [7]);
    }

    #[test]
    fn lines_that_end_mosquitto_2_1_are_refused_with_their_number() {
        let h = hash("p");
        for (line, part) in [
            ("a:plain".to_owned(), "not hashed; write the line anew with: wisp passwd FILE a"),
            ("a:".to_owned(), "no hash behind the name"),
            (format!(":{h}"), "no user name"),
            (format!("   :{h}"), "no user name"),
            (" # c:d".to_owned(), "the user # c"),
            (format!("first:{h}"), "is there twice"),
            ("a:$2y$10$abc".to_owned(), "none of $6$, $7$, $argon2id$"),
        ] {
            let error = Users::parse(format!("first:{h}\n\n{line}\n").as_bytes()).unwrap_err();
            assert!(error.line == 3 && error.text.contains(part), "{line}: {error}");
            assert!(!error.to_string().contains('\n'));
        }
        assert_eq!(Users::parse(b"a:\xff").unwrap_err().to_string(), "1: not UTF-8");
    }

    #[test]
    fn an_unknown_user_costs_a_whole_check() {
        let kind = HashKind::Argon2id { version: 19, memory_kib: 64, passes: 1, lanes: 1 };
        let hash = PasswordHash::new(kind, b"secret", [3; SALT_BYTES], &mut Memory::default()).unwrap();
        let users = Users::parse(format!("joe:{hash}\n").as_bytes()).unwrap();
        for name in ["joe", "ann", ""] {
            // A check is the only use of it.
            let mut memory = Memory::default();
            let refused = users.verify(name, b"guess", &DigestKey::new([9; 32]), &mut memory).unwrap();
            assert!(refused.is_none() && format!("{memory:?}") == "Memory(64 KiB)", "{name}");
        }
    }

    #[test]
    fn a_file_without_users_lets_nobody_in() {
        for text in ["", "# nobody\n"] {
            let users = Users::parse(text.as_bytes()).unwrap();
            assert!(users.is_empty() && !accepts(&users, "", "") && !accepts(&users, "a", "p"));
        }
    }
}
