//! The results of the newest recorded run at QoS 0, so that a loss of speed is noticed. Rates of two machines or two
//! days are not comparable; the ratio of Wisp to mosquitto within the same run is.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::plan::{Case, Point, Turn};
use crate::results::SAMPLES_FILE;
use crate::statistics::{Rate, ratio};
use wisp_lab::broker::Broker;
use wisp_lab::failure::Failure;

/// The end of the names of such folders, after the date.
const FOLDER_END: &str = "-smoke";

/// A recorded run.
#[derive(Clone, PartialEq, Debug)]
pub struct Baseline {
    /// The name of its folder.
    pub name: String,
    rates: Vec<Rate>,
}

/// The fields read of a recorded sample.
#[derive(Deserialize)]
struct Recorded {
    broker: Broker,
    repetition: u32,
    senders: u32,
    receivers: u32,
    /// The first runs had no other QoS.
    #[serde(default)]
    qos: u8,
    messages_per_s: f64,
}

impl Baseline {
    /// The newest one in the folder of results; None if there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn newest(results: &Path) -> Result<Option<Self>, Failure> {
        let folders =
            fs::read_dir(results).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        // Dates sort by themselves.
        let Some(name) = folders.filter(|name| name.ends_with(FOLDER_END)).max() else { return Ok(None) };
        let file = results.join(&name).join(SAMPLES_FILE);
        // An error of JSON is one of reading, too.
        let rates = fs::read_to_string(&file).and_then(|text| Ok(read_rates(&text)?));
        let rates = rates.map_err(|error| Failure::Setup(format!("cannot read {}: {error}", file.display())))?;
        Ok(Some(Self { name, rates }))
    }

    /// By how much a broker was faster than mosquitto; None if that was not measured.
    #[must_use]
    pub fn ratio(&self, broker: &Broker, case: Case) -> Option<f64> {
        ratio(&self.rates, broker, &Broker::Mosquitto, case)
    }
}

fn read_rates(lines: &str) -> serde_json::Result<Vec<Rate>> {
    let read = |line| {
        let Recorded { broker, repetition, senders, receivers, qos, messages_per_s } = serde_json::from_str(line)?;
        let case = Case { qos, point: Point::new(senders, receivers) };
        Ok(Rate { turn: Turn { repetition, case, broker }, messages_per_s })
    };
    lines.lines().map(read).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use wisp_lab::paths::Scratch;

    /// A run in which `broker` was `times` as fast as mosquitto.
    pub(crate) fn recorded(broker: Broker, case: Case, times: f64) -> Baseline {
        let rate = |broker, messages_per_s| Rate { turn: Turn { repetition: 1, case, broker }, messages_per_s };
        Baseline { name: "2026-01-01-smoke".to_owned(), rates: vec![rate(broker, times), rate(Broker::Mosquitto, 1.0)] }
    }

    #[test]
    fn the_newest_run_is_read_whether_or_not_it_knew_other_levels() {
        let scratch = Scratch::new().unwrap();
        let write = |name: &str, lines: &str| {
            fs::create_dir_all(scratch.file(name)).unwrap();
            fs::write(scratch.file(name).join(SAMPLES_FILE), lines).unwrap();
        };
        let results = scratch.file("");
        assert_eq!(Baseline::newest(&results).unwrap(), None);
        assert_eq!(Baseline::newest(&scratch.file("missing")).unwrap(), None);
        let line = |broker: &str, extra: &str, rate: u32| {
            format!(
                r#"{{"broker":"{broker}","repetition":1,"senders":1,"receivers":1,{extra}"messages_per_s":{rate}.5}}"#
            )
        };
        write("2026-02-01-smoke", "not read");
        write("2026-02-03-memory", "not read");
        let lines = [
            line("native", "", 12),
            line("mosquitto", r#""more":"fields","#, 2),
            line("native", r#""qos":1,"#, 30),
            line("mosquitto", r#""qos":1,"#, 3),
        ];
        write("2026-02-02-smoke", &lines.join("\n"));
        let baseline = Baseline::newest(&results).unwrap().unwrap();
        assert_eq!(baseline.name, "2026-02-02-smoke");
        let case = |qos| Case { qos, point: Point::new(1, 1) };
        assert_eq!(baseline.ratio(&Broker::Native, case(0)), Some(5.0));
        assert_eq!(baseline.ratio(&Broker::Native, case(1)), Some(30.5 / 3.5));
        assert_eq!((baseline.ratio(&Broker::Native, case(2)), baseline.ratio(&Broker::Wasmer, case(0))), (None, None));

        write("2026-02-04-smoke", "nonsense");
        assert!(matches!(Baseline::newest(&results), Err(Failure::Setup(_))));
    }
}
