//! A package as modules in files, and the dependencies among its files.

use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};

use crate::circles::Graph;
use crate::module::{Child, Module, Path, parse};

/// The most re-exports that one name is followed through.
const REEXPORTS_MAX: usize = 32;

/// A crate: its modules by their paths below the root.
#[derive(Default)]
pub struct Crate {
    modules: BTreeMap<Vec<String>, Placed>,
}

/// A module with its file.
struct Placed {
    module: Module,
    file: PathBuf,
}

/// A dependency of one file on another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Dependency {
    /// The file that names the item.
    pub from: String,
    /// The line of the name.
    pub line: usize,
    /// The name.
    pub path: String,
    /// The file that defines the item.
    pub to: String,
}

impl Crate {
    /// Loads the crate of a root file. `read` gives the text of a file that exists.
    ///
    /// # Errors
    /// When the file of a module does not exist.
    pub fn load(root: &FilePath, read: &dyn Fn(&FilePath) -> Option<String>) -> Result<Self, String> {
        let mut loaded = Self::default();
        loaded.load_file(root, Vec::new(), true, read)?;
        Ok(loaded)
    }

    /// Loads the module of a file with its children. A file that `owns_folder` has its children beside it, as `mod.rs`
    /// has; the children of another file are in a folder with its name.
    fn load_file(
        &mut self,
        file: &FilePath,
        path: Vec<String>,
        owns_folder: bool,
        read: &dyn Fn(&FilePath) -> Option<String>,
    ) -> Result<(), String> {
        let text = read(file).ok_or_else(|| format!("{} does not exist", file.display()))?;
        let beside = file.parent().unwrap_or(FilePath::new("")).to_owned();
        let folder = if owns_folder { beside.clone() } else { file.with_extension("") };
        for module in parse(&text) {
            let module_path = [path.as_slice(), &module.inline_path].concat();
            let folder = module.inline_path.iter().fold(folder.clone(), |folder, name| folder.join(name));
            for (name, child) in &module.children {
                let child_path = [module_path.as_slice(), std::slice::from_ref(name)].concat();
                let (flat, nested) = (folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs"));
                match child {
                    Child::Inline => {}
                    Child::File(Some(named)) => self.load_file(&beside.join(named), child_path, true, read)?,
                    Child::File(None) if read(&nested).is_some() => self.load_file(&nested, child_path, true, read)?,
                    Child::File(None) => self.load_file(&flat, child_path, false, read)?,
                }
            }
            self.modules.insert(module_path, Placed { module, file: file.to_owned() });
        }
        Ok(())
    }

    /// All dependencies among the files of the crate.
    #[must_use]
    pub fn dependencies(&self) -> Vec<Dependency> {
        let mut found = Vec::new();
        for (at, Placed { module, file }) in &self.modules {
            let imports = module.imports.iter().map(|import| &import.path);
            for path in imports.chain(&module.paths) {
                let target = self.absolute(at, &path.segments, 0).and_then(|path| self.target(&path, 0));
                if let Some(target) = target.filter(|target| *target != file) {
                    found.push(Dependency {
                        from: file.display().to_string(),
                        line: path.line,
                        path: shown(path),
                        to: target.display().to_string(),
                    });
                }
            }
        }
        found.sort();
        found.dedup();
        found
    }

    /// The path of `segments`, written in the module at `at`, below the root; `None` if it leads to another crate.
    fn absolute(&self, at: &[String], segments: &[String], steps: usize) -> Option<Vec<String>> {
        let (first, rest) = segments.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([at, rest].concat()),
            "super" => {
                let (_, parent) = at.split_last()?;
                match rest.first() {
                    Some(next) if next == "super" => self.absolute(parent, rest, steps),
                    _ => Some([parent, rest].concat()),
                }
            }
            _ => {
                let module = &self.modules.get(at)?.module;
                if module.children.contains_key(first) {
                    return Some([at, segments].concat());
                }
                let import = module.imports.iter().find(|import| import.name.as_ref() == Some(first))?;
                // `use a::b` names another crate `a`, not itself.
                if steps >= REEXPORTS_MAX || import.path.segments.as_slice() == std::slice::from_ref(first) {
                    return None;
                }
                let base = self.absolute(at, &import.path.segments, steps + 1)?;
                Some([base.as_slice(), rest].concat())
            }
        }
    }

    /// The file that defines the item at a path below the root. Re-exports are followed.
    fn target(&self, path: &[String], steps: usize) -> Option<&FilePath> {
        if steps >= REEXPORTS_MAX {
            return None;
        }
        let depth = (0..=path.len()).rev().find(|depth| self.modules.contains_key(&path[..*depth]))?;
        let (at, rest) = path.split_at(depth);
        let Placed { module, file } = &self.modules[at];
        let Some(name) = rest.first() else { return Some(file) };
        if module.items.contains(name) {
            return Some(file);
        }
        if let Some(import) = module.imports.iter().find(|import| import.name.as_ref() == Some(name)) {
            let base = self.absolute(at, &import.path.segments, steps + 1)?;
            return self.target(&[base.as_slice(), &rest[1..]].concat(), steps + 1);
        }
        let globs = module.imports.iter().filter(|import| import.name.is_none());
        for glob in globs {
            let Some(base) = self.absolute(at, &glob.path.segments, steps + 1) else { continue };
            if self.modules.get(&base).is_some_and(|placed| placed.module.items.contains(name)) {
                return self.target(&[base.as_slice(), rest].concat(), steps + 1);
            }
        }
        Some(file)
    }
}

/// The graph of the dependencies between two accepted files.
#[must_use]
pub fn graph(dependencies: &[Dependency], is_held: impl Fn(&str) -> bool) -> Graph {
    let mut graph = Graph::new();
    for Dependency { from, to, .. } in dependencies {
        if is_held(from) && is_held(to) {
            graph.entry(from.clone()).or_default().insert(to.clone());
        }
    }
    graph
}

fn shown(path: &Path) -> String {
    path.segments.join("::")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::circles::circles;

    fn load(files: &[(&str, &str)]) -> Crate {
        let read = |path: &FilePath| {
            files.iter().find(|(file, _)| FilePath::new(file) == path).map(|(_, text)| (*text).to_owned())
        };
        Crate::load(FilePath::new("src/lib.rs"), &read).unwrap()
    }

    fn edges(files: &[(&str, &str)]) -> Vec<String> {
        let show = |found: &Dependency| format!("{}:{} {} -> {}", found.from, found.line, found.path, found.to);
        load(files).dependencies().iter().map(show).collect()
    }

    #[test]
    fn a_made_up_circle_is_found_with_the_lines_that_make_it() {
        let files = [
            ("src/lib.rs", "mod a; mod b; mod c; pub use a::A;"),
            ("src/a.rs", "\nuse crate::b::B;\npub struct A(B);"),
            ("src/b.rs", "pub struct B;\nfn f(c: &crate::c::C) {}"),
            ("src/c.rs", "pub struct C;\n\nimpl C { fn g() -> super::A { todo!() } }"),
        ];
        assert_eq!(
            edges(&files),
            [
                "src/a.rs:2 crate::b::B -> src/b.rs",
                "src/b.rs:2 crate::c::C -> src/c.rs",
                "src/c.rs:3 super::A -> src/a.rs",
                "src/lib.rs:1 a::A -> src/a.rs",
            ]
        );
        let dependencies = load(&files).dependencies();
        let found = circles(&graph(&dependencies, |_| true));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].iter().collect::<Vec<_>>(), ["src/a.rs", "src/b.rs", "src/c.rs"]);
        assert!(circles(&graph(&dependencies, |file| file != "src/b.rs")).is_empty());
    }

    #[test]
    fn a_reexported_item_belongs_to_its_own_file() {
        let found = edges(&[
            ("src/lib.rs", "mod a; mod b; pub use a::deep::{Deep as D, Other}; pub use wire::QoS; pub use b::*;"),
            ("src/a/mod.rs", "pub(crate) mod deep; pub(crate) use deep::Deep;"),
            ("src/a/deep.rs", "pub struct Deep; pub enum Other { V }"),
            ("src/b.rs", "use crate::{D, QoS};\nfn f(_: crate::a::Deep) { crate::Other::V; }\npub struct B;"),
            // A name of a glob, and one that only the root can have.
        ]);
        let of_b: Vec<&str> = found.iter().map(String::as_str).filter(|edge| edge.starts_with("src/b.rs")).collect();
        assert_eq!(
            of_b,
            [
                "src/b.rs:1 crate::D -> src/a/deep.rs",
                "src/b.rs:2 crate::Other::V -> src/a/deep.rs",
                "src/b.rs:2 crate::a::Deep -> src/a/deep.rs",
            ]
        );
    }

    #[test]
    fn modules_are_found_in_their_files_and_paths_through_imports_and_children() {
        let found = edges(&[
            ("src/lib.rs", "mod a; mod z; pub struct Root; pub use z::*;"),
            (
                "src/a.rs",
                "mod b; mod inline { mod c; fn f() { super::b::g() } }\n#[path = \"x.rs\"] mod d;\nfn f() { b::g(); d::h(); }",
            ),
            (
                "src/a/b.rs",
                "use crate::a::inline;\nuse super::super::Root;\npub fn g() { inline::c::X; crate::Z; self::here(); }",
            ),
            ("src/a/inline/c.rs", "use std::fmt;\nimpl fmt::Debug for X {}"),
            ("src/x.rs", "pub fn h() { other_crate::y(); }"),
            ("src/z.rs", "pub struct Z;"),
        ]);
        assert_eq!(
            found,
            [
                "src/a.rs:1 super::b::g -> src/a/b.rs",
                "src/a.rs:3 b::g -> src/a/b.rs",
                "src/a.rs:3 d::h -> src/x.rs",
                "src/a/b.rs:1 crate::a::inline -> src/a.rs",
                "src/a/b.rs:2 super::super::Root -> src/lib.rs",
                "src/a/b.rs:3 crate::Z -> src/z.rs",
                "src/a/b.rs:3 inline::c::X -> src/a/inline/c.rs",
                "src/lib.rs:1 z -> src/z.rs",
            ]
        );
    }

    #[test]
    fn a_missing_file_is_an_error() {
        let read = |path: &FilePath| path.ends_with("lib.rs").then(|| "mod gone;".to_owned());
        let error = Crate::load(FilePath::new("src/lib.rs"), &read).err();
        assert_eq!(error.as_deref(), Some("src/gone.rs does not exist"));
    }
}
