//! One run of wisp-loadgen against a broker, and its results.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use wisp_loadgen::Results;

use crate::plan::{Case, SIZE_BYTES};
use wisp_client::QoS;
use wisp_lab::broker::{CpuMeter, Running, last_lines};
use wisp_lab::failure::{Failure, Interrupt};
use wisp_lab::paths;
use wisp_lab::process::{kill, spawn};
use wisp_loadgen::Config;
use wisp_loadgen::run;

/// How often to look whether the generator has ended; seldom, since looking takes from the time that is measured.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Reads the generator's line.
fn read_results(line: &str) -> Result<Results, Failure> {
    Results::from_json(line)
        .map_err(|error| Failure::Setup(format!("wisp-loadgen is of another version: {error} in {line:?}")))
}

/// The load of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    /// At which QoS, from and to how many.
    pub case: Case,
    /// Messages of each sender that may be unacknowledged at once.
    pub window: u16,
    /// Of all senders together.
    pub messages: u64,
}

/// Sends messages through the broker at this URL and checks the received ones.
///
/// # Errors
/// When a message was lost, duplicated, out of order or changed; when the generator is missing; when interrupted.
pub fn drive(url: &str, load: &Load, interrupt: &Interrupt) -> Result<Results, Failure> {
    let Load { case: Case { qos, point }, window, messages } = load;
    let mut command = Command::new(paths::native_program("wisp-loadgen")?);
    command
        .args(["run", "--json", "--url", url])
        .args(["--senders", &point.senders.to_string(), "--receivers", &point.receivers.to_string()])
        .args(["--qos", &qos.to_string(), "--window", &window.to_string()])
        .args(["--size", &SIZE_BYTES.to_string(), "--count", &messages.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = spawn(&mut command).map_err(|error| Failure::Setup(format!("cannot start wisp-loadgen: {error}")))?;
    let (status, output, words) = Generator(child).finish(interrupt)?;
    // A run that went wrong still has its report, unless it could not start.
    let Some(line) = output.lines().last() else {
        let words = last_lines(&words).unwrap_or_else(|| "it said nothing".to_owned());
        return Err(Failure::Broken(format!("wisp-loadgen could not run ({status}): {words}")));
    };
    let results = read_results(line)?;
    match results.fault() {
        Some(fault) => Err(Failure::Broken(fault)),
        None if !status.success() => Err(Failure::Broken(format!("wisp-loadgen reports nothing bad, yet {status}"))),
        None => Ok(results),
    }
}

/// Drives a broker from this process, and gives the results with the broker's processor time from the first message to the
/// last, in seconds.
///
/// # Errors
/// As [`drive`].
pub fn drive_here(
    broker: &Running,
    case: Case,
    window: u16,
    messages: u64,
    interrupt: &Interrupt,
) -> Result<(Results, Option<f64>), Failure> {
    let Case { qos, point } = case;
    let config = Config {
        qos: QoS::new(qos).ok_or_else(|| Failure::Setup(format!("there is no QoS {qos}")))?,
        window,
        senders: point.senders,
        receivers: point.receivers,
        messages,
        ..base_config(broker)?
    };
    drive_config(broker, &config, interrupt)
}

/// The settings of a load with messages of 1 KB for this broker; the rest is the generator's defaults.
///
/// # Errors
/// If the broker's URL is none that the generator knows.
pub fn base_config(broker: &Running) -> Result<Config, Failure> {
    let target = broker.url().parse().map_err(Failure::setup)?;
    Ok(Config { tls: broker.tls(), size: SIZE_BYTES, ..Config::new(target) })
}

/// As [`drive_here`], with any load.
///
/// # Errors
/// As [`drive`].
pub fn drive_config(
    broker: &Running,
    config: &Config,
    interrupt: &Interrupt,
) -> Result<(Results, Option<f64>), Failure> {
    let meter = CpuMeter::new(interrupt, Some(broker));
    let results = run(config, &meter).map_err(|error| Failure::Broken(error.to_string()));
    interrupt.check()?;
    let results = results.map_err(|failure| broker.has_died().map_or(failure, Failure::Broken))?;
    match broker.has_died().or_else(|| results.fault()) {
        Some(fault) => Err(Failure::Broken(fault)),
        None => Ok((results, meter.cpu_s())),
    }
}

/// A running wisp-loadgen. Dropped, it is killed.
struct Generator(Child);

impl Generator {
    /// Waits for its end. Gives its status and both outputs, which are too short to fill a pipe.
    fn finish(mut self, interrupt: &Interrupt) -> Result<(ExitStatus, String, String), Failure> {
        let status = loop {
            interrupt.check()?;
            if let Some(status) = self.0.try_wait().expect("a child can be waited for") {
                break status;
            }
            thread::sleep(LOOK_EVERY);
        };
        let (mut output, mut words) = (String::new(), String::new());
        let read = self.0.stdout.take().expect("it is piped").read_to_string(&mut output);
        read.and_then(|_| self.0.stderr.take().expect("it is piped").read_to_string(&mut words))
            .map_err(|error| Failure::Setup(format!("cannot read what wisp-loadgen says: {error}")))?;
        Ok((status, output, words))
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        kill(&mut self.0);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use wisp_loadgen::Tally;

    /// A line as the generator writes it.
    fn line(tally: Tally, error: Option<&str>) -> String {
        let config = Config {
            qos: wisp_client::QoS::AtLeastOnce,
            senders: 3,
            receivers: 5,
            size: SIZE_BYTES,
            ..Config::new("mqtt://127.0.0.1:1".parse().unwrap())
        };
        Results::new(&config, Duration::from_millis(500), 1000, &tally, error.map(str::to_owned)).to_json()
    }

    pub(crate) fn good_report(messages_per_s: f64) -> Results {
        let line = line(Tally { received: 1000, ..Tally::default() }, None);
        Results { messages_per_s, ..read_results(&line).unwrap() }
    }

    #[test]
    fn the_generators_line_is_understood() {
        let report = read_results(&line(Tally { received: 1000, ..Tally::default() }, None)).unwrap();
        assert_eq!((report.senders, report.receivers, report.size_bytes), (3, 5, SIZE_BYTES));
        assert_eq!((report.messages, report.received, report.threads), (1000, 1000, 2));
        assert_eq!((report.qos, report.window), (1, Some(1000)));
        assert!((report.messages_per_s - 2000.0).abs() < 1e-9, "{report:?}");
        assert_eq!((report.mqtt_version.as_deref(), report.fault()), (Some("3.1.1"), None));
    }

    #[test]
    fn each_fault_is_named() {
        let all = Tally { received: 1000, ..Tally::default() };
        for (tally, word) in [
            (Tally { received: 998, ..all }, "lost 2"),
            (Tally { duplicated: 3, ..all }, "duplicated 3"),
            (Tally { out_of_order: 4, ..all }, "out of order 4"),
            (Tally { corrupt: 5, ..all }, "corrupt 5"),
        ] {
            let fault = read_results(&line(tally, None)).unwrap().fault().expect("a fault");
            assert!(fault.contains(word), "{fault}");
        }
        let fault = read_results(&line(all, Some("the broker hung up"))).unwrap().fault().expect("a fault");
        assert!(fault.contains("the broker hung up"), "{fault}");
    }

    #[test]
    fn other_lines_are_refused() {
        for wrong in ["", "1,000 msg/s", "{}", "[1]"] {
            assert!(matches!(read_results(wrong), Err(Failure::Setup(_))), "{wrong:?}");
        }
    }
}
