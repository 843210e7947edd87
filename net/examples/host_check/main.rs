//! Checks this host's promises from inside; exits with status 0 if the host keeps them.
//!
//! `host_check --listen ADDR:PORT`. Other flags of the broker are ignored, so that the same scripts
//! start it.

mod checks;

use wisp_net::SysHost;

fn main() {
    let mut args = std::env::args().skip_while(|arg| arg != "--listen").skip(1);
    let addr = args.next().and_then(|addr| addr.parse().ok());
    checks::all(&SysHost, addr.expect("usage: host_check --listen ADDR:PORT"));
    println!("host_check: every promise is kept");
}
