//! `wisp sub`: prints each received message on standard output, one per line.

use std::io::{self, BufWriter, StdoutLock, Write};
use std::thread;
use std::time::{Duration, Instant};

use wisp_client::{Client, Message, SubscriptionOptions};

use crate::args::Subscribe;
use crate::connect::Connector;
use crate::failure::Failure;

/// The pause before the first new connection, and the longest one.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

pub(crate) fn run(options: &Subscribe) -> Result<(), Failure> {
    let mut connector = Connector::new(&options.server)?;
    let mut printer = Printer::new(options);
    let (mut pauses, mut was_connected) = (Pauses::default(), false);
    loop {
        let mut has_subscribed = false;
        let ended = connector.connect().and_then(|mut client| {
            if !was_connected || !client.session_present() {
                subscribe(&mut client, &connector, options)?;
            }
            has_subscribed = true;
            printer.print_all(&mut client)?;
            client.disconnect()?;
            Ok(())
        });
        if has_subscribed {
            (was_connected, pauses) = (true, Pauses::default());
            connector.resume_from_now_on();
        }
        let failure = match ended {
            Err(failure) if options.reconnect && failure.is_transient(was_connected) => failure,
            ended => return ended,
        };
        let pause = pauses.next().min(printer.time_left());
        eprintln!("wisp: {failure}; connecting again in {:.1} s", pause.as_secs_f64());
        thread::sleep(pause);
        printer.check_time()?;
    }
}

fn subscribe(client: &mut Client, connector: &Connector, options: &Subscribe) -> Result<(), Failure> {
    let how = SubscriptionOptions {
        qos: options.qos,
        no_local: options.no_local,
        retain_as_published: options.retain_as_published,
        retain_handling: options.retain_handling,
    };
    let filters: Vec<_> = options.topics.iter().map(|topic| (topic.as_str(), how)).collect();
    let codes = client.subscribe_with(&filters, options.subscription_id)?;
    for ((filter, _), code) in filters.iter().zip(codes) {
        if code.is_error() {
            return Err(Failure::Refused(format!("the broker refused the subscription to {filter:?}: {code}")));
        }
        connector.tell(|| format!("subscribed to {filter:?}: {code}"));
    }
    Ok(())
}

/// The output of all connections.
struct Printer<'a> {
    options: &'a Subscribe,
    output: BufWriter<StdoutLock<'static>>,
    /// The number of messages to print before the end.
    left: u64,
    deadline: Option<Instant>,
}

impl<'a> Printer<'a> {
    fn new(options: &'a Subscribe) -> Self {
        Self {
            options,
            output: BufWriter::with_capacity(64 * 1024, io::stdout().lock()),
            left: options.count.unwrap_or(u64::MAX),
            deadline: options.timeout_s.and_then(|timeout| Instant::now().checked_add(timeout)),
        }
    }

    /// Prints messages until there were enough, or the time is over.
    fn print_all(&mut self, client: &mut Client) -> Result<(), Failure> {
        let ended = self.print_until_end(client);
        let flushed = self.output.flush().map_err(|error| Failure::of_output(&error));
        ended.and(flushed)
    }

    fn print_until_end(&mut self, client: &mut Client) -> Result<(), Failure> {
        while self.left > 0 {
            // Lines stay in the buffer only while further messages are there already.
            let message = match client.recv(Duration::ZERO)? {
                Some(message) => message,
                None => {
                    self.output.flush().map_err(|error| Failure::of_output(&error))?;
                    self.check_time()?;
                    let Some(message) = client.recv(self.time_left())? else { continue };
                    message
                }
            };
            if message.retain && self.options.no_retained {
                continue;
            }
            print(&mut self.output, &message, self.options).map_err(|error| Failure::of_output(&error))?;
            self.left -= 1;
        }
        Ok(())
    }

    fn time_left(&self) -> Duration {
        self.deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()))
    }

    fn check_time(&self) -> Result<(), Failure> {
        if self.time_left().is_zero() { Err(Failure::TimedOut) } else { Ok(()) }
    }
}

fn print(output: &mut impl Write, message: &Message, options: &Subscribe) -> io::Result<()> {
    if options.verbose > 1 {
        write!(output, "[qos {}", message.qos as u8)?;
        if message.dup {
            output.write_all(b", again")?;
        }
        if message.retain {
            output.write_all(b", retained")?;
        }
        for id in &message.subscription_ids {
            write!(output, ", id {id}")?;
        }
        output.write_all(b"] ")?;
    }
    if options.verbose > 0 {
        write!(output, "{} ", message.topic)?;
    }
    output.write_all(&message.payload)?;
    if options.no_eol { Ok(()) } else { output.write_all(b"\n") }
}

/// The pauses before new connections: each about twice as long as the one before. A part of each is random, so that the
/// clients of a broker that restarts do not come all at once.
struct Pauses {
    longest: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { longest: PAUSE_MIN }
    }
}

impl Pauses {
    fn next(&mut self) -> Duration {
        let pause = self.longest.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.longest = (self.longest * 2).min(PAUSE_MAX);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute_and_differ() {
        let pauses = || {
            let mut pauses = Pauses::default();
            [(); 12].map(|()| pauses.next())
        };
        let (one, other) = (pauses(), pauses());
        assert_ne!(one, other);
        for (index, pause) in one.into_iter().enumerate() {
            let longest = PAUSE_MIN.saturating_mul(1 << index).min(PAUSE_MAX);
            assert!(pause >= longest / 2 && pause <= longest, "{index}: {pause:?}");
        }
    }
}
