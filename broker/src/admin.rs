//! The pages of the admin listener: metrics in Prometheus' text format, and health.

mod exposition;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use wisp_engine::{HISTOGRAMS, METRICS, MetricKind, QueueDepth, Shared};

use self::exposition::Exposition;

const TEXT: &str = "text/plain; charset=utf-8";
const METRICS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The most queues that have rows because they are full.
const FULLEST_QUEUES: usize = 10;

/// The host that the broker is compiled for.
const HOST: &str = if cfg!(wisp_host = "wasix") {
    "wasix"
} else if cfg!(wisp_host = "wasip1") {
    "wasip1"
} else if cfg!(wisp_host = "wasmedge") {
    "wasmedge"
} else if cfg!(wisp_host = "wasip2") {
    "wasip2"
} else {
    "native"
};

/// Tells the memory of the process, where the host does.
type MemoryBytes = Box<dyn Fn() -> Option<u64> + Send + Sync>;

/// Where the pages have their values from.
pub(crate) struct Pages {
    engine: Arc<Shared>,
    memory_bytes: MemoryBytes,
    started: Instant,
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pages")
    }
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
    pub(crate) fn new(engine: &Arc<Shared>, memory_bytes: MemoryBytes) -> Self {
        Self { engine: Arc::clone(engine), memory_bytes, started: Instant::now() }
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
        let mut page = Exposition::new();
        page.head("build_info", "gauge", "The version of the broker, and what it is compiled for.");
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("host", HOST), ("os", os), ("arch", arch)];
        page.sample("build_info", &labels, 1);
        page.value("uptime_seconds", "gauge", "Seconds since the start.", self.started.elapsed().as_secs());
        if let Some(bytes) = (self.memory_bytes)() {
            page.value("process_memory_bytes", "gauge", "Memory of the process, or of the module.", bytes);
        }
        let stats = self.engine.stats();
        for metric in METRICS {
            let (kind, suffix) = match metric.kind {
                MetricKind::Counter => ("counter", "_total"),
                MetricKind::Gauge => ("gauge", ""),
            };
            page.value(&format!("{}{suffix}", metric.name), kind, metric.help, (metric.value)(&stats));
        }
        let histograms = self.engine.histograms();
        for metric in &HISTOGRAMS {
            page.histogram(metric.name, metric.help, (metric.value)(&histograms));
        }
        self.add_queues(&mut page);
        page.finish()
    }

    /// The depths of the fullest queues and of the configured ones.
    fn add_queues(&self, page: &mut Exposition) {
        let mut queues = self.engine.fullest_queues(FULLEST_QUEUES);
        queues.extend(self.engine.configured_queues());
        queues.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        // A queue that is in both lists may have changed between them.
        queues.dedup_by(|later, earlier| later.name == earlier.name);
        let help =
            "in the ten fullest queues and groups and in those of the configuration, on loan to receivers included.";
        let mut rows = |name: &str, what: &str, value: fn(&QueueDepth) -> u64| {
            page.head(name, "gauge", &format!("{what} {help}"));
            for queue in &queues {
                page.sample(name, &[("queue", &queue.name)], value(queue));
            }
        };
        rows("queue_messages", "Messages", |queue| queue.depth.messages);
        rows("queue_bytes", "Bytes of messages", |queue| queue.depth.bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use wisp_engine::{BUCKET_BOUNDS_US, Limits, Options, QueueSettings};

    use super::*;

    fn pages() -> Pages {
        let queues = vec![QueueSettings::new("jobs", &Limits::DEFAULT)];
        let engine = Shared::with_options(Limits::DEFAULT, Options { queues, ..Options::default() }, 1).unwrap();
        Pages::new(&Arc::new(engine), Box::new(|| Some(7)))
    }

    /// Its name, its kind, and the number of its samples.
    type Parsed<'a> = (&'a str, &'a str, usize);

    fn parsed(page: &str) -> Vec<Parsed<'_>> {
        let mut metrics = Vec::new();
        let mut lines = page.lines().peekable();
        while let Some(line) = lines.next() {
            let (name, help) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')).expect(line);
            assert!(!help.is_empty() && !help.contains('\\'), "{line}");
            let kind =
                lines.next().and_then(|line| line.strip_prefix("# TYPE ")?.strip_prefix(name)?.strip_prefix(' '));
            let mut samples = 0;
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                let (sample, value) = line.rsplit_once(' ').expect(line);
                assert!(sample.starts_with(name) && value.parse::<f64>().is_ok(), "{line}");
                samples += 1;
            }
            metrics.push((name, kind.expect(line), samples));
        }
        metrics
    }

    #[test]
    fn each_metric_has_help_type_and_values() {
        let page = pages().get("/metrics");
        assert_eq!((page.status, page.content_type), ("200 OK", METRICS_TEXT));
        assert!(page.body.ends_with('\n'));
        let metrics = parsed(&page.body);
        assert_eq!(metrics.len(), METRICS.len() + HISTOGRAMS.len() + 5);
        for (name, kind, samples) in metrics {
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            if kind == "histogram" {
                assert_eq!(samples, BUCKET_BOUNDS_US.len() + 3, "{name}");
                continue;
            }
            let expected = if name.ends_with("_total") { "counter" } else { "gauge" };
            assert_eq!((kind, samples), (expected, 1), "{name}");
        }
        for row in ["wisp_bytes_received_total 0", "wisp_sessions 0", "wisp_process_memory_bytes 7"] {
            assert!(page.body.lines().any(|line| line == row), "{row}");
        }
        assert!(page.body.contains("\nwisp_build_info{version=\"") && page.body.contains("\",host=\"native\",os=\""));
    }

    #[test]
    fn queues_have_rows_if_they_are_configured_or_among_the_fullest() {
        let page = pages().get("/metrics").body;
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("wisp_queue_")).collect();
        assert_eq!(rows, ["wisp_queue_messages{queue=\"$queue/jobs\"} 0", "wisp_queue_bytes{queue=\"$queue/jobs\"} 0"]);
    }

    /// The names of metrics in a query that no sample of the page has.
    fn unknown_names<'a>(query: &'a str, page: &str) -> Vec<&'a str> {
        let samples: HashSet<&str> = page.lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
        let words = query.split(|one: char| !one.is_ascii_alphanumeric() && one != '_');
        words.filter(|word| word.starts_with("wisp_") && !samples.contains(word)).collect()
    }

    #[test]
    fn the_dashboard_asks_for_metrics_that_exist() {
        let page = pages().get("/metrics").body;
        let missing = "rate(wisp_messages_received[1m]) / wisp_sessions";
        assert_eq!(unknown_names(missing, &page), ["wisp_messages_received"]);
        let dashboard: serde_json::Value = serde_json::from_str(include_str!("../../docs/grafana.json")).unwrap();
        let panels = dashboard["panels"].as_array().unwrap();
        let queries = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
        let mut queries: Vec<&str> = queries.map(|target| target["expr"].as_str().unwrap()).collect();
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        queries.extend(variables.iter().filter_map(|variable| variable["query"]["query"].as_str()));
        for query in &queries {
            assert!(query.contains("wisp_"), "{query}");
            assert_eq!(unknown_names(query, &page), [""; 0], "{query}");
        }
        assert!(panels.len() >= 12 && queries.len() > panels.len());
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
