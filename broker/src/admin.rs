//! The pages of the admin listener: metrics in Prometheus' text format, and health.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

use wisp_engine::{METRICS, MetricKind, Shared};

const TEXT: &str = "text/plain; charset=utf-8";
const METRICS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Where the pages have their values from.
#[derive(Debug)]
pub(crate) struct Pages {
    engine: Arc<Shared>,
    started: Instant,
}

/// A page, or the refusal of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// Code and phrase.
    pub(crate) status: &'static str,
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
}

impl Page {
    /// A page of one line.
    pub(crate) fn line(status: &'static str, line: &str) -> Self {
        Self { status, content_type: TEXT, body: format!("{line}\n") }
    }
}

impl Pages {
    pub(crate) fn new(engine: &Arc<Shared>) -> Self {
        Self { engine: Arc::clone(engine), started: Instant::now() }
    }

    /// The answer to a GET of `path`.
    pub(crate) fn get(&self, path: &str) -> Page {
        match path {
            "/metrics" => Page { status: "200 OK", content_type: METRICS_TEXT, body: self.metrics() },
            "/healthz" => Page::line("200 OK", "ok"),
            "/readyz" if self.engine.admits_clients() => Page::line("200 OK", "ready"),
            "/readyz" => Page::line("503 Service Unavailable", "limit reached: buffered-bytes-max"),
            _ => Page::line("404 Not Found", "there are /metrics, /healthz and /readyz"),
        }
    }

    fn metrics(&self) -> String {
        let mut text = String::with_capacity(8 * 1024);
        let mut row = |name: &str, kind: &str, help: &str, labels: &str, value: u64| {
            writeln!(text, "# HELP wisp_{name} {help}\n# TYPE wisp_{name} {kind}\nwisp_{name}{labels} {value}")
                .expect("a string takes all that is written");
        };
        let version = concat!("{version=\"", env!("CARGO_PKG_VERSION"), "\"}");
        row("build_info", "gauge", "The version of the broker.", version, 1);
        row("uptime_seconds", "gauge", "Seconds since the start.", "", self.started.elapsed().as_secs());
        let stats = self.engine.stats();
        for metric in METRICS {
            let (kind, suffix) = match metric.kind {
                MetricKind::Counter => ("counter", "_total"),
                MetricKind::Gauge => ("gauge", ""),
            };
            row(&format!("{}{suffix}", metric.name), kind, metric.help, "", (metric.value)(&stats));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use wisp_engine::Limits;

    use super::*;

    fn pages() -> Pages {
        Pages::new(&Arc::new(Shared::new(Limits::DEFAULT, 1)))
    }

    #[test]
    fn each_metric_has_help_type_and_a_value() {
        let page = pages().get("/metrics");
        assert_eq!((page.status, page.content_type), ("200 OK", METRICS_TEXT));
        assert!(page.body.ends_with('\n'));
        let lines: Vec<&str> = page.body.lines().collect();
        assert_eq!(lines.len(), 3 * (METRICS.len() + 2));
        for rows in lines.chunks(3) {
            let [help, kind, value] = rows else { panic!("{rows:?}") };
            let name = help.strip_prefix("# HELP ").and_then(|rest| rest.split(' ').next()).unwrap();
            assert!(!help.contains('\\'), "{help}");
            let is_counter = name.ends_with("_total");
            assert_eq!(*kind, format!("# TYPE {name} {}", if is_counter { "counter" } else { "gauge" }));
            let (found, number) = value.rsplit_once(' ').unwrap();
            assert!(found.split('{').next() == Some(name) && number.parse::<u64>().is_ok(), "{value}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        }
        assert!(page.body.contains("\nwisp_bytes_received_total 0\n") && page.body.contains("\nwisp_sessions 0\n"));
    }

    #[test]
    fn health_is_one_line_and_other_paths_are_not_found() {
        for (path, status) in
            [("/healthz", "200 OK"), ("/readyz", "200 OK"), ("/", "404 Not Found"), ("", "404 Not Found")]
        {
            let page = pages().get(path);
            assert_eq!((page.status, page.body.lines().count()), (status, 1), "{path}");
        }
    }
}
