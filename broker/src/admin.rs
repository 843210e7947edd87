//! The pages of the admin listener: one for operators, metrics in Prometheus' text format, health, and the API.

mod api;
mod exposition;
mod guard;
mod page;
mod problem;
mod request;
mod rows;
mod sources;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Weak};

use wisp_engine::{HISTOGRAMS, METRICS, MetricKind, QueueDepth, Shared};

pub(crate) use self::api::{BODY_BYTES_MAX, PendingReply, Reply};
use self::api::{PREFIX, Route};
use self::exposition::Exposition;
pub(crate) use self::guard::Guard;
pub(crate) use self::page::Page;
pub(crate) use self::request::Head;
pub(crate) use self::sources::Running;
use self::sources::{HOST, MemoryBytes, Sources};

/// The page for operators. It takes everything from the API.
const INDEX: &str = include_str!("admin/index.html");
const HTML: &str = "text/html; charset=utf-8";

/// The page asks nobody but this address, and no other page shows it in a frame.
const INDEX_HEADERS: &str = "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\nX-Content-Type-Options: nosniff\r\n\
     Referrer-Policy: no-referrer\r\n";

const METRICS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The most queues that have rows because they are full.
const FULLEST_QUEUES: usize = 10;

/// The pages, and the rule about requests for them.
pub(crate) struct Pages {
    sources: Sources,
    guard: Guard,
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pages")
    }
}

impl Pages {
    pub(crate) fn new(engine: &Arc<Shared>, memory_bytes: MemoryBytes, guard: Guard) -> Self {
        Self { sources: Sources::new(engine, memory_bytes), guard }
    }

    /// The broker is complete.
    pub(crate) fn set_running(&self, running: Weak<dyn Running>) {
        self.sources.set_running(running);
    }

    /// Takes another token for the API. False if it is the same.
    pub(crate) fn set_token(&self, token: Option<Box<str>>) -> bool {
        self.guard.set_token(token)
    }

    /// The length of the body that the answer needs, or the refusal of the request.
    pub(crate) fn admit(&self, head: &Head<'_>) -> Result<usize, Page> {
        let Some(route) = Route::of(head) else {
            return if head.method == "GET" { Ok(0) } else { Err(not_allowed()) };
        };
        let route = route?;
        if route != Route::Document
            && let Err(refusal) = self.guard.check(head, route.is_action())
        {
            self.sources.engine.count_refused_admin_request();
            if let Some(running) = self.sources.running() {
                running.log_refused(refusal.reason);
            }
            return Err(refusal.page);
        }
        if route == Route::Publish { head.body_len(BODY_BYTES_MAX) } else { Ok(0) }
    }

    /// The answer to a request that was admitted.
    pub(crate) fn answer(&self, head: &Head<'_>, body: &[u8]) -> Reply {
        match Route::of(head) {
            Some(route) => {
                route.and_then(|route| api::answer(&self.sources, route, head, body)).unwrap_or_else(Reply::Page)
            }
            None => Reply::Page(self.get(head.path)),
        }
    }

    /// The answer to a GET of `path`, which is not the API's.
    fn get(&self, path: &str) -> Page {
        match path {
            "/" => Page::new("200 OK", HTML, INDEX.to_owned()).with(INDEX_HEADERS),
            "/metrics" => Page::new("200 OK", METRICS_TEXT, self.metrics()),
            "/healthz" => Page::line("200 OK", "ok"),
            "/readyz" if self.sources.engine.admits_clients() => Page::line("200 OK", "ready"),
            "/readyz" => Page::line("503 Service Unavailable", "limit reached: buffered-bytes-max"),
            _ => Page::line(
                "404 Not Found",
                &format!("there are /, /metrics, /healthz, /readyz and {PREFIX}openapi.json"),
            ),
        }
    }

    fn metrics(&self) -> String {
        let mut page = Exposition::new();
        page.head("build_info", "gauge", "The version of the broker, and what it is compiled for.");
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("host", HOST), ("os", os), ("arch", arch)];
        page.sample("build_info", &labels, 1);
        page.value("uptime_seconds", "gauge", "Seconds since the start.", self.sources.started.elapsed().as_secs());
        if let Some(bytes) = (self.sources.memory_bytes)() {
            page.value("process_memory_bytes", "gauge", "Memory of the process, or of the module.", bytes);
        }
        let stats = self.sources.engine.stats();
        for metric in METRICS {
            let (kind, suffix) = match metric.kind {
                MetricKind::Counter => ("counter", "_total"),
                MetricKind::Gauge => ("gauge", ""),
            };
            page.value(&format!("{}{suffix}", metric.name), kind, metric.help, (metric.value)(&stats));
        }
        let histograms = self.sources.engine.histograms();
        for metric in &HISTOGRAMS {
            page.histogram(metric.name, metric.help, (metric.value)(&histograms));
        }
        self.add_queues(&mut page);
        page.finish()
    }

    /// The depths of the fullest queues and of the configured ones.
    fn add_queues(&self, page: &mut Exposition) {
        let mut queues = self.sources.engine.fullest_queues(FULLEST_QUEUES);
        queues.extend(self.sources.engine.configured_queues());
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

fn not_allowed() -> Page {
    const STATUS: &str = "405 Method Not Allowed";
    Page::line(STATUS, STATUS).with("Allow: GET\r\n")
}
