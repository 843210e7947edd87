//! The program `wisp-transfer`; see the library. When all is transferred it prints one line of JSON.

use std::process::ExitCode;

use wisp_net::{Host, SysHost};
use wisp_transfer::args::Arguments;
use wisp_transfer::{Phase, Report, serve};

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("wisp-transfer: {error}");
            return ExitCode::from(2);
        }
    };
    let listener = match SysHost.listen(arguments.listen) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("wisp-transfer: cannot listen on {}: {error}", arguments.listen);
            return ExitCode::from(2);
        }
    };
    match serve(&SysHost, listener, &arguments.settings) {
        Ok(Report { receive, send }) => {
            println!("{{{},{}}}", fields("receive", receive), fields("send", send));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("wisp-transfer: the transfer broke off: {error}");
            ExitCode::FAILURE
        }
    }
}

fn fields(name: &str, phase: Phase) -> String {
    let Phase { seconds, calls, waits } = phase;
    format!(r#""{name}_s":{seconds},"{name}_calls":{calls},"{name}_waits":{waits}"#)
}
