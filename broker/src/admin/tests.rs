//! The pages, and whether the document of the API is true.

use std::collections::{BTreeSet, HashSet};

use wisp_engine::{BUCKET_BOUNDS_US, ConnectionId, Limits, Mail, Options, Origin, QueueSettings, Received, Worker};

use super::*;

fn pages() -> Pages {
    let queues = vec![QueueSettings::new("jobs", &Limits::DEFAULT)];
    let engine = Shared::with_options(Limits::DEFAULT, Options { queues, ..Options::default() }, 1).unwrap();
    Pages::new(&Arc::new(engine), Box::new(|| Some(7)), Guard::new(([127, 0, 0, 1], 9090).into(), None))
}

/// Its name, its kind, and the number of its samples.
type Parsed<'a> = (&'a str, &'a str, usize);

fn parsed(page: &str) -> Vec<Parsed<'_>> {
    let mut metrics = Vec::new();
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        let (name, help) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')).expect(line);
        assert!(!help.is_empty() && !help.contains('\\'), "{line}");
        let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE ")?.strip_prefix(name)?.strip_prefix(' '));
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
    let dashboard: serde_json::Value = serde_json::from_str(include_str!("../../../docs/grafana.json")).unwrap();
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
        [("/healthz", "200 OK"), ("/readyz", "200 OK"), ("/x", "404 Not Found"), ("", "404 Not Found")]
    {
        let page = pages().get(path);
        assert_eq!((page.status, page.body.lines().count()), (status, 1), "{path}");
    }
}

const TOKEN: &str = "0123456789abcdef";

/// Pages of a broker with a client, a subscription, a queue and a retained message.
fn busy_pages() -> Pages {
    let queues = vec![QueueSettings::new("jobs", &Limits::DEFAULT)];
    let options = Options { queues, lists_sessions: true, ..Options::default() };
    let engine = Arc::new(Shared::with_options(Limits::DEFAULT, options, 1).unwrap());
    let mut worker = Worker::new(Arc::clone(&engine), 0, 64 * 1024);
    let outbox = engine.new_outbox(ConnectionId { slot: 0, generation: 1 }, 0);
    worker.handle_mail(0, Mail::Accept(Arc::clone(&outbox), Origin { peer: None, listener: 0 }));
    worker.handle_readable(outbox.connection());
    // CONNECT of `c`, SUBSCRIBE to `a`, and a message to retain on `r`.
    let packets = b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c\x82\x06\0\x01\0\x01a\x01\x31\x06\0\x01r1\xff3".as_slice();
    while let Some(read) = worker.poll_read(0) {
        read.buffer[..packets.len()].copy_from_slice(packets);
        worker.handle_bytes(0, Received::Bytes { count: packets.len(), more: false });
    }
    worker.poll_transmit(0, |staged| staged.push());
    Pages::new(&engine, Box::new(|| Some(7)), Guard::new(([127, 0, 0, 1], 9090).into(), Some(TOKEN.into())))
}

/// The answer to a request with the token.
fn ask(pages: &Pages, method: &str, target: &str, body: &[u8]) -> (u16, &'static str, serde_json::Value) {
    let authorization = format!("Bearer {TOKEN}");
    let length = body.len().to_string();
    let mut headers = [
        httparse::Header { name: "Authorization", value: authorization.as_bytes() },
        httparse::Header { name: "Content-Length", value: length.as_bytes() },
    ];
    let mut request = httparse::Request::new(&mut headers);
    (request.method, request.path, request.version) = (Some(method), Some(target), Some(1));
    let head = Head::of(&request);
    let reply = pages.admit(&head).map_or_else(Reply::Page, |_| pages.answer(&head, body));
    let page = match reply {
        Reply::Page(page) => page,
        Reply::Action(order, pending) => {
            assert!(pending.poll().is_none());
            drop(order);
            pending.poll().unwrap()
        }
    };
    let document = serde_json::from_str(&page.body).unwrap_or_default();
    (page.status[..3].parse().unwrap(), page.headers, document)
}

fn document() -> serde_json::Value {
    ask(&busy_pages(), "GET", "/api/v1/openapi.json", b"").2
}

#[test]
fn the_document_has_each_path_and_method_that_there_is() {
    let pages = busy_pages();
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 12);
    for (path, operations) in paths {
        let target = format!("/api/v1{}", path.replace("{id}", "c").replace("{name}", "jobs"));
        let mut allowed = BTreeSet::new();
        for method in ["GET", "POST", "DELETE", "PUT"] {
            let has = operations.get(method.to_ascii_lowercase()).is_some();
            let (code, headers, problem) = ask(&pages, method, &target, b"{\"topic\":\"t\"}");
            assert_eq!(code == 405, !has, "{method} {target}: {problem}");
            if has {
                allowed.insert(method);
            } else {
                let allow = headers.trim().strip_prefix("Allow: ").unwrap();
                assert_eq!(problem["status"], 405);
                let all: BTreeSet<_> = allow.split(", ").collect();
                assert!(allowed.is_subset(&all), "{target}: {allow}");
                assert_eq!(all.len(), operations.as_object().unwrap().len(), "{target}: {allow}");
            }
        }
    }
    for target in ["/api/v1/", "/api/v1/x", "/api/v1/clients/", "/api/v1/clients/a/b", "/api/v1/queues/a/purge/x"] {
        assert_eq!(ask(&pages, "GET", target, b"").0, 404, "{target}");
    }
}

/// Whether a value has the properties of a schema and no others, with their types.
fn check(document: &serde_json::Value, name: &str, value: &serde_json::Value) {
    let schema = &document["components"]["schemas"][name];
    let keys: BTreeSet<_> = value.as_object().unwrap().keys().collect();
    let described: BTreeSet<_> = schema["properties"].as_object().unwrap().keys().collect();
    assert_eq!(keys, described, "{name}");
    for (key, value) in value.as_object().unwrap() {
        let kind = match value {
            serde_json::Value::Null => "null",
            serde_json::Value::Bool(_) => "boolean",
            serde_json::Value::Number(_) => "integer",
            serde_json::Value::String(_) => "string",
            serde_json::Value::Array(_) => "array",
            serde_json::Value::Object(_) => "object",
        };
        let described = &schema["properties"][key]["type"];
        let fits = described == kind || described.as_array().is_some_and(|kinds| kinds.iter().any(|one| one == kind));
        assert!(fits, "{name}.{key} = {value}, not {described}");
    }
}

#[test]
fn the_document_describes_the_answers() {
    let (pages, document) = (busy_pages(), document());
    let get = |target: &str| {
        let (code, _, answer) = ask(&pages, "GET", &format!("/api/v1/{target}"), b"");
        assert_eq!(code, 200, "{target}: {answer}");
        answer
    };
    check(&document, "Broker", &get("broker"));
    check(&document, "Session", &get("clients/c"));
    check(&document, "Queue", &get("queues/jobs"));
    check(&document, "RetainedMessage", &get("retained?topic=r"));
    assert_eq!(get("retained?topic=r")["payload_base64"], "Mf8z");
    for (target, row) in [
        ("clients", "Session"),
        ("subscriptions", "Subscription"),
        ("subscriptions?client=c", "Subscription"),
        ("queues", "Queue"),
        ("retained", "Retained"),
        ("clients?after=&prefix=", "Session"),
    ] {
        let list = get(target);
        check(&document, &format!("{row}List"), &list);
        assert_eq!(list["items"].as_array().unwrap().len(), 1, "{target}");
        check(&document, row, &list["items"][0]);
    }
    assert_eq!(get("sessions")["items"].as_array().unwrap().len(), 0);
    check(&document, "ListenerList", &get("listeners"));
    let problem = ask(&pages, "GET", "/api/v1/clients/nobody", b"").2;
    check(&document, "Problem", &problem);
    assert_eq!(problem["status"], 404);
}

#[test]
fn requests_that_cannot_be_understood_are_told_what_to_write() {
    let pages = busy_pages();
    for (target, part) in [
        ("clients?limit=0", "limit = \"0\": not a number from 1 to 1000"),
        ("clients?limit=1001", "1000"),
        ("clients?size=1", "there are limit, after, prefix"),
        ("clients?after=x", "after is not the next"),
        ("clients?limit=1&limit=2", "comes twice"),
        ("broker?x=1", "not known here"),
    ] {
        let (code, _, problem) = ask(&pages, "GET", &format!("/api/v1/{target}"), b"");
        assert!(code == 400 && problem["detail"].as_str().unwrap().contains(part), "{target}: {problem}");
    }
    for (body, part) in [
        ("", "EOF"),
        ("{}", "missing field `topic`"),
        ("{\"topic\":\"t\",\"Qos\":1}", "unknown field `Qos`"),
        ("{\"topic\":\"t\",\"qos\":3}", "use 0, 1 or 2"),
        ("{\"topic\":\"t\",\"payload\":\"x\",\"payload_base64\":\"eA==\"}", "give one of them"),
        ("{\"topic\":\"t\",\"payload_base64\":\"eA\"}", "no base64"),
    ] {
        let (code, _, problem) = ask(&pages, "POST", "/api/v1/publish", body.as_bytes());
        assert!(code == 400 && problem["detail"].as_str().unwrap().contains(part), "{body}: {problem}");
    }
    assert_eq!(ask(&pages, "DELETE", "/api/v1/retained", b"").0, 400);
    // The worker that had the order is gone.
    assert_eq!(ask(&pages, "POST", "/api/v1/publish", b"{\"topic\":\"t\"}").0, 503);
}

#[test]
fn refusals_are_counted_and_the_numbers_stay_open() {
    let pages = pages();
    for (path, refused) in [("/api/v1/clients", 1), ("/metrics", 1), ("/api/v1/openapi.json", 1), ("/api/v1/broker", 2)]
    {
        let mut headers = [httparse::Header { name: "Origin", value: b"http://example.org" }];
        let mut request = httparse::Request::new(&mut headers);
        (request.method, request.path, request.version) = (Some("GET"), Some(path), Some(1));
        let before = pages.sources.engine.stats().admin_requests_refused;
        assert_eq!(pages.admit(&Head::of(&request)).is_err(), before < refused, "{path}");
        assert_eq!(pages.sources.engine.stats().admin_requests_refused, refused);
    }
}

#[test]
fn the_page_for_operators_asks_nobody_else() {
    let page = pages().get("/");
    assert_eq!((page.status, page.content_type), ("200 OK", HTML));
    assert!(page.headers.contains("connect-src 'self'") && page.headers.ends_with("\r\n"), "{}", page.headers);
    for outside in ["http:", "https:", "src=", "href=", "@import", "url("] {
        assert!(!page.body.contains(outside), "{outside}");
    }
    // Names of clients are texts of others.
    assert!(!page.body.contains("innerHTML"));
    for metric in page.body.split("metrics.").skip(1) {
        let name: String = metric.chars().take_while(|one| one.is_ascii_alphanumeric() || *one == '_').collect();
        assert!(METRICS.iter().any(|metric| metric.name == name), "{name}");
    }
}
