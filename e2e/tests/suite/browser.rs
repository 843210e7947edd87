//! Web pages in a real Chromium, with the package mqtt: over WebSocket, with TLS below it, and from another origin.

use std::path::Path;

use wisp_e2e::Version;
use wisp_e2e::broker::{Broker, free_addr};
use wisp_e2e::browser::{browser, browser_is_missing, chromium_is_missing, document_of, pin};
use wisp_e2e::client::Client;
use wisp_e2e::host::{Ability, cannot};
use wisp_e2e::packet::Publish;
use wisp_e2e::peer::{Options, Session};
use wisp_e2e::wait::wait_until;

use crate::tls::{exchange, secured};
use crate::users::Folder;
use crate::websocket::web;

#[test]
fn a_page_exchanges_messages_over_web_socket() {
    if cannot(Ability::Wisp) || browser_is_missing() {
        return;
    }
    let (_broker, addr, _file) = web("browser-ws", "websocket.path = \"/mqtt\"");
    exchange(browser, addr, &[("WISP_E2E_SCHEME", "ws")]);
}

#[test]
fn a_page_exchanges_messages_over_web_socket_with_tls() {
    if cannot(Ability::Wisp) || browser_is_missing() {
        return;
    }
    let secured = secured("browser-wss", &[], |_| "protocol = \"websocket\"".to_owned());
    let pin = pin(Path::new(&secured.server.certificate));
    exchange(browser, secured.addr, &[("WISP_E2E_SCHEME", "wss"), ("WISP_E2E_PIN", &pin)]);
}

#[test]
fn a_page_of_another_origin_gets_no_connection() {
    if cannot(Ability::Wisp) || browser_is_missing() {
        return;
    }
    let page = free_addr();
    let (broker, addr, _file) = web("browser-origin", &format!("websocket.origin = \"http://{page}\""));
    let mut options = Options::new(addr, Version::V5, "page");
    options.environment = vec![("WISP_E2E_PAGE_PORT".to_owned(), page.port().to_string())];
    Session::of(browser(&options)).disconnect();
    options.environment.clear();
    let other = browser(&options);
    wait_until("the page to be refused", || !other.lines().is_empty());
    assert!(!other.lines().iter().any(|line| line.starts_with("connected")), "{:?}", other.lines());
    broker.wait_log("origin that is not allowed");
}

#[test]
fn a_page_refuses_a_certificate_that_its_browser_does_not_trust() {
    if cannot(Ability::Wisp) || browser_is_missing() {
        return;
    }
    let secured = secured("browser-stranger", &[], |_| "protocol = \"websocket\"".to_owned());
    let mut options = Options::new(secured.addr, Version::V5, "page");
    options.environment = vec![("WISP_E2E_SCHEME".to_owned(), "wss".to_owned())];
    let page = browser(&options);
    wait_until("the certificate to be refused", || !page.lines().is_empty());
    assert!(!page.lines().iter().any(|line| line.starts_with("connected")), "{:?}", page.lines());
}

#[test]
fn the_page_for_operators_shows_the_broker_its_clients_and_its_queues() {
    if cannot(Ability::Wisp) || chromium_is_missing() {
        return;
    }
    let admin = free_addr();
    let broker = Broker::start_with(&["--admin", &admin.to_string()]);
    let name = "<b>client</b>";
    let mut client = Client::clean(&broker, Version::V5, name);
    client.publish(&Publish::new("$queue/jobs", "x").qos(1));
    for width in [400, 1200] {
        let page = document_of(&format!("http://{admin}/"), width);
        assert!(page.contains("&lt;b&gt;client&lt;/b&gt;") && !page.contains(name), "{page}");
        assert!(page.contains("class=\"good\">ready<") && page.contains(">$queue/jobs<"), "{page}");
        assert!(
            page.contains("messages in /s") && page.contains("id=\"problem\" class=\"bad\" role=\"alert\" hidden"),
            "{page}"
        );
    }
    let (closed, folder) = (free_addr(), Folder::new());
    let token = folder.write("token", "0123456789abcdef");
    let _closed = Broker::start_with(&["--admin", &closed.to_string(), "--admin-token-file", &token]);
    let page = document_of(&format!("http://{closed}/"), 400);
    assert!(page.contains("the request has no token") && page.contains("<main hidden"), "{page}");
}
