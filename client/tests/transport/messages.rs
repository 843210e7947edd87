//! Messages of all sizes over each transport.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use wisp_client::{Client, ConnectOptions, ProtocolVersion, PublishOptions, QoS, ServerUrl, TlsOptions};

use crate::certificates::{Ca, server_of};
use crate::server::{Layers, serve};

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn connect(scheme: &str, address: SocketAddr, tls: &TlsOptions) -> Result<Client, wisp_client::Error> {
    let url: ServerUrl = format!("{scheme}://{address}").parse().unwrap();
    let mut options = ConnectOptions::new(ProtocolVersion::Mqtt5).over(&url, tls)?;
    options.connect_timeout = PATIENCE;
    Client::connect_to(&url, options)
}

fn payload(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|index| (index.wrapping_mul(31) ^ seed) as u8).collect()
}

/// Publishes messages of all sizes, many at a time, and compares the ones that come back.
fn exchange(client: &mut Client) {
    let sizes = [0, 1, 100, 117, 118, 125, 126, 1000, 16_384, 65_535, 65_536, 300_000, 3_000_000];
    client.subscribe(&["#"]).unwrap();
    for (seed, size) in sizes.into_iter().enumerate() {
        client.publish("topic", &payload(size, seed), false).unwrap();
    }
    let code = client.publish_with("topic", b"acknowledged", PublishOptions::new(QoS::AtLeastOnce)).unwrap();
    assert!(!code.is_error());
    for (seed, size) in sizes.into_iter().enumerate() {
        let message = client.recv(PATIENCE).unwrap().expect("a message comes back");
        assert!(message.payload == payload(size, seed), "{size} bytes, {} came", message.payload.len());
    }
    assert_eq!(client.recv(PATIENCE).unwrap().unwrap().payload, b"acknowledged");
    assert_eq!(client.recv(Duration::from_millis(1)).unwrap(), None);
}

#[test]
fn messages_of_all_sizes_come_back_over_every_transport() {
    let ca = Ca::new();
    for (scheme, tls, websocket) in
        [("mqtt", false, false), ("mqtts", true, false), ("ws", false, true), ("wss", true, true)]
    {
        let layers = Layers { tls: tls.then(|| ca.server()), websocket };
        let (address, thread) = serve(layers, 1);
        let options = if tls { ca.options() } else { TlsOptions::default() };
        let mut client = connect(scheme, address, &options).unwrap_or_else(|error| panic!("{scheme}: {error}"));
        exchange(&mut client);
        client.disconnect().unwrap();
        assert_eq!(thread.join().unwrap().remove(0).unwrap(), 14, "{scheme}");
    }
}

#[test]
fn tls_1_2_and_1_3_are_spoken_and_an_insecure_client_needs_no_ca() {
    let ca = Ca::new();
    for version in rustls::ALL_VERSIONS {
        let config = server_of(ca.identity(&["elsewhere"], |_| {}), &[version]);
        let (address, thread) = serve(Layers { tls: Some(config), websocket: false }, 1);
        let mut options = TlsOptions::default();
        options.insecure = true;
        let mut client = connect("mqtts", address, &options).unwrap();
        exchange(&mut client);
        client.disconnect().unwrap();
        assert_eq!(thread.join().unwrap().remove(0).unwrap(), 14);
    }
}

#[test]
fn a_client_with_a_certificate_is_let_in() {
    let ca = Ca::new();
    let (address, thread) = serve(Layers { tls: Some(ca.strict_server()), websocket: false }, 1);
    let client = connect("mqtts", address, &ca.client("client")).unwrap();
    client.disconnect().unwrap();
    assert_eq!(thread.join().unwrap().remove(0).unwrap(), 0);
}

/// Connections that share a transport resume the session of the first.
#[test]
fn sessions_are_resumed() {
    let ca = Ca::new();
    let (address, thread) = serve(Layers { tls: Some(ca.server()), websocket: true }, 3);
    let url: ServerUrl = format!("wss://{address}").parse().unwrap();
    let options = ConnectOptions::new(ProtocolVersion::Mqtt5).over(&url, &ca.options()).unwrap();
    let resumed = [(); 3].map(|()| {
        let mut client = Client::connect_to(&url, options.clone()).unwrap();
        // The ticket comes with the first bytes of the server.
        client.subscribe(&["#"]).unwrap();
        let is_resumed = client.tls_session().expect("there is TLS").is_resumed;
        client.disconnect().unwrap();
        is_resumed
    });
    assert_eq!(resumed, [false, true, true]);
    assert!(thread.join().unwrap().iter().all(Result::is_ok));
}

/// A server that accepts the connection and says nothing.
#[test]
fn a_silent_server_is_given_up_in_time() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for scheme in ["mqtts", "ws", "wss"] {
        let url: ServerUrl = format!("{scheme}://{}", silent.local_addr().unwrap()).parse().unwrap();
        let mut tls = TlsOptions::default();
        tls.insecure = url.is_secure();
        let mut options = ConnectOptions::new(ProtocolVersion::Mqtt5).over(&url, &tls).unwrap();
        options.connect_timeout = Duration::from_millis(200);
        let begun = Instant::now();
        let error = Client::connect_to(&url, options).err().expect("nobody answers").to_string();
        assert!(error.contains("handshake"), "{error}");
        assert!(begun.elapsed() >= Duration::from_millis(200) && begun.elapsed() < PATIENCE);
    }
}
