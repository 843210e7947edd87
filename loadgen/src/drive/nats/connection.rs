//! A connection to a NATS server, until the run takes it over: greeting, subscription, and an answer to PING.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use wisp_client::{Error, TransportStream};
use wisp_net::{Event, Host, Poller, Registrar, Stream, SysStream, Token};

use crate::drive::deadline::{InterruptibleHost, InterruptiblePoller};
use crate::drive::nats::line::{Operation, PING, PONG, decode, one_line};
use crate::drive::opened::OpenedConnection;
use crate::drive::target::Credentials;

/// The largest message that may arrive before the run. Such messages are counted and dropped.
const EARLY_PAYLOAD_BYTES_MAX: usize = 64 * 1024 * 1024;
const RECV_BYTES: usize = 16 * 1024;
/// How much is received before it is looked at.
const UNSEEN_BYTES_MAX: usize = 1024 * 1024;

/// The parts of a server's INFO that matter here.
#[derive(Clone, PartialEq, Eq, Default, Deserialize, Debug)]
pub(crate) struct Info {
    /// The largest payload it takes, in bytes. 0 if it does not say.
    #[serde(default)]
    pub(crate) max_payload: u64,
    #[serde(default)]
    tls_required: bool,
}

/// The client's CONNECT.
#[derive(Serialize)]
struct Connect<'a> {
    /// Not to hear that each line was taken.
    verbose: bool,
    /// Subjects are not checked again and again.
    pedantic: bool,
    tls_required: bool,
    lang: &'static str,
    version: &'static str,
    name: &'static str,
    /// INFO may come at any time.
    protocol: u8,
    /// Messages come without headers, as MSG.
    headers: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pass: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_token: Option<&'a str>,
}

impl<'a> Connect<'a> {
    fn new(credentials: Credentials<'a>) -> Self {
        let (user, pass, auth_token) = match credentials {
            Credentials::None => (None, None, None),
            Credentials::Token(token) => (None, None, Some(token)),
            Credentials::User { name, password } => (Some(name), Some(password), None),
        };
        Self {
            verbose: false,
            pedantic: false,
            tls_required: false,
            lang: "rust",
            version: env!("CARGO_PKG_VERSION"),
            name: "wisp-loadgen",
            protocol: 1,
            headers: false,
            user,
            pass,
            auth_token,
        }
    }

    fn line(&self) -> String {
        format!("CONNECT {}\r\n", serde_json::to_string(self).expect("texts and numbers only"))
    }
}

/// A connection that is being prepared.
pub(crate) struct Connection {
    stream: SysStream,
    poller: InterruptiblePoller,
    timeout: Duration,
    /// Bytes received and not decoded yet.
    input: Vec<u8>,
    /// Bytes to send.
    output: Vec<u8>,
    /// The latest.
    info: Option<Info>,
    /// Messages that came already; nobody of the run can have sent them.
    strangers: u64,
}

/// The operation to wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Info,
    Pong,
}

impl Connection {
    /// Connects, and waits until the server has answered a PING. No wait is longer than `timeout`.
    ///
    /// # Errors
    /// [`Error::Connect`] if nothing answers, or nothing that speaks NATS; otherwise the server's reason for refusing
    /// this client.
    pub(crate) fn open(
        host: &InterruptibleHost,
        address: SocketAddr,
        credentials: Credentials<'_>,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let unreachable = |error: io::Error| Error::Connect { address, cause: error.into() };
        let poller = host.poller().map_err(unreachable)?;
        let mut stream = host.connect(address).map_err(unreachable)?;
        poller.registrar().add(&mut stream, Token(0)).map_err(unreachable)?;
        let (input, output) = (Vec::new(), Vec::new());
        let mut connection = Self { stream, poller, timeout, input, output, info: None, strangers: 0 };
        connection.wait_for(Wanted::Info, "for the server's INFO").map_err(|error| match error {
            // Not a word came back, so it is the address that the reader needs to know.
            Error::Transport(cause) => Error::Connect { address, cause },
            error => error,
        })?;
        if connection.info().tls_required {
            return Err(Error::Usage("the server wants TLS, which is not spoken here".to_owned()));
        }
        connection.output.extend_from_slice(Connect::new(credentials).line().as_bytes());
        connection.ping()?;
        // Without it a small message may wait for the acknowledgement of the one before, but everything works.
        let _ = connection.stream.set_nodelay();
        Ok(connection)
    }

    /// The server's INFO.
    pub(crate) fn info(&self) -> &Info {
        self.info.as_ref().expect("opening waits for it")
    }

    /// Subscribes to a subject or a wildcard, alone or as one of a group, each of whose messages one of them gets, and
    /// waits until the server has noted it.
    ///
    /// # Errors
    /// Why it has not.
    pub(crate) fn subscribe(&mut self, subject: &str, group: Option<&str>, sid: &str) -> Result<(), Error> {
        let group = group.map(|group| format!("{group} ")).unwrap_or_default();
        self.output.extend_from_slice(format!("SUB {subject} {group}{sid}\r\n").as_bytes());
        self.ping()
    }

    /// Gives the connection away, no longer registered with a poller.
    pub(crate) fn into_opened(self) -> OpenedConnection {
        // An error means that it was not registered any more.
        let _ = self.poller.registrar().remove(&self.stream);
        OpenedConnection {
            stream: TransportStream::plain(self.stream),
            bytes: self.input,
            unsent: Vec::new(),
            strangers: self.strangers,
            keep_alive: None,
        }
    }

    /// Sends the output and a PING, and waits for the answer.
    fn ping(&mut self) -> Result<(), Error> {
        self.output.extend_from_slice(PING);
        self.wait_for(Wanted::Pong, "for the server's answer to PING")
    }

    fn wait_for(&mut self, wanted: Wanted, waiting: &'static str) -> Result<(), Error> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let exchanged = self.exchange();
            // Received bytes are decoded first: they tell more than the end of the connection.
            if self.take(wanted)? {
                return Ok(());
            }
            let is_drained = exchanged?;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Timeout { waiting, waited: self.timeout });
            }
            if is_drained {
                let mut events: Vec<Event> = Vec::new();
                self.poller.wait(&mut events, Some(left)).map_err(|error| Error::Transport(error.into()))?;
            }
        }
    }

    /// Decodes the input up to the wanted operation. True if it was there.
    fn take(&mut self, wanted: Wanted) -> Result<bool, Error> {
        loop {
            let decoded = decode(&self.input, EARLY_PAYLOAD_BYTES_MAX).map_err(|error| protocol(&error.to_string()))?;
            let Some((operation, length)) = decoded else { return Ok(false) };
            let mut is_wanted = false;
            match operation {
                Operation::Info(json) => {
                    let info = serde_json::from_slice(json).map_err(|error| protocol(&format!("INFO: {error}")))?;
                    self.info = Some(info);
                    is_wanted = wanted == Wanted::Info;
                }
                Operation::Pong => is_wanted = wanted == Wanted::Pong,
                Operation::Message { .. } => self.strangers += 1,
                Operation::Ping => self.output.extend_from_slice(PONG),
                Operation::Error(why) => return Err(Error::Usage(format!("the server refused: {}", one_line(why)))),
                Operation::Ok => {}
            }
            self.input.drain(..length);
            if is_wanted {
                return Ok(true);
            }
        }
    }

    /// Sends as much as the socket accepts, and receives as much as it has. False if there may be more to receive
    /// without waiting.
    fn exchange(&mut self) -> Result<bool, Error> {
        while !self.output.is_empty() {
            match self.stream.send(&self.output) {
                Ok(sent) => drop(self.output.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(Error::Transport(error.into())),
            }
        }
        while self.input.len() < UNSEEN_BYTES_MAX {
            let begun = self.input.len();
            self.input.resize(begun + RECV_BYTES, 0);
            let received = self.stream.recv(&mut self.input[begun..]);
            self.input.truncate(begun + received.as_ref().copied().unwrap_or_default());
            match received {
                Ok(0) => return Err(Error::Closed { code: None, reason: None }),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(Error::Transport(error.into())),
            }
        }
        Ok(false)
    }
}

fn protocol(what: &str) -> Error {
    Error::Usage(format!("the server does not keep to NATS: {what}"))
}
