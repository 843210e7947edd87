//! Checks the tables of docs/conformance.md: every normative statement of the two standards has one row, and
//! every test that a row names exists. Needs no broker.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::read_to_string;
use std::path::Path;

/// The sections of MQTT 3.1.1 with their number of statements, from Appendix B.
const MQTT_3_1_1: &[(&str, u32)] = &[
    ("1.5.3", 3),
    ("2.2.2", 2),
    ("2.3.1", 7),
    ("3.1.0", 2),
    ("3.1.2", 24),
    ("3.1.3", 11),
    ("3.1.4", 5),
    ("3.2.0", 1),
    ("3.2.2", 6),
    ("3.3.1", 12),
    ("3.3.2", 3),
    ("3.3.4", 1),
    ("3.3.5", 2),
    ("3.6.1", 1),
    ("3.8.1", 1),
    ("3.8.3", 4),
    ("3.8.4", 6),
    ("3.9.3", 2),
    ("3.10.1", 1),
    ("3.10.3", 2),
    ("3.10.4", 6),
    ("3.12.4", 1),
    ("3.14.1", 1),
    ("3.14.4", 3),
    ("4.1.0", 2),
    ("4.3.1", 1),
    ("4.3.2", 2),
    ("4.3.3", 2),
    ("4.4.0", 1),
    ("4.5.0", 2),
    ("4.6.0", 6),
    ("4.7.1", 3),
    ("4.7.2", 1),
    ("4.7.3", 4),
    ("4.8.0", 2),
    ("6.0.0", 4),
    ("7.0.0", 2),
    ("7.1.1", 1),
    ("7.1.2", 1),
];

/// The sections of MQTT 5 with their number of statements.
const MQTT_5: &[(&str, u32)] = &[
    ("1.5.4", 3),
    ("1.5.5", 1),
    ("1.5.7", 1),
    ("2.1.3", 1),
    ("2.2.1", 6),
    ("2.2.2", 1),
    ("3.1.0", 2),
    ("3.1.2", 30),
    ("3.1.3", 12),
    ("3.1.4", 6),
    ("3.2.0", 2),
    ("3.2.2", 22),
    ("3.3.1", 13),
    ("3.3.2", 20),
    ("3.3.4", 10),
    ("3.4.2", 3),
    ("3.5.2", 3),
    ("3.6.1", 1),
    ("3.6.2", 3),
    ("3.7.2", 3),
    ("3.8.1", 1),
    ("3.8.3", 5),
    ("3.8.4", 8),
    ("3.9.2", 2),
    ("3.9.3", 2),
    ("3.10.1", 1),
    ("3.10.3", 2),
    ("3.10.4", 6),
    ("3.11.2", 2),
    ("3.11.3", 2),
    ("3.12.4", 1),
    ("3.14.0", 1),
    ("3.14.1", 1),
    ("3.14.2", 4),
    ("3.14.4", 3),
    ("3.15.1", 1),
    ("3.15.2", 3),
    ("4.1.0", 2),
    ("4.2", 1),
    ("4.3.1", 1),
    ("4.3.2", 5),
    ("4.3.3", 13),
    ("4.4.0", 2),
    ("4.5.0", 2),
    ("4.6.0", 6),
    ("4.7.0", 1),
    ("4.7.1", 2),
    ("4.7.2", 1),
    ("4.7.3", 4),
    ("4.8.2", 6),
    ("4.9.0", 3),
    ("4.12.0", 7),
    ("4.12.1", 2),
    ("4.13.1", 1),
    ("4.13.2", 1),
    ("6.0.0", 4),
];

/// The beginnings of the last cell in rows without a test.
const REASONS: [&str; 4] = ["does not apply: ", "cannot arise: ", "cannot be observed: ", "cannot be provoked "];

/// Headings under which statements are listed without a row.
const LISTS: [&str; 2] = ["## Concern the client", "## Not in the standard"];

#[test]
fn every_statement_of_mqtt_3_1_1_has_its_row() {
    assert_page("docs/conformance/mqtt-3.1.1.md", MQTT_3_1_1);
}

#[test]
fn every_statement_of_mqtt_5_has_its_row() {
    assert_page("docs/conformance/mqtt-5.md", MQTT_5);
}

#[test]
fn a_page_with_mistakes_is_reported() {
    let sections = [("1.1.1", 4), ("2.2", 1)];
    let this_file = "e2e/tests/conformance_page.rs";
    let right = format!(
        "| MQTT-1.1.1-1 | something | `{this_file}::a_page_with_mistakes_is_reported` |\n\
         | MQTT-1.1.1-2 | something | does not apply: there is none of it |\n\
         | MQTT-2.2-1 | something | cannot arise: it cannot |\n\
         ## Concern the client\n\nMQTT-1.1.1-3.\n\n## Not in the standard\n\nMQTT-1.1.1-4.\n"
    );
    assert_eq!(problems(&right, &sections), Vec::<String>::new());
    let wrong = [
        ("MQTT-1.1.1-2 ", "MQTT-1.1.1-1 ", "MQTT-1.1.1-1 is there twice"),
        ("MQTT-1.1.1-3", "nothing", "MQTT-1.1.1-3 is missing"),
        ("MQTT-1.1.1-3", "MQTT-1.1.1-2", "MQTT-1.1.1-2 is there twice"),
        ("MQTT-1.1.1-4", "MQTT-1.1.1-5", "MQTT-1.1.1-5 is in no section"),
        ("MQTT-2.2-1", "MQTT-2.3-1", "MQTT-2.3-1 is in no section"),
        ("::a_page", "::no_page", "no test no_page_with_mistakes_is_reported in e2e/tests/conformance_page.rs"),
        ("::a_page_with_mistakes_is_reported", "::problems", "no test problems in e2e/tests/conformance_page.rs"),
        ("conformance_page.rs", "no_page.rs", "no file e2e/tests/no_page.rs"),
        ("does not apply: there is none of it", "", "MQTT-1.1.1-2 has neither a test nor a reason"),
        ("does not apply: there is none of it", "surely", "MQTT-1.1.1-2 has neither a test nor a reason"),
        ("does not apply: ", "(missing) does not apply: ", "MQTT-1.1.1-2 says that its test is missing"),
        ("| something |", "| some | thing |", "MQTT-1.1.1-1 has not three cells"),
    ];
    for (part, replacement, problem) in wrong {
        let page = right.replacen(part, replacement, 1);
        assert!(problems(&page, &sections).iter().any(|found| found == problem), "{problem}: {page}");
    }
}

fn assert_page(path: &str, sections: &[(&str, u32)]) {
    let page = read_to_string(root().join(path)).expect(path);
    let problems = problems(&page, sections);
    assert!(problems.is_empty(), "{path}:\n{}", problems.join("\n"));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the repository")
}

/// All faults of a page that is to list the statements of these sections.
fn problems(page: &str, sections: &[(&str, u32)]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut found: BTreeMap<&str, u32> = BTreeMap::new();
    let mut sources = HashMap::new();
    let mut in_list = false;
    for line in page.lines() {
        if line.starts_with("## ") {
            in_list = LISTS.contains(&line);
        } else if line.starts_with("| MQTT-") {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            // The bars at both ends make two empty cells.
            let [_, id, _, shown_by, _] = cells[..] else {
                problems.push(format!("{} has not three cells", cells[1]));
                continue;
            };
            *found.entry(id).or_default() += 1;
            problems.extend(problems_of_cell(id, shown_by, &mut sources));
        } else if in_list {
            for id in ids_in(line) {
                *found.entry(id).or_default() += 1;
            }
        }
    }
    let expected: BTreeSet<String> = sections
        .iter()
        .flat_map(|(section, count)| (1..=*count).map(move |number| format!("MQTT-{section}-{number}")))
        .collect();
    for (id, count) in &found {
        if *count > 1 {
            problems.push(format!("{id} is there twice"));
        }
        if !expected.contains(*id) {
            problems.push(format!("{id} is in no section"));
        }
    }
    problems.extend(expected.iter().filter(|id| !found.contains_key(id.as_str())).map(|id| format!("{id} is missing")));
    problems
}

/// The statements in a line of text.
fn ids_in(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("MQTT-").map(|(start, prefix)| {
        let rest = &line[start..];
        let number = |character: char| character.is_ascii_digit() || ".-".contains(character);
        let end =
            rest[prefix.len()..].find(|character| !number(character)).map_or(rest.len(), |end| prefix.len() + end);
        rest[..end].trim_end_matches(['.', '-'])
    })
}

/// The faults of a row's last cell, which names tests or gives the reason why there is none.
fn problems_of_cell(id: &str, cell: &str, sources: &mut HashMap<String, Option<String>>) -> Vec<String> {
    let mut problems = Vec::new();
    if cell.contains("(missing") {
        problems.push(format!("{id} says that its test is missing"));
    }
    let tests: Vec<(&str, &str)> = cell.split('`').filter_map(|quoted| quoted.split_once("::")).collect();
    if tests.is_empty() && !REASONS.iter().any(|reason| cell.starts_with(reason) && cell.len() > reason.len()) {
        problems.push(format!("{id} has neither a test nor a reason"));
    }
    for (path, test) in tests {
        let source = sources.entry(path.to_owned()).or_insert_with(|| read_to_string(root().join(path)).ok());
        match source {
            Some(source) if has_test(source, test) => {}
            Some(_) => problems.push(format!("no test {test} in {path}")),
            None => problems.push(format!("no file {path}")),
        }
    }
    problems
}

/// Whether the source has a test function of this name.
fn has_test(source: &str, name: &str) -> bool {
    let header = format!("fn {name}(");
    source.match_indices(&header).any(|(start, _)| {
        let mut above = source[..start].lines().rev().map(str::trim).skip_while(|line| line.is_empty());
        above.by_ref().take_while(|line| line.starts_with("#[") || line.starts_with("//")).any(|line| line == "#[test]")
    })
}
