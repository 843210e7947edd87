//! HTTP/1.1 on a connection of the admin listener. The requests are answered here, and no byte of them reaches the engine.
//!
//! For the engine an HTTP connection is one whose CONNECT does not come. So `connect-timeout-ms` ends it, and the bounds on
//! connections without a CONNECT and on their bytes hold for it.

use std::fmt::Write;
use std::io;
use std::net::Shutdown;
use std::sync::Arc;

use httparse::{Error, Request, Status};
use wisp_engine::sync::{Mutex, rank};
use wisp_engine::{Order, Received};
use wisp_net::Stream;

use super::turn::Turn;
use crate::admin::{BODY_BYTES_MAX, Head, Page, Pages, PendingReply, Reply};

/// Longest head of a request.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Most bytes that are kept: a request, and one byte that shows that it is too long.
const REQUEST_BYTES_MAX: usize = HEAD_BYTES_MAX + BODY_BYTES_MAX + 1;

const HEADERS_MAX: usize = 64;

/// Most requests on one connection, so that none occupies a worker for long.
const REQUESTS_MAX: u32 = 100;

/// For a client that sends its body only after this.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A connection of the admin listener.
#[derive(Debug)]
pub(crate) struct Admin<S> {
    socket: S,
    pages: Arc<Pages>,
    state: Mutex<State, { rank::REQUESTS }>,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes of requests that are not answered yet.
    request: Vec<u8>,
    /// The client was told to send the body of the request at the front.
    has_continued: bool,
    /// The action whose result is the next answer, and whether that is the last one.
    action: Option<(PendingReply, bool)>,
    /// The answer, of which `sent` bytes are sent.
    answer: Vec<u8>,
    sent: usize,
    requests: u32,
    /// The answer is the last one.
    is_last: bool,
    /// The last answer was sent. Further bytes are discarded until the peer closes.
    is_shut: bool,
}

/// A request at the front that can be answered.
struct Complete {
    /// Its bytes.
    used: usize,
    reply: Reply,
    is_last: bool,
}

/// What to do about the request at the front.
enum Front {
    Answer(Complete),
    /// Its body is to come.
    Continue,
    Incomplete,
}

impl<S: Stream> Admin<S> {
    pub(crate) fn new(socket: S, pages: &Arc<Pages>) -> Self {
        Self { socket, pages: Arc::clone(pages), state: Mutex::default() }
    }

    pub(crate) fn stream(&self) -> &S {
        &self.socket
    }

    /// Receives once and answers. There are never bytes for the engine. Called when the socket is writable, too, and when an action
    /// is done.
    pub(crate) fn receive(&self, buffer: &mut [u8], turn: &mut Turn) -> Received {
        let mut state = self.state.lock();
        match self.socket.recv(buffer) {
            Ok(0) => return Received::Closed,
            Ok(count) => {
                // The host's buffer may have more, which no event announces.
                turn.again |= count == buffer.len();
                state.take(&buffer[..count]);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Received::Failed,
        }
        let advanced = state.advance(&self.socket, &self.pages, &mut turn.orders);
        turn.note.get_or_insert_default().held_bytes = state.request.len();
        if advanced.is_ok() { Received::WouldBlock } else { Received::Failed }
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }
}

impl State {
    fn take(&mut self, bytes: &[u8]) {
        if self.is_last {
            return;
        }
        let room = REQUEST_BYTES_MAX - self.request.len();
        self.request.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() > room {
            // A part is lost, so the request after the next answer could not be read.
            self.requests = REQUESTS_MAX - 1;
        }
    }

    /// Sends, and answers complete requests, until the socket is full, a request is incomplete or an action is under way.
    fn advance<S: Stream>(&mut self, socket: &S, pages: &Pages, orders: &mut Vec<Order>) -> io::Result<()> {
        loop {
            while self.sent < self.answer.len() {
                match socket.send(&self.answer[self.sent..]) {
                    Ok(count) => self.sent += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            (self.answer, self.sent) = (Vec::new(), 0);
            if self.is_last {
                if !self.is_shut {
                    self.is_shut = true;
                    // The peer may have closed already.
                    let _ = socket.shutdown(Shutdown::Write);
                }
                return Ok(());
            }
            if let Some((action, is_last)) = &self.action {
                let Some(page) = action.poll() else { return Ok(()) };
                (self.answer, self.is_last) = (encode(&page, *is_last), *is_last);
                self.action = None;
                continue;
            }
            if !self.answer_next(pages, orders) {
                return Ok(());
            }
        }
    }

    /// Answers the next request, or begins its action. False if it is incomplete.
    fn answer_next(&mut self, pages: &Pages, orders: &mut Vec<Order>) -> bool {
        let Complete { used, reply, is_last } = match self.front(pages) {
            Front::Incomplete => return false,
            Front::Continue => {
                (self.has_continued, self.answer) = (true, CONTINUE.to_vec());
                return true;
            }
            Front::Answer(complete) => complete,
        };
        self.requests += 1;
        self.has_continued = false;
        let is_last = is_last || self.requests >= REQUESTS_MAX;
        if is_last {
            self.request = Vec::new();
        } else {
            self.request.drain(..used);
        }
        match reply {
            Reply::Page(page) => (self.answer, self.is_last) = (encode(&page, is_last), is_last),
            Reply::Action(order, action) => {
                orders.push(order);
                self.action = Some((action, is_last));
            }
        }
        true
    }

    /// Looks at the request at the front.
    fn front(&self, pages: &Pages) -> Front {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = Request::new(&mut headers);
        let head_bytes = match request.parse(&self.request) {
            Ok(Status::Complete(bytes)) if bytes <= HEAD_BYTES_MAX => bytes,
            Ok(Status::Partial) if self.request.len() <= HEAD_BYTES_MAX => return Front::Incomplete,
            Ok(_) | Err(Error::TooManyHeaders) => return refused("431 Request Header Fields Too Large"),
            Err(_) => return refused("400 Bad Request"),
        };
        let head = Head::of(&request);
        let body_bytes = match pages.admit(&head) {
            Ok(bytes) => bytes,
            Err(page) => {
                let (reply, is_last) = (Reply::Page(page), head.is_last() || head.has_body());
                return Front::Answer(Complete { used: head_bytes, reply, is_last });
            }
        };
        let used = head_bytes + body_bytes;
        let Some(body) = self.request.get(head_bytes..used) else {
            let waits = head.waits_for_continue() && !self.has_continued;
            return if waits { Front::Continue } else { Front::Incomplete };
        };
        // Another body is not read.
        let is_last = head.is_last() || head.has_body() && body_bytes == 0;
        Front::Answer(Complete { used, reply: pages.answer(&head, body), is_last })
    }
}

/// A request that cannot be read ends the connection.
fn refused(status: &'static str) -> Front {
    Front::Answer(Complete { used: 0, reply: Reply::Page(Page::line(status, status)), is_last: true })
}

fn encode(page: &Page, is_last: bool) -> Vec<u8> {
    let Page { status, content_type, headers, body } = page;
    let close = if is_last { "Connection: close\r\n" } else { "" };
    let mut answer = String::with_capacity(body.len() + 256);
    write!(
        answer,
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         {headers}{close}\r\n{body}",
        body.len()
    )
    .expect("a string takes all that is written");
    answer.into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wisp_engine::{Limits, Shared};

    use super::*;
    use crate::admin::Guard;

    const TOKEN: &str = "0123456789abcdef";

    /// A socket that takes `room` bytes more.
    struct Socket(Mutex<Taken, { rank::LEAF }>);

    struct Taken {
        room: usize,
        sent: Vec<u8>,
        is_shut: bool,
    }

    impl Stream for Socket {
        fn recv(&self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }

        fn send(&self, bytes: &[u8]) -> io::Result<usize> {
            let mut taken = self.0.lock();
            let count = bytes.len().min(taken.room);
            taken.room -= count;
            taken.sent.extend_from_slice(&bytes[..count]);
            if count == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
        }

        fn shutdown(&self, _: Shutdown) -> io::Result<()> {
            self.0.lock().is_shut = true;
            Ok(())
        }

        fn set_nodelay(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn socket(room: usize) -> Socket {
        Socket(Mutex::new(Taken { room, sent: Vec::new(), is_shut: false }))
    }

    fn pages() -> Pages {
        let guard = Guard::new(([127, 0, 0, 1], 9090).into(), Some(TOKEN.into()));
        Pages::new(&Arc::new(Shared::new(Limits::DEFAULT, 1)), Box::new(|| None), guard)
    }

    /// The answers to pieces that arrive one after the other, and whether the connection ends.
    fn answers(pieces: &[&[u8]]) -> (String, bool) {
        let (socket, mut state) = (socket(usize::MAX), State::default());
        for piece in pieces {
            state.take(piece);
            state.advance(&socket, &pages(), &mut Vec::new()).unwrap();
            assert!(state.request.len() <= REQUEST_BYTES_MAX);
        }
        let mut taken = socket.0.lock();
        (String::from_utf8(std::mem::take(&mut taken.sent)).unwrap(), taken.is_shut)
    }

    fn statuses(sent: &str) -> Vec<&str> {
        sent.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")).map(|status| &status[..3]).collect()
    }

    #[test]
    fn a_request_in_any_pieces_is_answered_and_the_connection_stays() {
        let request = b"GET /healthz?x=1 HTTP/1.1\r\nHost: a\r\n\r\n";
        let expected = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\n\
            Cache-Control: no-store\r\n\r\nok\n";
        for at in 1..request.len() {
            let (first, second) = request.split_at(at);
            assert_eq!(answers(&[first, second]), (expected.to_owned(), false));
        }
        let two = [&request[..], request].concat();
        assert_eq!(answers(&[&two]), (expected.repeat(2), false));
    }

    #[test]
    fn other_requests_are_refused() {
        let get = |rest: &str| format!("GET /healthz HTTP/1.1\r\n{rest}\r\n").into_bytes();
        let many = "A: b\r\n".repeat(HEADERS_MAX + 1);
        let cases: [(&[u8], &str, bool); 11] = [
            (b"GET /nothing HTTP/1.1\r\n\r\n", "404", false),
            (b"POST /metrics HTTP/1.1\r\n\r\n", "405", false),
            (b"HEAD /metrics HTTP/1.1\r\n\r\n", "405", false),
            (b"GET /healthz HTTP/1.0\r\n\r\n", "200", true),
            (b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c", "400", true),
            (b"GET http:// \r\n\r\n", "400", true),
            (&get("connection: x, CLOSE\r\n"), "200", true),
            (&get("Content-Length: 3\r\n"), "200", true),
            (&get("Content-Length: 0\r\n"), "200", false),
            (&get("Transfer-Encoding: chunked\r\n"), "200", true),
            (&get(&many), "431", true),
        ];
        for (request, status, ends) in cases {
            let (sent, has_ended) = answers(&[request]);
            assert_eq!((statuses(&sent), has_ended), (vec![status], ends), "{}", String::from_utf8_lossy(request));
            assert_eq!(sent.contains("\r\nConnection: close\r\n"), ends);
            assert_eq!(sent.contains("\r\nAllow: GET\r\n"), status == "405");
        }
    }

    #[test]
    fn a_request_without_end_is_refused_and_takes_bounded_memory() {
        let piece = [b'a'; 1000];
        let pieces: Vec<&[u8]> = [&b"GET /"[..]].into_iter().chain([&piece[..]; 20]).collect();
        let (sent, has_ended) = answers(&pieces);
        assert_eq!((statuses(&sent), has_ended), (vec!["431"], true));
        let (sent, has_ended) = answers(&[&pieces.concat()]);
        assert_eq!((statuses(&sent), has_ended), (vec!["431"], true));
    }

    #[test]
    fn a_connection_has_a_bounded_number_of_requests() {
        let request = b"GET /readyz HTTP/1.1\r\n\r\n";
        let (sent, has_ended) = answers(&vec![&request[..]; 150]);
        assert_eq!((statuses(&sent).len(), has_ended), (REQUESTS_MAX as usize, true));
        assert_eq!(sent.matches("Connection: close").count(), 1);
        // More requests at once than the buffer keeps: the connection ends, since the rest of them is lost.
        let (sent, has_ended) = answers(&[&request.repeat(6000)]);
        assert_eq!((statuses(&sent).len(), has_ended), (1, true));
    }

    #[test]
    fn a_full_socket_gets_the_rest_of_the_answer_later() {
        let (socket, pages) = (socket(0), pages());
        let mut state = State::default();
        state.take(b"GET /metrics HTTP/1.1\r\n\r\nGET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n");
        while !socket.0.lock().is_shut {
            state.advance(&socket, &pages, &mut Vec::new()).unwrap();
            socket.0.lock().room = 100;
        }
        let sent = String::from_utf8(std::mem::take(&mut socket.0.lock().sent)).unwrap();
        assert_eq!(statuses(&sent), ["200", "200"]);
        assert!(sent.contains("wisp_sessions 0\n") && sent.ends_with("\r\n\r\nok\n"), "{sent}");
        state.take(b"more");
        assert!(
            state.advance(&socket, &pages, &mut Vec::new()).is_ok()
                && state.request.is_empty()
                && socket.0.lock().sent.is_empty()
        );
    }

    /// The orders of requests that arrive in pieces, and the answers, when no action is done.
    fn orders(pieces: &[&[u8]]) -> (usize, String) {
        let (socket, mut state, mut orders) = (socket(usize::MAX), State::default(), Vec::new());
        let pages = pages();
        for piece in pieces {
            state.take(piece);
            state.advance(&socket, &pages, &mut orders).unwrap();
        }
        (orders.len(), String::from_utf8(std::mem::take(&mut socket.0.lock().sent)).unwrap())
    }

    fn publish(headers: &str, body: &str) -> Vec<u8> {
        let head = format!("POST /api/v1/publish HTTP/1.1\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
        [head.as_bytes(), body.as_bytes()].concat()
    }

    fn authorized() -> String {
        format!("Authorization: Bearer {TOKEN}\r\n")
    }

    #[test]
    fn an_action_in_any_pieces_is_ordered_once_and_holds_later_requests() {
        let request = publish(&authorized(), "{\"topic\":\"t\"}");
        for at in 1..request.len() {
            let (first, second) = request.split_at(at);
            assert_eq!(orders(&[first, second]), (1, String::new()), "{at}");
        }
        let more = [&request[..], &request, b"GET /healthz HTTP/1.1\r\n\r\n"].concat();
        assert_eq!(orders(&[&more]), (1, String::new()));
        // The worker that had the order is gone, so the action will not be done.
        let (sent, _) = answers(&[&request, b"GET /healthz HTTP/1.1\r\n\r\n"]);
        assert_eq!(statuses(&sent), ["503", "200"]);
    }

    #[test]
    fn a_body_is_awaited_only_if_it_is_wanted() {
        let wanted = publish(&format!("{}Expect: 100-continue\r\n", authorized()), "{\"topic\":\"t\"}");
        let head = wanted.len() - 13;
        assert_eq!(orders(&[&wanted[..head]]), (0, "HTTP/1.1 100 Continue\r\n\r\n".to_owned()));
        assert_eq!(orders(&[&wanted[..head], &wanted[head..]]).0, 1);
        let long = "x".repeat(BODY_BYTES_MAX + 1);
        for (request, code) in [
            (publish("Expect: 100-continue\r\n", "{\"topic\":\"t\"}"), "401"),
            (publish(&authorized(), &long), "413"),
            (publish(&authorized(), "{\"topic\":1}"), "400"),
            (publish(&format!("{}Content-Length: 1\r\n", authorized()), "{}"), "400"),
            (publish(&format!("{}Transfer-Encoding: chunked\r\n", authorized()), "{}"), "411"),
        ] {
            let (sent, _) = answers(&[&request]);
            assert_eq!(statuses(&sent), [code], "{sent}");
        }
        assert_eq!(orders(&[&publish(&authorized(), &format!("{{\"topic\":\"{}\"}}", &long[40..]))]).0, 1);
    }

    /// Parts of requests, right and wrong.
    fn fragment() -> impl Strategy<Value = Vec<u8>> {
        const PARTS: [&[u8]; 24] = [
            b"GET ",
            b"POST ",
            b"DELETE ",
            b"/",
            b"/api/v1/",
            b"clients",
            b"queues",
            b"retained",
            b"publish",
            b"/purge",
            b"%41",
            b"%ff",
            b"?topic=",
            b"limit=1",
            b"&after=",
            b" HTTP/1.1\r\n",
            b" HTTP/1.0\r\n",
            b"\r\n",
            b"Content-Length: 13\r\n",
            b"Authorization: Bearer 0123456789abcdef\r\n",
            b"Expect: 100-continue\r\n",
            b"Connection: close\r\n",
            b"{\"topic\":\"t\"}",
            b"Transfer-Encoding: chunked\r\n",
        ];
        prop_oneof![
            8 => prop::sample::select(PARTS.to_vec()).prop_map(<[u8]>::to_vec),
            1 => prop::collection::vec(any::<u8>(), 0..40),
            1 => (0..9_000_usize).prop_map(|count| vec![b'a'; count]),
        ]
    }

    proptest! {
        #[test]
        fn any_bytes_take_bounded_memory_and_get_whole_answers(pieces in prop::collection::vec(fragment(), 1..60)) {
            let (socket, mut state, pages) = (socket(usize::MAX), State::default(), pages());
            for piece in &pieces {
                state.take(piece);
                prop_assert!(state.advance(&socket, &pages, &mut Vec::new()).is_ok());
                prop_assert!(state.request.len() <= REQUEST_BYTES_MAX && state.answer.is_empty());
            }
            let sent = std::mem::take(&mut socket.0.lock().sent);
            prop_assert!(sent.is_empty() || sent.starts_with(b"HTTP/1.1 "));
        }
    }
}
