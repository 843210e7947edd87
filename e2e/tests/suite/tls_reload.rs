//! Certificates, authorities and revocation lists that change while the broker runs: on SIGHUP, and by the times of the files.

use std::fs;

use wisp_e2e::Version;
use wisp_e2e::broker::Broker;
use wisp_e2e::certificates::Certificate;
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::mosquitto::{Message, Subscriber};
use wisp_e2e::raw::RawClient;
use wisp_e2e::wait::wait_until;

use crate::tls::{Secured, s_client, secured};

/// Has the broker notice that files have changed.
type Announce = dyn Fn(&Broker);

const ON_SIGHUP: (&[&str], &Announce) = (&[], &|broker| broker.signal("HUP"));
const BY_TIMES: (&[&str], &Announce) = (&["--check-files-s", "1"], &|_| {});

/// What s_client sees of the broker; None if there is no openssl here.
fn look(secured: &Secured, arguments: &[&str]) -> Option<String> {
    s_client(secured, &[&["-ign_eof"], arguments].concat())
}

/// Whether s_client was shown the certificate of a file.
fn shows(output: &str, file: &str) -> bool {
    let pem = fs::read_to_string(file).expect("the file is there");
    let digits: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    output.replace('\n', "").contains(&digits)
}

#[test]
fn a_renewed_certificate_is_shown_to_new_connections_on_sighup() {
    if !cannot(Ability::Signals) {
        a_certificate_changes("renewed-hup", ON_SIGHUP);
    }
}

#[test]
fn a_renewed_certificate_is_noticed_where_there_are_no_signals() {
    if !cannot(Ability::Files) {
        a_certificate_changes("renewed-times", BY_TIMES);
    }
}

/// A certificate is renewed, then broken in several ways, then renewed again, while a connection goes on.
fn a_certificate_changes(name: &str, (flags, announce): (&[&str], &Announce)) {
    let secured = secured(name, flags, |_| String::new());
    let Secured { broker, authority, server, .. } = &secured;
    let first = authority.path_of_copy(&server.certificate);
    let Some(output) = look(&secured, &[]) else { return };
    assert!(shows(&output, &first), "{output}");
    let mut wills = RawClient::connect(broker.addr(), Version::V311, "wills");
    wills.subscribe(&["gone"]);
    let ca = authority.file();
    let options = ["--cafile", &ca, "-q", "1", "--will-topic", "gone", "--will-payload", "too early"];
    let subscriber = Subscriber::start_marked(secured.addr, broker.addr(), Version::V5, &["news"], &options);

    let [second, third] = [authority.server(&["localhost"]), authority.server(&["localhost"])];
    let is_served = |certificate: &Certificate| {
        let output = look(&secured, &[]).expect("openssl is here");
        assert!(output.contains("Verify return code: 0"), "{output}");
        shows(&output, &certificate.certificate)
    };
    authority.renew(server, &second);
    announce(broker);
    wait_until("the new certificate", || is_served(&second));
    broker.wait_log(&format!("read again: the certificates of {}", secured.addr));

    let expired = authority.expired_server();
    for (by, reason) in [
        (Some(&ca), format!("{}: not the key of the certificate in {}", server.key, server.certificate)),
        (Some(&server.key), format!("{}: no certificate in it", server.certificate)),
        (Some(&expired.certificate), format!("{}: the certificate has expired", server.certificate)),
        (None, format!("{}: cannot be read", server.certificate)),
    ] {
        authority.replace(&server.certificate, by.map(String::as_str));
        announce(broker);
        let line = broker.wait_log(&reason.to_lowercase());
        assert!(line.contains(&format!("the certificates of {} stay as they were", secured.addr)), "{line}");
        assert!(is_served(&second), "the old state stays");
    }
    authority.renew(server, &third);
    announce(broker);
    wait_until("the last certificate", || is_served(&third));

    assert!(secured.publish(Version::V5, &[], "news", b"after").status.success());
    assert_eq!(subscriber.wait_for_messages(1), [Message::new("news", "after")]);
    RawClient::connect(broker.addr(), Version::V311, "end").publish("gone", b"end");
    assert_eq!(wills.read_message("gone"), b"end", "the connection from before the changes went on");
}

#[test]
fn a_revoked_client_and_its_session_are_refused_on_sighup() {
    if !cannot(Ability::Signals) {
        a_client_is_revoked("revoked-hup", ON_SIGHUP);
    }
}

#[test]
fn a_revoked_client_and_its_session_are_refused_where_there_are_no_signals() {
    if !cannot(Ability::Files) {
        a_client_is_revoked("revoked-times", BY_TIMES);
    }
}

/// The authority of the clients gets lost, and then a client that has tickets of its sessions is revoked.
fn a_client_is_revoked(name: &str, (flags, announce): (&[&str], &Announce)) {
    let (mut thief, mut authorities) = (None, None);
    let secured = secured(name, flags, |authority| {
        thief = Some(authority.client("thief", "thief@example.org"));
        let copy = authority.path_of_copy(&authority.file());
        let list = authority.revocation_list(&[]);
        let lines = format!("tls.client-ca = \"{copy}\"\ntls.crl = \"{list}\"");
        authorities = Some(copy);
        lines
    });
    let (thief, authorities) = (thief.expect("it was made"), authorities.expect("it was made"));
    let Secured { broker, authority, .. } = &secured;
    let identity = ["-cert", &thief.certificate, "-key", &thief.key];
    let session = |version: &str| format!("{authorities}{version}.session");
    let resume = |version: &str, identity: &[&str]| {
        look(&secured, &[&[version, "-sess_in", &session(version)], identity].concat()).expect("openssl is here")
    };
    for version in ["-tls1_2", "-tls1_3"] {
        let Some(first) = look(&secured, &[&[version, "-sess_out", &session(version)], &identity[..]].concat()) else {
            return;
        };
        assert!(first.contains("New, TLS"), "{first}");
        let second = resume(version, &identity);
        assert!(second.contains("Reused, TLS"), "{second}");
    }
    let publish = |identity: &[&str]| secured.publish(Version::V5, identity, "checked", b"x").status.success();
    let as_thief = ["--cert", &thief.certificate, "--key", &thief.key];

    // Nobody is connected meanwhile: the broker looks all the same.
    authority.replace(&authorities, None);
    announce(broker);
    broker.wait_log(&format!("{authorities}: cannot be read").to_lowercase());
    assert!(publish(&as_thief) && !publish(&[]), "clients are asked for a certificate as before");
    authority.replace(&authorities, Some(&authority.file()));

    authority.revocation_list(&[&thief]);
    announce(broker);
    wait_until("the client to be refused", || !publish(&as_thief));
    broker.wait_log("the client's certificate is revoked");
    for version in ["-tls1_2", "-tls1_3"] {
        for identity in [&identity[..], &[]] {
            let output = resume(version, identity);
            assert!(!output.contains("Reused, TLS") && output.contains("alert"), "{version} {identity:?}: {output}");
        }
    }
}
