//! Finds circles among the files of a package: files that need each other through the items that they name.
//!
//! ```text
//!   text --lexer--> tokens --module--> modules, items, imports, paths --package--> file -> file --circles--> report
//! ```
//!
//! A file depends on another if it names one of its items: in a `use`, or by a path such as `crate::x::Y`, `super::Y`,
//! or `x::Y` with a child module or an imported module `x`. A re-exported item belongs to the file that defines it, not
//! to the file that re-exports it. Tests (`#[cfg(test)]`) do not count, and neither do methods, which have no path.

pub mod circles;
pub mod lexer;
pub mod module;
pub mod package;
