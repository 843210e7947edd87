//! A NATS server with a thread per connection. It forwards by subject, wildcard and group, and does on purpose anything
//! that servers do to clients, right or wrong.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// How long a client has for an answer: long enough for any machine.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A behaviour, counted over all messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Manner {
    Plain,
    /// Before every n-th message it pings the sender and the receivers, sends its INFO and says +OK. A receiver gets no
    /// more before it has answered, and a sender no PONG itself.
    Talkative(u64),
    /// Writes each message as one that may be answered.
    WithReplies,
    /// Forgets every so manieth message.
    Drop(u64),
    /// Changes a byte of every so manieth payload.
    Corrupt(u64),
    /// Disconnects the receivers of the n-th message, without a message.
    Cut(u64),
    /// As `Cut`, with a word.
    Complain(u64),
    /// Says something that is not NATS instead of the so manieth message.
    Babble(u64),
    /// Wants `me` with the password `p w`.
    Private,
    /// Wants the token `s3cr3t`.
    WithToken,
    /// Lets nobody subscribe.
    NoSubscriptions,
    /// Announces and takes payloads of this many bytes at most.
    Narrow(u64),
    /// Wants TLS.
    Encrypted,
    /// Greets as no NATS server does.
    Stranger,
    /// Closes every connection at once.
    Closed,
    /// Says nothing.
    Silent,
}

/// Listens, and serves as long as the process lives.
pub(crate) fn start(manner: Manner) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = Arc::new(Server { manner, counted: AtomicU64::new(0), subscriptions: Mutex::default() });
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, server) = (stream.unwrap(), Arc::clone(&server));
            thread::spawn(move || {
                let client = Arc::new(Client::new(stream.try_clone().unwrap()));
                // A client that has gone has gone.
                let _ = server.serve(&client, &mut BufReader::with_capacity(1 << 16, &stream));
                server.forget(&client);
                let _ = stream.shutdown(Shutdown::Both);
            });
        }
    });
    address
}

struct Server {
    manner: Manner,
    counted: AtomicU64,
    subscriptions: Mutex<Subscriptions>,
}

#[derive(Default)]
struct Subscriptions {
    all: Vec<Subscription>,
    /// The next member of a group, by the group's name and its subscription.
    turns: HashMap<(String, String), usize>,
}

#[derive(Clone)]
struct Subscription {
    filter: String,
    group: Option<String>,
    sid: String,
    client: Arc<Client>,
}

/// A connection, to which whole lines with their payloads are written.
struct Client {
    stream: Mutex<TcpStream>,
    talk: Mutex<Talk>,
    has_answered: Condvar,
}

#[derive(Default)]
struct Talk {
    /// Questions that it has not answered.
    owed: u64,
    /// Its own, which wait for that.
    held: u64,
}

impl Client {
    fn new(stream: TcpStream) -> Self {
        Self { stream: Mutex::new(stream), talk: Mutex::default(), has_answered: Condvar::new() }
    }

    fn ask(&self, info: &str) -> Option<()> {
        self.talk.lock().unwrap().owed += 1;
        self.say(format!("{info}PING\r\n+OK\r\n").as_bytes())
    }

    /// Waits until it has answered, and cuts it if it does not.
    fn await_answer(&self) {
        let talk = self.talk.lock().unwrap();
        let (talk, late) = self.has_answered.wait_timeout_while(talk, ANSWER_TIMEOUT, |talk| talk.owed > 0).unwrap();
        drop(talk);
        if late.timed_out() {
            self.cut();
        }
    }

    fn answered(&self) -> Option<()> {
        let mut talk = self.talk.lock().unwrap();
        talk.owed = talk.owed.checked_sub(1).expect("an answer to a question");
        self.has_answered.notify_all();
        if talk.owed == 0 { self.say(&b"PONG\r\n".repeat(std::mem::take(&mut talk.held) as usize)) } else { Some(()) }
    }

    fn asked(&self) -> Option<()> {
        let mut talk = self.talk.lock().unwrap();
        if talk.owed == 0 {
            return self.say(b"PONG\r\n");
        }
        talk.held += 1;
        Some(())
    }

    fn say(&self, bytes: &[u8]) -> Option<()> {
        self.stream.lock().unwrap().write_all(bytes).ok()
    }

    fn cut(&self) {
        let _ = self.stream.lock().unwrap().shutdown(Shutdown::Both);
    }
}

fn has(filter: &str, subject: &str) -> bool {
    let (mut filter, mut subject) = (filter.split('.'), subject.split('.'));
    loop {
        match (filter.next(), subject.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) => return true,
            (Some(wanted), Some(token)) if wanted == "*" || wanted == token => {}
            _ => return false,
        }
    }
}

impl Server {
    fn info(&self) -> String {
        let max_payload = if let Manner::Narrow(bytes) = self.manner { bytes } else { 1 << 20 };
        let tls_required = self.manner == Manner::Encrypted;
        format!(
            "INFO {{\"server_id\":\"fake\",\"version\":\"9.9.9\",\"headers\":true,\"max_payload\":{max_payload},\
             \"tls_required\":{tls_required}}} \r\n"
        )
    }

    /// Serves until the end, which is None.
    fn serve(&self, client: &Arc<Client>, input: &mut impl BufRead) -> Option<()> {
        match self.manner {
            Manner::Closed => return None,
            Manner::Silent => {}
            Manner::Stranger => client.say(b"220 mail.example.org ESMTP\r\n")?,
            _ => client.say(self.info().as_bytes())?,
        }
        loop {
            let mut line = String::new();
            input.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
            let words: Vec<_> = line.split_ascii_whitespace().collect();
            match words[..] {
                ["CONNECT", ..] => self.connect(&line["CONNECT ".len()..], client)?,
                ["PING"] => client.asked()?,
                ["PONG"] => client.answered()?,
                ["SUB", filter, sid] => self.subscribe(filter, None, sid, client)?,
                ["SUB", filter, group, sid] => self.subscribe(filter, Some(group), sid, client)?,
                ["PUB", subject, size] => {
                    let mut payload = vec![0; size.parse::<usize>().ok()? + 2];
                    input.read_exact(&mut payload).ok()?;
                    assert!(payload.ends_with(b"\r\n"), "a payload is as long as its line says");
                    self.publish(subject, &payload, client)?;
                }
                _ => return client.say(b"-ERR 'Unknown Protocol Operation'\r\n").and(None),
            }
        }
    }

    fn connect(&self, json: &str, client: &Client) -> Option<()> {
        let connect: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!((&connect["verbose"], &connect["headers"]), (&false.into(), &false.into()));
        let is_welcome = match self.manner {
            Manner::Private => connect["user"] == "me" && connect["pass"] == "p w",
            Manner::WithToken => connect["auth_token"] == "s3cr3t",
            _ => connect.get("user").is_none() && connect.get("auth_token").is_none(),
        };
        if is_welcome { Some(()) } else { client.say(b"-ERR 'Authorization Violation'\r\n").and(None) }
    }

    fn subscribe(&self, filter: &str, group: Option<&str>, sid: &str, client: &Arc<Client>) -> Option<()> {
        if self.manner == Manner::NoSubscriptions {
            return client.say(b"-ERR 'Permissions Violation for Subscription to \"x\"'\r\n");
        }
        let (filter, group, sid) = (filter.to_owned(), group.map(str::to_owned), sid.to_owned());
        let subscription = Subscription { filter, group, sid, client: Arc::clone(client) };
        self.subscriptions.lock().unwrap().all.push(subscription);
        Some(())
    }

    fn forget(&self, client: &Arc<Client>) {
        self.subscriptions.lock().unwrap().all.retain(|one| !Arc::ptr_eq(&one.client, client));
    }

    /// The receivers of a message: each subscription without a group, and one of each group.
    fn receivers(&self, subject: &str) -> Vec<Subscription> {
        let Subscriptions { all, turns } = &mut *self.subscriptions.lock().unwrap();
        let mut groups: HashMap<(String, String), Vec<&Subscription>> = HashMap::new();
        let mut receivers = Vec::new();
        for one in all.iter().filter(|one| has(&one.filter, subject)) {
            match &one.group {
                None => receivers.push(one.clone()),
                Some(group) => groups.entry((group.clone(), one.filter.clone())).or_default().push(one),
            }
        }
        for (group, members) in groups {
            let turn = turns.entry(group).or_default();
            *turn += 1;
            receivers.push(members[*turn % members.len()].clone());
        }
        receivers
    }

    fn publish(&self, subject: &str, payload: &[u8], sender: &Client) -> Option<()> {
        let number = self.counted.fetch_add(1, Ordering::Relaxed) + 1;
        let mut payload = payload.to_vec();
        match self.manner {
            Manner::Drop(every) if number.is_multiple_of(every) => return Some(()),
            Manner::Talkative(every) if number.is_multiple_of(every) => sender.ask(&self.info())?,
            Manner::Corrupt(every) if number.is_multiple_of(every) => payload[number as usize % 16] ^= 1,
            _ => {}
        }
        for Subscription { sid, client, .. } in self.receivers(subject) {
            let reply = if self.manner == Manner::WithReplies { "_INBOX.1 " } else { "" };
            let head = format!("MSG {subject} {sid} {reply}{}\r\n", payload.len() - 2);
            let whole = [head.as_bytes(), &payload].concat();
            match self.manner {
                Manner::Cut(at) if number == at => client.cut(),
                Manner::Complain(at) if number == at => {
                    client.say(b"-ERR 'Slow Consumer'\r\n");
                    client.cut();
                }
                Manner::Babble(at) if number == at => drop(client.say(b"HELLO there\r\n")),
                Manner::Talkative(every) if number.is_multiple_of(every) => {
                    client.ask(&self.info());
                    client.await_answer();
                    client.say(&whole);
                }
                // A receiver that has gone is its own affair.
                _ => drop(client.say(&whole)),
            }
        }
        Some(())
    }
}
