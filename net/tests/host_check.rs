//! Checks of the native and the in-memory host from inside. For the other hosts the example
//! `host_check` runs the same checks inside their runtimes.

#[path = "../examples/host_check/checks.rs"]
mod checks;

use wisp_net::SysHost;
use wisp_net::memory::MemoryHost;

#[test]
fn native_keeps_its_promises() {
    checks::all(&SysHost, "127.0.0.1:0".parse().expect("legal"));
}

#[test]
fn native_keeps_its_promises_on_ipv6() {
    // A machine without IPv6 has nothing to check.
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        checks::all(&SysHost, "[::1]:0".parse().expect("legal"));
    }
}

#[test]
fn memory_keeps_its_promises() {
    checks::all(&MemoryHost::new(), "127.0.0.1:0".parse().expect("legal"));
}
