//! The outcome of a sweep, and its summary for people.

use std::borrow::Cow;
use std::env;
use std::io::{self, Write};
use std::path::PathBuf;

use crate::failure::Failure;
use crate::plan::Plan;
use crate::sweep::options::Options;
use wisp_loadgen::Target;
use wisp_report::folder::{self, Record};

/// How a sweep went.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// Where the records are.
    pub folder: PathBuf,
    /// The plan's records, including the ones from before.
    pub records: Vec<Record>,
    /// Samples that were there before.
    pub skipped: usize,
    /// Whether it was ended before all samples were taken.
    pub is_interrupted: bool,
}

impl Outcome {
    /// Samples in which something was wrong.
    #[must_use]
    pub fn faulty(&self) -> usize {
        self.records.iter().filter(|record| folder::fault(record).is_some()).count()
    }

    /// Samples in which the generator was the limit.
    #[must_use]
    pub fn saturated(&self) -> usize {
        self.records.iter().filter(|record| folder::is_saturated(record)).count()
    }

    /// The status to end with: 130 when it was interrupted, 1 if something was wrong in a sample, else 0.
    #[must_use]
    pub fn status(&self) -> u8 {
        match (self.is_interrupted, self.faulty()) {
            (true, _) => Failure::Interrupted.status(),
            (false, 0) => 0,
            (false, _) => 1,
        }
    }
}

/// Draws the measurements, prints the tables, and says where the files are and which figures to distrust.
///
/// # Errors
/// When the folder cannot be written to.
pub fn present(plan: &Plan, options: &Options, outcome: &Outcome) -> Result<(), Failure> {
    let program = options.program;
    let samples = outcome.records.len();
    if outcome.is_interrupted {
        let all = plan.samples();
        eprintln!(
            "{program}: interrupted after {samples} of {all} samples, which are kept: --out with that folder and --resume takes the others"
        );
    }
    if outcome.faulty() > 0 {
        eprintln!(
            "{program}: in {} of {samples} samples something was wrong, see above or {}",
            outcome.faulty(),
            folder::RECORDS_FILE
        );
    }
    if outcome.saturated() > 0 {
        eprintln!(
            "{program}: in {} of {samples} samples the generator was the limit (is_generator_saturated): what was measured of the \
             broker is the least that it can do",
            outcome.saturated()
        );
    }
    if samples == 0 {
        return Ok(());
    }
    let written = wisp_report::write(&outcome.folder).map_err(Failure::setup)?;
    let tables = wisp_report::terminal_table(&outcome.records, &plan.figures);
    let text =
        format!("{tables}\n{samples} samples in {}, drawn in {}\n", outcome.folder.display(), written.page.display());
    // A closed standard output is no error: its reader has seen enough.
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Setup(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// This program's command line, as it can be given again: without where the records went, and without passwords.
#[must_use]
pub fn command(program: &str) -> String {
    command_of(program, env::args().skip(1))
}

fn command_of(program: &str, arguments: impl Iterator<Item = String>) -> String {
    let mut words = vec![program.to_owned()];
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--out" => drop(arguments.next()),
            "--resume" => {}
            other if other.starts_with("--out=") => {}
            other => words.push(quoted(&without_password(other))),
        }
    }
    words.join(" ")
}

fn without_password(argument: &str) -> String {
    let (flag, value) = argument.strip_prefix("--url=").map_or(("", argument), |value| ("--url=", value));
    match value.parse::<Target>() {
        Ok(target) => format!("{flag}{target}"),
        Err(_) => argument.to_owned(),
    }
}

/// As one word of a shell command. Lists and assignments are left unquoted, because they are read more easily so.
fn quoted(word: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_=.,/:@+%".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    shlex::try_quote(word).map_or_else(|_| "''".to_owned(), Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_one_that_can_be_given_again() {
        let of = |words: &[&str]| command_of("p", words.iter().map(|word| (*word).to_owned()));
        assert_eq!(of(&["sweep", "a", "--out", "/x/y", "--resume", "--seed", "7"]), "p sweep a --seed 7");
        assert_eq!(
            of(&["sweep", "--out=/x", "--size", "1..9 times 2", "it's"]),
            r#"p sweep --size '1..9 times 2' "it's""#
        );
        for url in [&["--url", "mqtt://me:secret@h:1"][..], &["--url=nats://me:secret@h:1"]] {
            let command = of(url);
            assert!(command.contains("h:1") && !command.contains("secret"), "{command}");
        }
    }
}
