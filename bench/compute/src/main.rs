//! The program `wisp-compute`; see the library. When it has done its work it prints one line of JSON.

use std::process::ExitCode;

use wisp_compute::args::Work;
use wisp_compute::{Made, Sorted, make_random, sort_file};

fn main() -> ExitCode {
    let work = match Work::parse(std::env::args().skip(1)) {
        Ok(work) => work,
        Err(error) => {
            eprintln!("wisp-compute: {error}");
            return ExitCode::from(2);
        }
    };
    match work {
        Work::Random { count } => {
            let Made { sum, compute_s } = make_random(count);
            println!(r#"{{"sum":{sum},"compute_s":{compute_s}}}"#);
        }
        Work::Sort { file, out } => match sort_file(&file, &out) {
            Ok(Sorted { numbers, read_s, compute_s, write_s }) => {
                let times = format!(r#""read_s":{read_s},"compute_s":{compute_s},"write_s":{write_s}"#);
                println!(r#"{{"numbers":{numbers},{times}}}"#);
            }
            Err(error) => {
                eprintln!("wisp-compute: cannot sort {} into {}: {error}", file.display(), out.display());
                return ExitCode::FAILURE;
            }
        },
    }
    ExitCode::SUCCESS
}
