//! `wisp passwd`: makes and changes password files, which mosquitto reads as well.

use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use wisp_access::{HashKind, Memory, PasswordFile, PasswordHash, SALT_BYTES, check_name};

use crate::failure::Failure;

/// The options of `wisp passwd`, as mosquitto_passwd has them.
#[derive(Args)]
pub(crate) struct Passwd {
    /// Make a new file; one that exists is not overwritten
    #[arg(short)]
    create: bool,
    /// Remove the user
    #[arg(short = 'D', conflicts_with_all = ["create", "batch", "hash", "iterations"])]
    delete: bool,
    /// Take the password from the command line, where every user of the machine can see it
    #[arg(short, requires = "password")]
    batch: bool,
    /// argon2id, sha512-pbkdf2 (for a mosquitto built without Argon2) or sha512
    #[arg(short = 'H', value_name = "HASH", default_value = "argon2id", value_parser = ["argon2id", "sha512-pbkdf2", "sha512"])]
    hash: String,
    /// The iterations of sha512-pbkdf2
    #[arg(short = 'I', value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    iterations: u32,
    /// The password file
    file: PathBuf,
    /// The user
    user: String,
    /// With -b: the password. Without, it is asked for, or read from standard input
    #[arg(requires = "batch")]
    password: Option<String>,
}

pub(crate) fn run(options: &Passwd) -> Result<(), Failure> {
    let Passwd { file: path, user, .. } = options;
    let shown = path.display();
    check_name(user).map_err(|error| Failure::Usage(error.to_string()))?;
    let mut file = open(path, options.create)?;
    if options.delete {
        if !file.remove(user) {
            return Err(Failure::Usage(format!("{shown}: there is no user {user}")));
        }
        save(path, &file)?;
        return say(&format!("user {user} removed"));
    }
    let password = match &options.password {
        Some(password) => password.clone(),
        None => read_password()?,
    };
    if password.is_empty() {
        return Err(Failure::Usage("an empty password is never accepted: give another one".to_owned()));
    }
    let is_new = file.set(user, &hash(options, &password)?).map_err(|error| Failure::Usage(error.to_string()))?;
    save(path, &file)?;
    say(&format!("user {user} {}", if is_new { "added" } else { "changed" }))
}

fn hash(options: &Passwd, password: &str) -> Result<PasswordHash, Failure> {
    let kind = match &*options.hash {
        "sha512" => HashKind::Sha512,
        "sha512-pbkdf2" => HashKind::Pbkdf2 { rounds: options.iterations },
        _ => HashKind::ARGON2ID,
    };
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).map_err(|error| Failure::Stdio(format!("the host gives no random numbers: {error}")))?;
    PasswordHash::new(kind, password.as_bytes(), salt, &mut Memory::default())
        .map_err(|error| Failure::Stdio(error.to_string()))
}

/// The file to change: a new one, or the one that is there.
fn open(path: &Path, create: bool) -> Result<PasswordFile, Failure> {
    let shown = path.display();
    match (fs::read(path), create) {
        (Ok(_), true) => Err(Failure::Usage(format!("{shown} exists already: change it without -c"))),
        (Ok(text), false) => PasswordFile::parse(&text).map_err(|error| Failure::Usage(format!("{shown}:{error}"))),
        (Err(error), true) if error.kind() == io::ErrorKind::NotFound => Ok(PasswordFile::default()),
        (Err(error), false) if error.kind() == io::ErrorKind::NotFound => {
            Err(Failure::Usage(format!("there is no file {shown}: make it with -c")))
        }
        (Err(error), _) => Err(Failure::Usage(format!("cannot read {shown}: {error}"))),
    }
}

/// Replaces the file in one step, so that a broker never reads a part of it.
fn save(path: &Path, file: &PasswordFile) -> Result<(), Failure> {
    let cannot = |error: io::Error| Failure::Stdio(format!("cannot write {}: {error}", path.display()));
    // The file that a link names is replaced, not the link.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = target.with_file_name(name);
    let written = write_private(&new, file.as_str().as_bytes(), &target).and_then(|()| fs::rename(&new, &target));
    written.map_err(|error| {
        // It holds nothing that is not also in the message's file.
        let _ = fs::remove_file(&new);
        cannot(error)
    })
}

/// Writes a file that only its owner can read, or the readers of the file that it will replace.
fn write_private(path: &Path, bytes: &[u8], replaced: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    if let Ok(metadata) = fs::metadata(replaced) {
        file.set_permissions(metadata.permissions())?;
    }
    Ok(())
}

/// The password, twice from a terminal, or the first line of standard input. A second line has to be the same, as with
/// mosquitto_passwd.
fn read_password() -> Result<String, Failure> {
    let stdin = io::stdin();
    let is_terminal = stdin.is_terminal();
    let _hidden = if is_terminal { Some(terminal::hide()) } else { None };
    let ask = |prompt: &str| -> Result<Option<String>, Failure> {
        if is_terminal {
            // Without it the question is only less clear.
            let _ = write!(io::stderr(), "{prompt}").and_then(|()| io::stderr().flush());
        }
        let mut line = String::new();
        let count = stdin
            .lock()
            .read_line(&mut line)
            .map_err(|error| Failure::Stdio(format!("cannot read the password: {error}")))?;
        if is_terminal {
            let _ = writeln!(io::stderr());
        }
        Ok((count > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned()))
    };
    let first =
        ask("Password: ")?.ok_or_else(|| Failure::Usage("there is no password on standard input".to_owned()))?;
    match ask("Again: ")? {
        Some(second) if second != first => Err(Failure::Usage("the two passwords differ".to_owned())),
        None if is_terminal => Err(Failure::Usage("the password was not repeated".to_owned())),
        _ => Ok(first),
    }
}

fn say(text: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{text}").map_err(|error| Failure::of_output(&error))
}

#[cfg(unix)]
mod terminal {
    use std::io;

    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

    /// The terminal as it was, to which it returns.
    pub(super) struct Hidden(Option<Termios>);

    /// Stops the terminal from showing the input.
    pub(super) fn hide() -> Hidden {
        let before = tcgetattr(io::stdin()).ok();
        if let Some(mut hidden) = before.clone() {
            hidden.local_modes.remove(LocalModes::ECHO);
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &hidden);
        }
        Hidden(before)
    }

    impl Drop for Hidden {
        fn drop(&mut self) {
            if let Some(before) = &self.0 {
                let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
            }
        }
    }
}

/// A sandbox cannot hide the input.
#[cfg(not(unix))]
mod terminal {
    pub(super) struct Hidden;

    pub(super) fn hide() -> Hidden {
        Hidden
    }
}
