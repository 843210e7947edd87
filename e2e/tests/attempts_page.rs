//! Checks the tables of docs/attempts.md: every attempt has an outcome, and tests that exist. Needs no broker.

use std::fs::read_to_string;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the repository")
}

/// Whether the source has a test function of this name.
fn has_test(source: &str, name: &str) -> bool {
    let Some(start) = source.find(&format!("fn {name}(")) else { return false };
    let mut above = source[..start].lines().rev().map(str::trim).skip_while(|line| line.is_empty());
    above.by_ref().take_while(|line| line.starts_with("#[")).any(|line| line == "#[test]")
}

#[test]
fn every_attempt_is_a_test_that_exists() {
    let page = read_to_string(root().join("docs/attempts.md")).expect("the page is there");
    let (mut problems, mut attempts) = (Vec::new(), 0);
    for row in page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| attempt |")) {
        let cells: Vec<&str> = row.split(" | ").collect();
        let [_, _, shown_by] = cells[..] else {
            problems.push(format!("not three cells: {row}"));
            continue;
        };
        attempts += 1;
        let tests: Vec<(&str, &str)> = shown_by.split('`').filter_map(|quoted| quoted.split_once("::")).collect();
        if tests.is_empty() {
            problems.push(format!("no test: {row}"));
        }
        for (path, test) in tests {
            match read_to_string(root().join(path)) {
                Ok(source) if has_test(&source, test) => {}
                Ok(_) => problems.push(format!("no test {test} in {path}")),
                Err(error) => problems.push(format!("{path}: {error}")),
            }
        }
    }
    assert!(problems.is_empty() && attempts > 30, "{attempts} attempts\n{}", problems.join("\n"));
}
