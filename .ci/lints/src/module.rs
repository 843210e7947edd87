//! The modules of one file: their items, their imports, and the paths that they name.

use std::collections::{BTreeMap, BTreeSet};

use crate::lexer::{Kind, Token, tokens};

/// A module, in a file of its own or inline in the file of another.
#[derive(Default, Debug)]
pub struct Module {
    /// Its path below the module of the file: empty for that one.
    pub inline_path: Vec<String>,
    /// The names that it defines.
    pub items: BTreeSet<String>,
    /// Its child modules: inline ones, and the others with the file of `#[path]`.
    pub children: BTreeMap<String, Child>,
    /// The names that it imports.
    pub imports: Vec<Import>,
    /// The other paths that it names.
    pub paths: Vec<Path>,
}

/// A declared child module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Child {
    /// `mod x { .. }`.
    Inline,
    /// `mod x;`, with the file of `#[path]`.
    File(Option<String>),
}

/// One name of a `use`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Import {
    /// The name in the module; `None` for a glob.
    pub name: Option<String>,
    /// The imported path.
    pub path: Path,
}

/// A path as it is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Path {
    /// Its names, without type arguments.
    pub segments: Vec<String>,
    /// The line of its first name.
    pub line: usize,
}

/// Parses a file: its own module comes first, its inline modules follow. Tests are left out.
#[must_use]
pub fn parse(source: &str) -> Vec<Module> {
    let tokens = tokens(source);
    let mut parser =
        Parser { tokens: &tokens, at: 0, depth: 0, modules: vec![Module::default()], open: vec![(0, 0)], path: None };
    while parser.at < tokens.len() {
        parser.step();
    }
    parser.modules
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    /// The number of open braces.
    depth: usize,
    modules: Vec<Module>,
    /// The open modules, outermost first, each with the depth of its items.
    open: Vec<(usize, usize)>,
    /// The file of a `#[path]` in front of a module.
    path: Option<String>,
}

impl Parser<'_> {
    fn kind(&self, at: usize) -> Option<&Kind> {
        self.tokens.get(at).map(|token| &token.kind)
    }

    fn ident(&self, at: usize) -> Option<&str> {
        match self.kind(at)? {
            Kind::Ident(word) => Some(word),
            _ => None,
        }
    }

    fn is_punct(&self, at: usize, c: char) -> bool {
        self.kind(at) == Some(&Kind::Punct(c))
    }

    fn module(&mut self) -> &mut Module {
        let (index, _) = self.open[self.open.len() - 1];
        &mut self.modules[index]
    }

    fn step(&mut self) {
        match self.kind(self.at) {
            Some(Kind::Punct('#')) => self.attribute(),
            Some(Kind::Punct('{')) => {
                self.depth += 1;
                self.at += 1;
            }
            Some(Kind::Punct('}')) => {
                self.depth = self.depth.saturating_sub(1);
                if self.open.len() > 1 && self.open[self.open.len() - 1].1 > self.depth {
                    self.open.pop();
                }
                self.at += 1;
            }
            Some(Kind::Ident(word)) => match word.as_str() {
                // Not the captured lifetimes of `impl Trait + use<'a>`.
                "use" if !self.is_punct(self.at + 1, '<') => self.import(),
                "mod" if self.ident(self.at + 1).is_some() => self.child(),
                _ => self.name(),
            },
            _ => self.at += 1,
        }
    }

    /// An attribute. One that stands for tests leaves its item out.
    fn attribute(&mut self) {
        let inner = usize::from(self.is_punct(self.at + 1, '!'));
        let begin = self.at + 1 + inner;
        if !self.is_punct(begin, '[') {
            self.at += 1;
            return;
        }
        let end = self.closing(begin);
        let words: Vec<&str> = (begin..end).filter_map(|at| self.ident(at)).collect();
        let is_test = match words.first() {
            Some(&"test") => true,
            Some(&"cfg") => words.contains(&"test") && !words.contains(&"not"),
            _ => false,
        };
        if words == ["path"] {
            self.path = (begin..end).find_map(|at| match self.kind(at) {
                Some(Kind::Literal(text)) => Some(text.trim_matches('"').to_owned()),
                _ => None,
            });
        }
        self.at = end;
        if is_test && inner == 0 {
            self.skip_item();
        }
    }

    /// The token behind the bracket that closes the one at `at`.
    fn closing(&self, at: usize) -> usize {
        let mut depth = 0;
        for (index, token) in self.tokens.iter().enumerate().skip(at) {
            match token.kind {
                Kind::Punct('(' | '[' | '{') => depth += 1,
                Kind::Punct(')' | ']' | '}') => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return index + 1;
            }
        }
        self.tokens.len()
    }

    /// Skips an item: to its semicolon, or to the end of its block.
    fn skip_item(&mut self) {
        let mut is_use = false;
        while let Some(kind) = self.kind(self.at) {
            match kind {
                Kind::Punct(';') => {
                    self.at += 1;
                    return;
                }
                // The end of an enclosing block: the attribute stood before a field or a variant.
                Kind::Punct('}') => return,
                Kind::Punct('{') => {
                    self.at = self.closing(self.at);
                    if !is_use {
                        return;
                    }
                }
                Kind::Punct('(' | '[') => self.at = self.closing(self.at),
                Kind::Ident(word) => {
                    is_use |= word == "use";
                    self.at += 1;
                }
                _ => self.at += 1,
            }
        }
    }

    /// `mod x;` or `mod x {`.
    fn child(&mut self) {
        let name = self.ident(self.at + 1).expect("checked by the caller").to_owned();
        let path = self.path.take();
        self.at += 2;
        if !self.is_punct(self.at, '{') {
            self.module().children.insert(name, Child::File(path));
            return;
        }
        self.module().children.insert(name.clone(), Child::Inline);
        let mut inline_path = self.module().inline_path.clone();
        inline_path.push(name);
        self.modules.push(Module { inline_path, ..Module::default() });
        self.at += 1;
        self.depth += 1;
        self.open.push((self.modules.len() - 1, self.depth));
    }

    /// `use TREE;`.
    fn import(&mut self) {
        self.at += 1;
        self.tree(&[]);
    }

    /// One tree of a `use` behind `prefix`: `a::b`, `a as b`, `a::*`, `a::{..}`.
    fn tree(&mut self, prefix: &[String]) {
        let mut segments = prefix.to_vec();
        let line = self.tokens.get(self.at).map_or(0, |token| token.line);
        if self.kind(self.at) == Some(&Kind::PathSep) {
            // `use ::name` is always another crate.
            segments.push(String::new());
            self.at += 1;
        }
        loop {
            if let Some(word) = self.ident(self.at) {
                segments.push(word.to_owned());
                self.at += 1;
                if self.kind(self.at) != Some(&Kind::PathSep) {
                    break;
                }
                self.at += 1;
            } else if self.is_punct(self.at, '{') {
                self.at += 1;
                while self.at < self.tokens.len() && !self.is_punct(self.at, '}') {
                    self.tree(&segments);
                    if self.is_punct(self.at, ',') {
                        self.at += 1;
                    }
                }
                self.at += 1;
                return;
            } else {
                // `*`, or a token that no `use` has.
                self.at += 1;
                self.module().imports.push(Import { name: None, path: Path { segments, line } });
                return;
            }
        }
        // `a::{self}` imports `a`.
        if segments.len() > 1 && segments.last().is_some_and(|last| last == "self") {
            segments.pop();
        }
        let mut name = segments.last().cloned();
        if self.ident(self.at) == Some("as") {
            name = self.ident(self.at + 1).map(str::to_owned);
            self.at += 2;
        }
        self.module().imports.push(Import { name, path: Path { segments, line } });
    }

    /// The definition of an item, a path, or any other word.
    fn name(&mut self) {
        let is_item_level = self.open[self.open.len() - 1].1 == self.depth;
        let defines = match self.ident(self.at) {
            Some("fn" | "struct" | "enum" | "union" | "trait" | "type" | "const" | "static") => 1,
            Some("macro_rules") if self.is_punct(self.at + 1, '!') => 2,
            _ => 0,
        };
        if defines > 0 {
            // `static mut X` is one item, and `const fn x` is found at `fn`.
            let at = self.at + defines + usize::from(self.ident(self.at + defines) == Some("mut"));
            if let Some(item) = self.ident(at).map(str::to_owned).filter(|item| is_item_level && !is_qualifier(item)) {
                self.module().items.insert(item);
            }
            self.at += defines;
            return;
        }
        let line = self.tokens[self.at].line;
        let mut segments = vec![self.ident(self.at).unwrap_or_default().to_owned()];
        let follows_path = self.at > 0 && self.kind(self.at - 1) == Some(&Kind::PathSep);
        self.at += 1;
        while self.kind(self.at) == Some(&Kind::PathSep) {
            let Some(word) = self.ident(self.at + 1).map(str::to_owned) else { break };
            segments.push(word);
            self.at += 2;
        }
        if segments.len() > 1 && !follows_path {
            self.module().paths.push(Path { segments, line });
        }
    }
}

fn is_qualifier(word: &str) -> bool {
    matches!(word, "fn" | "unsafe" | "async" | "extern")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(source: &str) -> Vec<String> {
        let show = |import: &Import| {
            let path = import.path.segments.join("::");
            format!("{}={path}", import.name.as_deref().unwrap_or("*"))
        };
        parse(source)[0].imports.iter().map(show).collect()
    }

    #[test]
    fn every_form_of_use_is_taken_apart() {
        for (source, expected) in [
            ("use a;", &["a=a"][..]),
            ("pub(crate) use a::b as c;", &["c=a::b"]),
            ("use a::{self, b::{c, d as e}, f::*,};", &["a=a", "c=a::b::c", "e=a::b::d", "*=a::f"]),
            ("use super::super::x;", &["x=super::super::x"]),
            ("use ::a::b;", &["b=::a::b"]),
            ("fn f() -> impl X + use<'a> { use a::b; }", &["b=a::b"]),
            ("#[cfg(loom)]\nuse a;\n#[cfg(not(test))]\nuse b;", &["a=a", "b=b"]),
        ] {
            assert_eq!(imports(source), expected, "{source}");
        }
    }

    #[test]
    fn tests_are_left_out() {
        let source = "
            #[cfg(test)] use a::{b};
            #[cfg(all(test, not_loom))] mod t { use c; mod x; }
            #[cfg(test)] mod file;
            #[test] fn f() { use d; crate::e::f(); }
            #[cfg(test)] impl X<[u8; 3]> { fn g() { crate::g::h() } }
            use z;";
        let modules = parse(source);
        assert_eq!((modules.len(), imports(source)), (1, vec!["z=z".to_owned()]));
        assert!(modules[0].children.is_empty() && modules[0].items.is_empty());
        assert!(modules[0].paths.is_empty(), "{:?}", modules[0].paths);
    }

    #[test]
    fn items_children_and_paths_are_found_where_they_are() {
        let source = "
            mod file;
            #[path = \"other.rs\"] pub mod named;
            pub struct S { x: crate::a::B }
            mod inline {
                pub const fn f() { g::h::<T>(); }
                static mut Y: u8 = 0;
                mod deeper { type T = super::super::S; }
                macro_rules! m { () => { $crate::q::r } }
            }
            impl S { fn method() -> Self::Z { <u8 as tr::Ait>::x() } }
            const C: [u8; 3] = file::X;";
        let modules = parse(source);
        let names = |module: &Module| module.items.iter().cloned().collect::<Vec<_>>();
        let paths = |module: &Module| module.paths.iter().map(|path| path.segments.join("::")).collect::<Vec<_>>();
        assert_eq!(names(&modules[0]), ["C", "S"]);
        assert_eq!(paths(&modules[0]), ["crate::a::B", "Self::Z", "tr::Ait", "file::X"]);
        assert_eq!(modules[0].children["file"], Child::File(None));
        assert_eq!(modules[0].children["named"], Child::File(Some("other.rs".to_owned())));
        assert_eq!(
            (modules[1].inline_path.join("::"), names(&modules[1])),
            ("inline".to_owned(), { ["Y", "f", "m"].map(str::to_owned).to_vec() })
        );
        assert_eq!(paths(&modules[1]), ["g::h", "crate::q::r"]);
        assert_eq!(
            (modules[2].inline_path.join("::").as_str(), paths(&modules[2])[0].as_str()),
            ("inline::deeper", "super::super::S")
        );
        assert_eq!(modules[0].paths[0].line, 4);
    }
}
