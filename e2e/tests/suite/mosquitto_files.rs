//! Files of mosquitto of three kinds that people have, on Wisp without an edit: natively beside mosquitto itself, and on each host.

use std::fs;
use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use std::process::Command;

use wisp_e2e::Version;
use wisp_e2e::broker::{Broker, free_addr};
use wisp_e2e::certificates::Authority;
use wisp_e2e::host::{Ability, Host, cannot};
use wisp_e2e::peer::{Options, Session, paho};
use wisp_e2e::program::Program;
use wisp_e2e::wait::wait_until;

use crate::users::{Folder, code, connect_as, publish};

/// Has `check` look at mosquitto with the file, natively, and then at Wisp with the same file and the same addresses. Returns the
/// notes of Wisp about the file.
fn on_both(file: &str, addrs: &[SocketAddr], check: impl Fn()) -> Vec<String> {
    let wait = || addrs.iter().for_each(|addr| wait_until("a listener", || TcpStream::connect(addr).is_ok()));
    if Host::current() == Host::Native {
        let mut command = Command::new("/usr/sbin/mosquitto");
        command.args(["-c", file]);
        let _mosquitto = Program::start(command);
        wait();
        check();
    }
    let broker = Broker::start_with(&["--mosquitto-config", file]);
    wait();
    check();
    broker.log().into_iter().filter(|line| line.contains(".conf:")).collect()
}

/// A client of the user joe, whose password is joe.
fn joe(addr: SocketAddr, scheme: &str, authority: Option<&Authority>, clean: bool) -> Session {
    let mut options = Options { clean, ..Options::new(addr, Version::V5, "joe") };
    options.environment =
        [("WISP_E2E_SCHEME", scheme.to_owned()), ("WISP_E2E_USER", "joe:joe".to_owned())].map(owned).into();
    options.environment.extend(authority.map(|authority| owned(("WISP_E2E_CA", authority.file()))));
    Session::of(paho(&options))
}

fn owned((name, value): (&str, String)) -> (String, String) {
    (name.to_owned(), value)
}

fn is_named(notes: &[String], directive: &str) -> bool {
    notes.iter().any(|line| line.contains(&format!(": {directive}")))
}

#[test]
fn the_file_of_a_home_automation_add_on() {
    if cannot(Ability::Files) {
        return;
    }
    let (folder, authority) = (Folder::new(), Authority::new());
    let [plain, web, tls, secure_web] = [(); 4].map(|()| free_addr());
    let server = authority.server(&["localhost"]);
    let users = folder.add_user("joe", "joe", &[]);
    let rules = folder.write("acl", "# the house\nuser joe\ntopic readwrite home/#\n\npattern read status/%u\n");
    let identity = format!(
        "cafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate false\n",
        authority.file(),
        server.certificate,
        server.key
    );
    let port = |addr: SocketAddr| format!("listener {} {}\n", addr.port(), addr.ip());
    fs::create_dir(folder.path("share")).expect("the folder can be written");
    folder.write("share/custom.conf", "max_queued_messages 8192\nmax_keepalive 600\n");
    let text = [
        "user root\nlog_dest stderr\nlog_type error\nlog_type warning\nlog_type notice\nlog_type information\n"
            .to_owned(),
        format!("persistence true\npersistence_location {}\nautosave_interval 300\n\n", folder.path("")),
        format!("allow_anonymous false\npassword_file {users}\nacl_file {rules}\n\n"),
        format!("{}protocol mqtt\n\n{}protocol websockets\n\n", port(plain), port(web)),
        format!("{}protocol mqtt\n{identity}\n{}protocol websockets\n{identity}\n", port(tls), port(secure_web)),
        format!("include_dir {}\n", folder.path("share")),
    ];
    let file = folder.write("mosquitto.conf", &text.concat());
    let notes = on_both(&file, &[plain, web, tls, secure_web], || {
        assert_eq!(
            [None, Some(("joe", "wrong")), Some(("ann", "joe"))].map(|user| code(plain, Version::V311, user)),
            [5; 3]
        );
        let mut client = connect_as(plain, "raw", "joe");
        assert!(publish(&mut client, "home/lamp", false) < 0x80);
        assert_eq!(publish(&mut client, "garden/lamp", false), 0x87);
        for (addr, scheme) in [(plain, "mqtt"), (web, "ws"), (tls, "mqtts"), (secure_web, "wss")] {
            let mut session = joe(addr, scheme, Some(&authority), true);
            session.subscribe("home/#", 1);
            session.publish("home/door", scheme, 1, false);
            assert_eq!(session.wait_for_messages(1)[0].text, scheme);
            session.disconnect();
        }
    });
    assert!(is_named(&notes, "user root"), "{notes:?}");
}

#[test]
fn the_file_of_a_gateway_with_persistence() {
    if cannot(Ability::Files) {
        return;
    }
    let (folder, addr) = (Folder::new(), free_addr());
    let users = folder.add_user("joe", "joe", &[]);
    fs::create_dir(folder.path("conf.d")).expect("the folder can be written");
    let listener = format!("# the port of the gateway\nlistener {} {}\nmax_connections 40\n", addr.port(), addr.ip());
    folder.write("conf.d/10-listener.conf", &listener);
    let text = format!(
        "# Place your local configuration in conf.d\npid_file {}\nuser root\nset_tcp_nodelay true\npersistence true\n\
         persistence_location {}\npersistence_file gateway.db\nautosave_interval 1800\nlog_dest stderr\nlog_type all\n\
         connection_messages true\nallow_anonymous false\npassword_file {users}\nmax_inflight_messages 20\n\
         max_queued_messages 200\nqueue_qos0_messages false\npersistent_client_expiration 14d\nsys_interval 10\n\
         include_dir {}\n",
        folder.path("mosquitto.pid"),
        folder.path(""),
        folder.path("conf.d"),
    );
    let file = folder.write("mosquitto.conf", &text);
    let notes = on_both(&file, &[addr], || {
        assert_eq!(code(addr, Version::V5, None), 0x87);
        let mut away = joe(addr, "mqtt", None, false);
        away.subscribe("measured/#", 1);
        away.disconnect();
        let mut client = connect_as(addr, "sensor", "joe");
        (0..100).for_each(|number| assert!(publish(&mut client, &format!("measured/{number}"), false) < 0x80));
        let back = joe(addr, "mqtt", None, false);
        assert!(back.is_present());
        let topics: Vec<String> = back.wait_for_messages(100).into_iter().map(|message| message.topic).collect();
        assert_eq!(topics, (0..100).map(|number| format!("measured/{number}")).collect::<Vec<_>>());
        back.disconnect();
        // Ends the kept session.
        joe(addr, "mqtt", None, true).disconnect();
    });
    assert!(is_named(&notes, "pid_file"), "{notes:?}");
}

#[test]
fn the_file_of_a_container_with_two_listeners() {
    if cannot(Ability::Files) {
        return;
    }
    let (folder, inner, mut outer) = (Folder::new(), free_addr(), free_addr());
    if Host::current() == Host::Wasip2 {
        // Without an address the listener is on `[::]`, which is IPv6 alone there.
        outer.set_ip(Ipv6Addr::LOCALHOST.into());
    }
    let users = folder.add_user("joe", "joe", &[]);
    let text = format!(
        "per_listener_settings true\npersistence false\nlog_dest stdout\nuser root\n\n# inside\nlistener {} {}\n\
         allow_anonymous true\n\n# outside\nlistener {}\nallow_anonymous false\npassword_file {users}\n",
        inner.port(),
        inner.ip(),
        outer.port()
    );
    let file = folder.write("mosquitto.conf", &text);
    let notes = on_both(&file, &[inner, outer], || {
        let codes = |addr| [None, Some(("joe", "joe"))].map(|user| code(addr, Version::V5, user));
        assert_eq!(codes(inner), [0, 0]);
        assert_eq!(codes(outer), [0x87, 0]);
        let mut outside = joe(outer, "mqtt", None, true);
        outside.subscribe("news", 1);
        Session::of(paho(&Options::new(inner, Version::V311, "inside"))).publish("news", "from inside", 1, false);
        assert_eq!(outside.wait_for_messages(1)[0].text, "from inside");
        outside.disconnect();
    });
    assert!(is_named(&notes, "user root"), "{notes:?}");
}
