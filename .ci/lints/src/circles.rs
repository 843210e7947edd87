//! Circles in a graph of files.

use std::collections::{BTreeMap, BTreeSet};

/// The dependencies of each file on others.
pub type Graph = BTreeMap<String, BTreeSet<String>>;

/// The largest sets of files that all reach each other, without single files.
#[must_use]
pub fn circles(graph: &Graph) -> Vec<BTreeSet<String>> {
    let reachable: BTreeMap<&str, BTreeSet<&str>> =
        graph.keys().map(|file| (file.as_str(), reach(graph, file))).collect();
    let mut found: BTreeSet<BTreeSet<String>> = BTreeSet::new();
    for (file, others) in &reachable {
        let back = |other: &&&str| reachable.get(**other).is_some_and(|others| others.contains(file));
        let circle: BTreeSet<String> = others.iter().filter(back).map(|other| (*other).to_owned()).collect();
        if circle.len() > 1 {
            found.insert(circle);
        }
    }
    found.into_iter().collect()
}

/// All files on a path of one step or more from `file`.
fn reach<'a>(graph: &'a Graph, file: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut next: Vec<&str> = graph.get(file).into_iter().flatten().map(String::as_str).collect();
    while let Some(file) = next.pop() {
        if found.insert(file) {
            next.extend(graph.get(file).into_iter().flatten().map(String::as_str));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &str)]) -> Graph {
        let mut graph = Graph::new();
        for (from, to) in edges {
            graph.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        graph
    }

    #[test]
    fn files_that_reach_each_other_are_one_circle() {
        let found =
            circles(&graph(&[("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("d", "e"), ("e", "d"), ("f", "a")]));
        let named: Vec<Vec<&str>> = found.iter().map(|circle| circle.iter().map(String::as_str).collect()).collect();
        assert_eq!(named, [vec!["a", "b", "c"], vec!["d", "e"]]);
    }

    #[test]
    fn without_a_way_back_there_is_no_circle() {
        assert!(circles(&graph(&[("a", "b"), ("a", "c"), ("b", "c"), ("c", "d"), ("d", "d")])).is_empty());
    }
}
