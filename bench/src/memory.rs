//! The cost of clients in the native broker's memory: idle connected clients, and sessions whose clients are away.
//!
//! ```text
//!   broker 1:  nothing ---> all connected ---> all gone ---> all connected again
//!   broker 2:  nothing ---> all connected, each with a subscription ---> all away, their sessions kept
//!   broker 3:  nothing ---> all away, each having come and gone before the next came
//! ```
//!
//! An allocator does not return all freed memory to the system. The cost of sessions is therefore taken from the third
//! broker, which never had more than one connection; the second shows the memory left by connections that have gone.

use std::fmt::Write;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use wisp_lab::versions::Facts;
use wisp_report::time;

use serde::Serialize;

use crate::PROGRAM;
use crate::args::{Against, CLIENTS, Memory};
use crate::compare::paired::Verdict;
use crate::compare::table::{self, Line};
use crate::idle::IdleClient;
use crate::resident::Resident;
use crate::results;
use wisp_lab::broker::{Broker, Build, Running, StartOptions};
use wisp_lab::failure::{Failure, Interrupt};
use wisp_lab::machine;
use wisp_lab::paths::{self, Scratch};
use wisp_loadgen::{DESCRIPTORS_EXTRA, allow_descriptors};
use wisp_report::table::{Table, thousands};

/// Bytes for each idle connected client, less than.
const CONNECTED_BYTES_GOAL: u64 = 4096;
/// Bytes for each session whose client is away, less than.
const AWAY_BYTES_GOAL: u64 = 1024;
/// How long sessions stay.
const SESSION_EXPIRY_S: u32 = 3600;
/// A local port is needed for each connection to one address, and there are some 28,000.
const CLIENTS_PER_ADDRESS: u32 = 20_000;
/// The number of sessions that are checked for being there.
const SESSIONS_CHECKED: u32 = 100;

/// A state of a broker, as compared to that before any client had come.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Measured {
    /// The state of the clients.
    pub what: &'static str,
    /// How many they are.
    pub clients: u32,
    /// The broker's workers.
    pub workers: usize,
    /// Without them.
    pub before: Resident,
    /// With them.
    pub after: Resident,
    /// How much resident memory has grown, for each.
    pub bytes_each: u64,
    /// Less than this is wanted.
    pub goal_bytes: Option<u64>,
}

impl Measured {
    fn is_reached(&self) -> Option<bool> {
        self.goal_bytes.map(|goal| self.bytes_each < goal)
    }
}

/// Measures memory.
///
/// # Errors
/// If something is missing, or the broker loses sessions; a missed goal is no error.
pub fn run(options: &Memory) -> Result<(), Failure> {
    let system = |error: io::Error| Failure::Setup(format!("cannot prepare the run: {error}"));
    let interrupt = Interrupt::on_signals(PROGRAM).map_err(system)?;
    let clients = options.clients.get();
    let workers = options.workers.map_or(machine::processors(), Into::into);
    allow_descriptors(u64::from(clients) + DESCRIPTORS_EXTRA).map_err(|error| Failure::Setup(error.to_string()))?;
    let run = Run { clients, workers, build: Build::Own, scratch: Scratch::new().map_err(system)?, interrupt };
    let facts = Facts::gather(&[Broker::Native]);
    let measured = run.all()?;
    let date = time::today();
    println!("\n{}", rows(&measured));
    let usual = || {
        let is_usual = clients == CLIENTS && workers == machine::processors();
        is_usual.then(|| paths::repository().join("docs").join("results").join(format!("{date}-memory")))
    };
    let Some(folder) = options.out.clone().or_else(usual) else {
        println!("Not written, since the run is not the usual one: --out DIR says where to.");
        return Ok(());
    };
    results::write(&folder, &measured, &page(&measured, &facts, &date))
        .map_err(|error| Failure::Setup(format!("cannot write into {}: {error}", folder.display())))?;
    println!("Written to {}", folder.display());
    Ok(())
}

/// Compares two builds and gives the status to end with.
///
/// # Errors
/// As [`run`].
pub fn compare(options: &Memory) -> Result<u8, Failure> {
    let system = |error: io::Error| Failure::Setup(format!("cannot prepare the run: {error}"));
    let interrupt = Interrupt::on_signals(PROGRAM).map_err(system)?;
    let builds =
        options.against.builds(&Broker::Native).expect("another build was given, or nothing would be compared");
    let clients = options.clients.get();
    let workers = options.workers.map_or(machine::processors(), Into::into);
    allow_descriptors(u64::from(clients) + DESCRIPTORS_EXTRA).map_err(|error| Failure::Setup(error.to_string()))?;
    let of = |build| Ok(Run { clients, workers, build, scratch: Scratch::new()?, interrupt: interrupt.clone() });
    let [this, other] = builds.map(of);
    let (this, other) = (this.map_err(system)?, other.map_err(system)?);
    let (lines, samples) = pairs(&this, &other, &options.against)?;
    let text = table::text(&lines);
    println!("\n{text}");
    if let Some(folder) = &options.out {
        let page = table::page("Memory", &text, &Facts::gather(&[Broker::Native]), &time::today());
        results::write(folder, &samples, &page)
            .map_err(|error| Failure::Setup(format!("cannot write into {}: {error}", folder.display())))?;
        println!("Written to {}", folder.display());
    }
    Ok(table::status(&lines))
}

/// Measures pairs until the ratios of all rows that have a goal agree, or there are too many pairs.
fn pairs(this: &Run, other: &Run, against: &Against) -> Result<(Vec<Line>, Vec<Compared>), Failure> {
    let (mut lines, mut samples) = (Vec::<Line>::new(), Vec::new());
    for pair in 1.. {
        println!("pair {pair}, this build and the other one in turns:");
        let (of_this, of_other) = if pair % 2 == 1 {
            (this.all()?, other.all()?)
        } else {
            let of_other = other.all()?;
            (this.all()?, of_other)
        };
        lines.resize_with(of_this.len(), || Line::new(String::new(), "bytes each"));
        for ((line, this), other) in lines.iter_mut().zip(&of_this).zip(&of_other) {
            line.title = this.what.to_owned();
            line.values.push(this.bytes_each as f64, other.bytes_each as f64);
            let verdict = line.values.verdict(against.pairs.into(), against.ratio_max);
            line.verdict = this.goal_bytes.map(|_| verdict);
        }
        let of = |build, rows: Vec<Measured>| rows.into_iter().map(move |row| Compared { build, pair, row });
        samples.extend(of("this", of_this).chain(of("other", of_other)));
        if lines.iter().all(|line| line.verdict != Some(Verdict::MorePairs)) {
            break;
        }
    }
    Ok((lines, samples))
}

/// A row of one build. As JSON, one line.
#[derive(Serialize, Debug)]
struct Compared {
    build: &'static str,
    pair: usize,
    #[serde(flatten)]
    row: Measured,
}

/// The settings of all measurements of one build.
struct Run {
    clients: u32,
    workers: usize,
    build: Build,
    scratch: Scratch,
    interrupt: Interrupt,
}

/// A broker under measurement.
struct Subject {
    broker: Running,
    before: Resident,
}

impl Run {
    /// All rows, from three brokers.
    fn all(&self) -> Result<Vec<Measured>, Failure> {
        let mut measured = self.connected()?.to_vec();
        measured.extend(self.connected_and_then_away()?);
        measured.push(self.away()?);
        Ok(measured)
    }

    /// Clients that only connect, and the memory that stays when they go. It is used again by the next clients, or it
    /// has leaked.
    fn connected(&self) -> Result<[Measured; 3], Failure> {
        let subject = self.subject()?;
        let connect = || self.each(|number| self.client(&subject, number, 0, true).map(|(client, _)| client));
        let clients = connect()?;
        let connected = self.measure(&subject, "connected and idle", Some(CONNECTED_BYTES_GOAL))?;
        self.check_idle(&clients)?;
        self.let_go(clients)?;
        let gone = self.measure(&subject, "the same, gone again", None)?;
        let clients = connect()?;
        let again = self.measure(&subject, "the same, connected again", None)?;
        self.check_idle(&clients)?;
        self.let_go(clients)?;
        subject.broker.stop()?;
        Ok([connected, gone, again])
    }

    /// Clients that have a subscription too, and their sessions after they have gone, all within a moment.
    fn connected_and_then_away(&self) -> Result<[Measured; 2], Failure> {
        let subject = self.subject()?;
        let clients = self.each(|number| self.subscribed(&subject, number))?;
        let connected = self.measure(&subject, "connected, with a subscription", None)?;
        self.check_idle(&clients)?;
        self.let_go(clients)?;
        let away = self.measure(&subject, "the same, away", None)?;
        self.check_sessions(&subject)?;
        subject.broker.stop()?;
        Ok([connected, away])
    }

    /// Sessions of clients of which never two were there.
    fn away(&self) -> Result<Measured, Failure> {
        let subject = self.subject()?;
        self.each(|number| self.let_go(vec![self.subscribed(&subject, number)?]))?;
        let away = self.measure(&subject, "away, come and gone one by one", Some(AWAY_BYTES_GOAL))?;
        self.check_sessions(&subject)?;
        subject.broker.stop()?;
        Ok(away)
    }

    /// A broker that has seen a client do all that is done, so that its program is in memory.
    fn subject(&self) -> Result<Subject, Failure> {
        let addresses = self.clients.div_ceil(CLIENTS_PER_ADDRESS);
        let mut arguments = vec!["--connections-max".to_owned(), (u64::from(self.clients) + 1).to_string()];
        for number in 1..addresses {
            arguments.extend(["--listen".to_owned(), format!("{}:{{port}}", local(number))]);
        }
        let build = self.build.clone();
        let options = StartOptions { arguments, build, ..StartOptions::with_workers(self.workers) };
        let broker = Broker::Native.start(&options, &self.scratch, &self.interrupt)?;
        let mut subject = Subject { broker, before: Resident::default() };
        let (mut first, _) = self.client(&subject, self.clients, 0, true)?;
        first.subscribe("devices/first/commands").map_err(broken)?;
        self.let_go(vec![first])?;
        subject.before = Resident::settled(subject.broker.process(), &self.interrupt)?;
        Ok(subject)
    }

    /// Does something for each client.
    fn each<T>(&self, mut make: impl FnMut(u32) -> Result<T, Failure>) -> Result<Vec<T>, Failure> {
        let one = |number| {
            self.interrupt.check()?;
            make(number)
        };
        (0..self.clients).map(one).collect()
    }

    fn client(
        &self,
        subject: &Subject,
        number: u32,
        expiry_s: u32,
        clean_start: bool,
    ) -> Result<(IdleClient, bool), Failure> {
        let address = SocketAddr::from((local(number / CLIENTS_PER_ADDRESS), subject.broker.address().port()));
        let client = IdleClient::connect(address, &format!("device-{number:08}"), expiry_s, clean_start);
        client.map_err(|error| Failure::Broken(format!("client {number} could not connect: {error}")))
    }

    fn subscribed(&self, subject: &Subject, number: u32) -> Result<IdleClient, Failure> {
        let (mut client, _) = self.client(subject, number, SESSION_EXPIRY_S, true)?;
        client.subscribe(&format!("devices/{number}/commands")).map_err(broken)?;
        Ok(client)
    }

    /// Says goodbye to all, and waits until the broker has heard it.
    fn let_go(&self, mut clients: Vec<IdleClient>) -> Result<(), Failure> {
        for client in &mut clients {
            client.say_goodbye().map_err(broken)?;
        }
        for client in clients {
            self.interrupt.check()?;
            client.wait_for_end().map_err(broken)?;
        }
        Ok(())
    }

    fn measure(&self, subject: &Subject, what: &'static str, goal_bytes: Option<u64>) -> Result<Measured, Failure> {
        let after = Resident::settled(subject.broker.process(), &self.interrupt)?;
        let (before, clients) = (subject.before, self.clients);
        let bytes_each = after.rss_bytes.saturating_sub(before.rss_bytes) / u64::from(clients);
        println!("{what}: {} bytes each", thousands(bytes_each as f64));
        Ok(Measured { what, clients, workers: self.workers, before, after, bytes_each, goal_bytes })
    }

    /// Clients that were thrown out would cost nothing.
    fn check_idle(&self, clients: &[IdleClient]) -> Result<(), Failure> {
        for client in clients {
            if !client.is_idle().map_err(broken)? {
                return Err(Failure::Broken("the broker has not left a client alone".to_owned()));
            }
        }
        Ok(())
    }

    /// So would sessions that are not kept.
    fn check_sessions(&self, subject: &Subject) -> Result<(), Failure> {
        let step = (self.clients / SESSIONS_CHECKED).max(1);
        for number in (0..self.clients).step_by(step as usize) {
            let (client, session_present) = self.client(subject, number, SESSION_EXPIRY_S, false)?;
            if !session_present {
                return Err(Failure::Broken(format!("the broker has not kept the session of client {number}")));
            }
            self.let_go(vec![client])?;
        }
        Ok(())
    }
}

/// The local addresses that clients connect to: 127.0.0.1 and on.
fn local(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + number)
}

fn broken(error: io::Error) -> Failure {
    Failure::Broken(format!("a client failed: {error}"))
}

fn rows(measured: &[Measured]) -> String {
    let titles = ["clients", "how many", "without, KiB", "with, KiB", "bytes each", "goal"];
    let mut table = Table::new(titles.map(str::to_owned));
    for row in measured {
        let kib = |bytes: u64| thousands(bytes as f64 / 1024.0);
        let goal = row.goal_bytes.zip(row.is_reached()).map(|(goal, is_reached)| {
            format!("below {}: {}", thousands(goal as f64), if is_reached { "reached" } else { "MISSED" })
        });
        table.push([
            row.what.to_owned(),
            thousands(row.clients.into()),
            kib(row.before.rss_bytes),
            kib(row.after.rss_bytes),
            thousands(row.bytes_each as f64),
            goal.unwrap_or_default(),
        ]);
    }
    let reached = measured.iter().filter(|row| row.is_reached() == Some(true)).count();
    let set = measured.iter().filter(|row| row.goal_bytes.is_some()).count();
    format!("{table}\n{reached} of {set} goals reached.\n")
}

fn page(measured: &[Measured], facts: &Facts, date: &str) -> String {
    let workers = measured.first().map_or(0, |row| row.workers);
    let mut text = format!(
        "# Memory, {date}\n\n\
         Resident memory of the native broker (`wisp-broker --workers {workers}`) without clients and with clients of MQTT 5 \
         that are connected and do nothing, or that are away and whose sessions it keeps for {SESSION_EXPIRY_S} s. What the \
         kernel needs for the connections is not in it.\n\n{}\n\
         Rows that belong together are of one broker, which was fresh before. The growth is divided by the number of clients. \
         A client of \"away, come and gone one by one\" connects, subscribes to a topic of its own such as \
         `devices/4711/commands` and says goodbye before the next one connects, so that nothing that connections leave in the \
         allocator is in the figure; in \"the same, away\" it is. Every figure, with proportional and anonymous memory: \
         [results.jsonl](results.jsonl).\n",
        rows(measured)
    );
    for (title, facts) in [("Versions", &facts.versions), ("Machine", &facts.machine)] {
        write!(text, "\n## {title}\n\n").expect("texts can be written to");
        for (name, value) in facts {
            writeln!(text, "- {name}: {value}").expect("texts can be written to");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(what: &'static str, bytes_each: u64, goal_bytes: Option<u64>) -> Measured {
        let before = Resident { rss_bytes: 2 << 20, ..Resident::default() };
        let after = Resident { rss_bytes: before.rss_bytes + 1000 * bytes_each, ..before };
        Measured { what, clients: 1000, workers: 2, before, after, bytes_each, goal_bytes }
    }

    #[test]
    fn the_table_says_which_goals_were_reached() {
        let of = [row("a", 1024, Some(1025)), row("b", 2048, None), row("c", 1024, Some(1024))];
        let expected = "\
| clients | how many | without, KiB | with, KiB | bytes each |                 goal |
|---------|---------:|-------------:|----------:|-----------:|---------------------:|
| a       |    1,000 |        2,048 |     3,048 |      1,024 | below 1,025: reached |
| b       |    1,000 |        2,048 |     4,048 |      2,048 |                      |
| c       |    1,000 |        2,048 |     3,048 |      1,024 |  below 1,024: MISSED |

1 of 2 goals reached.
";
        assert_eq!(rows(&of), expected);
    }

    #[test]
    fn the_page_has_the_table_and_what_it_depends_on() {
        let facts = Facts { machine: vec![("memory", "1 GiB".to_owned())], versions: vec![("wisp", "1".to_owned())] };
        let page = page(&[row("a", 1, None)], &facts, "2026-01-31");
        for part in ["2026-01-31", "| a ", "--workers 2", "- memory: 1 GiB", "- wisp: 1"] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }

    #[test]
    fn addresses_count_up_from_the_first() {
        assert_eq!([0, 1, 2].map(local), [[127, 0, 0, 1], [127, 0, 0, 2], [127, 0, 0, 3]].map(Ipv4Addr::from));
    }
}
