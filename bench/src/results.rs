//! The folder with a run's results.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

/// Every sample, one line of JSON each.
pub const SAMPLES_FILE: &str = "results.jsonl";
/// The tables and their circumstances.
pub const SUMMARY_FILE: &str = "summary.md";

/// Writes both files into a folder, which is made if need be; files of an earlier run are replaced.
///
/// # Errors
/// When the folder is not writable.
pub fn write(folder: &Path, samples: &[impl Serialize], page: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join(SAMPLES_FILE), lines(samples)?)?;
    fs::write(folder.join(SUMMARY_FILE), page)
}

fn lines(samples: &[impl Serialize]) -> io::Result<String> {
    let mut text = String::new();
    for sample in samples {
        text += &serde_json::to_string(sample)?;
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::tests::sample;
    use wisp_lab::broker::Broker;

    #[test]
    fn each_sample_has_a_line() {
        let text = lines(&[sample(Broker::Native, 1, 1.0), sample(Broker::Wasmer, 2, 2.0)]).unwrap();
        let brokers: Vec<_> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["broker"].clone())
            .collect();
        assert_eq!(brokers, ["native", "wasmer"]);
    }
}
