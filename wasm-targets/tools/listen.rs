//! Opens a listener and becomes another program that finds it as its descriptor FD.
//!
//! Wasmtime can open a module's listeners itself, but knows nothing of TCP_NODELAY, which a guest
//! cannot set either: on a listener it holds for every connection accepted from it. And what
//! Wasmtime prints when a port is taken is a backtrace. A program of one file, built by
//! `wasm-targets/wasmtime/run` with rustc alone; several listeners are several of it in a row.

use std::ffi::OsString;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

/// The status of the broker itself for an address it cannot have.
const CANNOT_LISTEN: u8 = 2;

fn listener(address: &str) -> io::Result<(OwnedFd, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let actual = listener.local_addr()?;
    // The option is the socket's, and only streams have a method for it.
    let socket = TcpStream::from(OwnedFd::from(listener));
    socket.set_nodelay(true)?;
    Ok((socket.into(), actual))
}

/// With port 0 the system picks the port, and the guest cannot query it: so it is told the actual address
/// instead of the one that it was to listen on.
fn tell_actual(program: &mut [OsString], address: &str, actual: SocketAddr) {
    let joined = format!("--listen={address}");
    for at in 0..program.len() {
        if program[at] == *joined {
            program[at] = format!("--listen={actual}").into();
            return;
        }
        if program[at] == "--listen" && program.get(at + 1).is_some_and(|next| next == address) {
            program[at + 1] = actual.to_string().into();
            return;
        }
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let fd = arguments.next().and_then(|fd| fd.to_str()?.parse::<u8>().ok());
    let address = arguments.next().and_then(|address| address.into_string().ok());
    let mut program: Vec<OsString> = arguments.collect();
    let (Some(fd), Some(address), false) = (fd, address, program.is_empty()) else {
        eprintln!("usage: listen FD ADDR:PORT PROGRAM [ARGUMENTS...]");
        return ExitCode::from(CANNOT_LISTEN);
    };
    let socket = match listener(&address) {
        Ok((socket, actual)) => {
            tell_actual(&mut program, &address, actual);
            socket
        }
        Err(error) => {
            eprintln!("wisp-broker: cannot listen on {address}: {error}");
            return ExitCode::from(CANNOT_LISTEN);
        }
    };
    // The standard library hands down standard input alone; the shell moves it to its number.
    let error = Command::new("bash")
        .args(["-c", &format!("exec {fd}<&0 0</dev/null \"$@\""), "bash"])
        .args(program)
        .stdin(Stdio::from(socket))
        .exec();
    eprintln!("listen: cannot start bash: {error}");
    ExitCode::FAILURE
}
