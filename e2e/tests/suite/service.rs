//! The broker under a service manager: it tells its state, and takes the listeners that were opened for it. Only natively.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use wisp_e2e::broker::{Broker, free_addr};
use wisp_e2e::host::{Ability, Host, cannot};
use wisp_e2e::program::Program;
use wisp_e2e::raw::RawClient;
use wisp_e2e::{Version, paho};

/// The longest time for one message of the broker.
const PATIENCE: Duration = Duration::from_secs(60);

/// Opens a listener as descriptor 3 and becomes the command of its arguments, which keeps the process.
const HAND_OVER: &str = "
import os, socket, sys
address, port = sys.argv[1].rsplit(':', 1)
listener = socket.create_server((address, int(port)))
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')
os.execvp(sys.argv[2], sys.argv[2:])
";

/// The command of a broker that listens on `addr`. A listener on `handed` is opened before it starts.
fn handed_over(handed: SocketAddr, addr: SocketAddr) -> Command {
    let broker = Host::Native.command(addr, &[]);
    let mut command = Command::new(paho::python());
    command.args(["-c", HAND_OVER, &handed.to_string()]).arg(broker.get_program()).args(broker.get_args());
    command
}

#[test]
fn the_service_manager_is_told_when_the_broker_is_ready_reloads_and_stops() {
    if cannot(Ability::ServiceManager) {
        return;
    }
    let path = env::temp_dir().join(format!("wisp-notify-{}", std::process::id()));
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let next = || {
        let mut buffer = [0; 4096];
        let len = socket.recv(&mut buffer).expect("a message of the broker");
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    };
    let mut broker = Broker::start_after(&format!("export NOTIFY_SOCKET={}", path.display()), &[]);
    assert_eq!(next(), "READY=1\n");
    broker.signal("HUP");
    let reloading = next();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading:?}");
    assert_eq!(next(), "READY=1\n");
    broker.signal("TERM");
    assert_eq!(next(), "STOPPING=1\n");
    assert!(broker.finish().status.success());
    fs::remove_file(path).expect("it is there");
}

#[test]
fn a_listener_that_was_handed_over_is_used() {
    if cannot(Ability::ServiceManager) {
        return;
    }
    let addr = free_addr();
    // The broker cannot open it a second time.
    let broker = Broker::start_by(handed_over(addr, addr), addr);
    RawClient::connect(broker.addr(), Version::V5, "by-activation").ping();
    assert!(!broker.log().iter().any(|line| line.contains("not configured")), "{:?}", broker.log());
}

#[test]
fn a_listener_that_is_not_configured_is_named() {
    if cannot(Ability::ServiceManager) {
        return;
    }
    let (handed, addr) = (free_addr(), free_addr());
    let broker = Broker::start_by(handed_over(handed, addr), addr);
    let line = broker.wait_log("opened a listener that is not configured");
    assert!(line.contains(&handed.to_string()), "{line}");
}

#[test]
fn a_descriptor_that_is_no_listener_is_refused() {
    if cannot(Ability::ServiceManager) {
        return;
    }
    let broker = Host::Native.command(free_addr(), &[]);
    let mut shell = Command::new("sh");
    shell.arg("-c").arg("export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" \"$@\" 3</dev/null");
    shell.arg(broker.get_program()).args(broker.get_args());
    let ended = Program::start(shell).finish();
    assert_eq!(ended.status.code(), Some(2));
    let words = ended.stderr.join("\n");
    assert!(words.contains("descriptor 3, handed over by LISTEN_FDS, is no listening TCP socket"), "{words}");
}
