//! Reports each circle among the files of a package, with the lines that make it.
//!
//! `cargo run -p wisp-lints` checks the folders that are held to have none, `cargo run -p wisp-lints -- FOLDER...` any
//! others. Exit status 1 if there is a circle, 2 if a folder cannot be read.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use wisp_lints::circles::circles;
use wisp_lints::package::{Crate, Dependency, graph};

/// The folders that must have no circles: a package, or a folder below its `src`.
const HELD: [&str; 16] = [
    "access",
    "bench",
    "bench/compute",
    "bench/isolation",
    "bench/lab",
    "bench/report",
    "bench/transfer",
    "broker",
    "client",
    "engine",
    "loadgen",
    "programs/arguments",
    "programs/wisp",
    "programs/wisp-broker",
    "programs/wisp-loadgen",
    "store",
];

/// The most lines that are shown of one file's dependency on another.
const LINES_MAX: usize = 3;

fn main() -> ExitCode {
    let named: Vec<String> = std::env::args().skip(1).collect();
    let folders = if named.is_empty() { HELD.map(str::to_owned).to_vec() } else { named };
    // Cargo sets it when it runs the program. The folder at compile time may be another checkout with the same target folder.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let repository = package.as_deref().and_then(|package| package.ancestors().nth(2)).unwrap_or(Path::new("."));
    let mut found = 0;
    for folder in &folders {
        match check(repository, Path::new(folder)) {
            Ok(circles) => found += circles,
            Err(error) => {
                eprintln!("circles: {folder}: {error}");
                return ExitCode::from(2);
            }
        }
    }
    if found > 0 {
        return ExitCode::FAILURE;
    }
    println!("circles: none in {}", folders.join(", "));
    ExitCode::SUCCESS
}

/// Prints the circles of a folder and returns their number.
fn check(repository: &Path, folder: &Path) -> Result<usize, String> {
    let package = folder.ancestors().find(|folder| repository.join(folder).join("Cargo.toml").is_file());
    let package = package.filter(|package| !package.as_os_str().is_empty()).ok_or("it belongs to no package")?;
    let read = |path: &Path| std::fs::read_to_string(repository.join(path)).ok();
    let roots = ["src/lib.rs", "src/main.rs"].map(|root| package.join(root));
    let roots: Vec<PathBuf> = roots.into_iter().filter(|root| repository.join(root).is_file()).collect();
    if roots.is_empty() {
        return Err("its package has no src/lib.rs and no src/main.rs".to_owned());
    }
    let mut count = 0;
    for root in roots {
        let dependencies = Crate::load(&root, &read)?.dependencies();
        for circle in circles(&graph(&dependencies, |file| Path::new(file).starts_with(folder))) {
            count += 1;
            let files: Vec<&str> = circle.iter().map(String::as_str).collect();
            println!("circles: {} files need each other: {}", files.len(), files.join(", "));
            for from in &circle {
                for to in &circle {
                    print_lines(dependencies.iter().filter(|found| found.from == *from && found.to == *to));
                }
            }
        }
    }
    Ok(count)
}

fn print_lines<'a>(dependencies: impl Iterator<Item = &'a Dependency>) {
    for Dependency { from, line, path, to } in dependencies.take(LINES_MAX) {
        println!("  {from}:{line}: {path} is in {to}");
    }
}
