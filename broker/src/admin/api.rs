//! The JSON API below `/api/v1`: an operator looks at the broker and acts.
//!
//! ```text
//!  head --> route --> guard --> body, if there is one --> page
//!                                                    '--> action --> result --> page
//! ```

use std::borrow::Cow;

use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};
use serde_json::json;
use wisp_engine::{
    Action, Done, LIST_ITEMS_MAX, ListQuery, METRICS, NewMessage, Order, OrderError, PendingAction, Presence,
};
use wisp_wire::QoS;

use super::page::Page;
use super::problem::{of_order, problem};
use super::request::{Head, Parameters};
use super::rows::{Items, Listener, Message, Queue, Retained, Session, Subscription};
use super::sources::{HOST, Sources};

/// Longest body.
pub(crate) const BODY_BYTES_MAX: usize = 128 * 1024;

pub(super) const PREFIX: &str = "/api/v1/";

const JSON: &str = "application/json";

const DOCUMENT: &str = include_str!("openapi.json");

/// The rows of a page if the request does not say how many.
const ITEMS: usize = 100;

/// A page for the client of the API, or an action whose result becomes the page.
#[derive(Debug)]
pub(crate) enum Reply {
    Page(Page),
    Action(Order, PendingReply),
}

/// The answer to an action that is under way.
#[derive(Debug)]
pub(crate) struct PendingReply(PendingAction);

impl PendingReply {
    /// The answer, if it is there.
    pub(crate) fn poll(&self) -> Option<Page> {
        Some(match self.0.poll()? {
            Err(error) => of_order(error),
            Ok(Done::Disconnected) => page(&json!({ "disconnected": true })),
            Ok(Done::Cleared) => page(&json!({ "cleared": true })),
            Ok(Done::Purged { messages }) => page(&json!({ "purged": messages })),
            Ok(Done::Published { has_receivers }) => page(&json!({ "has_receivers": has_receivers })),
            Ok(_) => page(&json!({})),
        })
    }
}

/// The part of the API that a path and a method name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    Document,
    Broker,
    Listeners,
    Clients,
    Client(Cow<'a, str>),
    Disconnect(Cow<'a, str>),
    Sessions,
    PurgeSession(Cow<'a, str>),
    Subscriptions,
    Queues,
    Queue(String),
    PurgeQueue(String),
    Retained,
    ClearRetained,
    Publish,
}

impl<'a> Route<'a> {
    /// The route of a request, or its refusal. `None` for a path that is not the API's.
    pub(super) fn of(head: &Head<'a>) -> Option<Result<Self, Page>> {
        let parts = head.parts(PREFIX)?;
        let (names, id): (Vec<&str>, _) = match &parts[..] {
            [first, id, rest @ ..] if !id.is_empty() => {
                ([&**first, "{}"].into_iter().chain(rest.iter().map(|part| &**part)).collect(), Some(id.clone()))
            }
            parts => (parts.iter().map(|part| &**part).collect(), None),
        };
        let id = || id.clone().unwrap_or_default();
        let (route, allow) = match (head.method, &names[..]) {
            ("GET", ["openapi.json"]) => (Some(Self::Document), GET),
            ("GET", ["broker"]) => (Some(Self::Broker), GET),
            ("GET", ["listeners"]) => (Some(Self::Listeners), GET),
            ("GET", ["clients"]) => (Some(Self::Clients), GET),
            ("GET", ["clients", "{}"]) => (Some(Self::Client(id())), GET),
            ("DELETE", ["clients", "{}"]) => (Some(Self::Disconnect(id())), GET),
            ("GET", ["sessions"]) => (Some(Self::Sessions), GET),
            ("POST", ["sessions", "{}", "purge"]) => (Some(Self::PurgeSession(id())), POST),
            ("GET", ["subscriptions"]) => (Some(Self::Subscriptions), GET),
            ("GET", ["queues"]) => (Some(Self::Queues), GET),
            ("GET", ["queues", "{}"]) => (Some(Self::Queue(full_name(&id()))), GET),
            ("POST", ["queues", "{}", "purge"]) => (Some(Self::PurgeQueue(full_name(&id()))), POST),
            ("GET", ["retained"]) => (Some(Self::Retained), GET),
            ("DELETE", ["retained"]) => (Some(Self::ClearRetained), GET),
            ("POST", ["publish"]) => (Some(Self::Publish), POST),
            (_, ["publish"] | ["sessions" | "queues", "{}", "purge"]) => (None, POST),
            (_, ["clients", "{}"] | ["retained"]) => (None, GET_DELETE),
            (_, ["openapi.json" | "broker" | "listeners" | "clients" | "sessions" | "subscriptions" | "queues"]) => {
                (None, GET)
            }
            (_, ["queues", "{}"]) => (None, GET),
            _ => {
                let detail =
                    "there is no such path: /api/v1/openapi.json describes all; a name in a path is percent-encoded";
                return Some(Err(problem("404 Not Found", detail)));
            }
        };
        let refused = || {
            let detail = format!("{} is not possible here: the Allow header has the methods", head.method);
            problem("405 Method Not Allowed", &detail).with(allow)
        };
        Some(route.ok_or_else(refused))
    }

    /// Whether it changes anything.
    pub(super) fn is_action(&self) -> bool {
        let purges = matches!(self, Self::PurgeSession(_) | Self::PurgeQueue(_));
        purges || matches!(self, Self::Disconnect(_) | Self::ClearRetained | Self::Publish)
    }
}

const GET: &str = "Allow: GET\r\n";
const GET_DELETE: &str = "Allow: GET, DELETE\r\n";
const POST: &str = "Allow: POST\r\n";

/// The full name of a queue of which a path has a part: groups are named in full.
fn full_name(name: &str) -> String {
    if name.starts_with("$queue/") || name.starts_with("$share/") { name.to_owned() } else { format!("$queue/{name}") }
}

/// The body of a request to publish.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishBody {
    topic: String,
    payload: Option<String>,
    payload_base64: Option<String>,
    #[serde(default)]
    qos: u8,
    #[serde(default)]
    retain: bool,
}

impl PublishBody {
    fn parse(body: &[u8]) -> Result<NewMessage, String> {
        let Self { topic, payload, payload_base64, qos, retain } =
            serde_json::from_slice(body).map_err(|error| format!("the body: {error}"))?;
        let qos = match qos {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            2 => QoS::ExactlyOnce,
            _ => return Err(format!("qos = {qos}: use 0, 1 or 2")),
        };
        let payload = match (payload, payload_base64) {
            (Some(_), Some(_)) => return Err("payload and payload_base64: give one of them".to_owned()),
            (Some(text), None) => text.into_bytes(),
            (None, Some(text)) => {
                Base64::decode_vec(&text).map_err(|_| "payload_base64 is no base64 with padding".to_owned())?
            }
            (None, None) => Vec::new(),
        };
        Ok(NewMessage { topic, payload, qos, retain })
    }
}

fn page(document: &impl Serialize) -> Page {
    let mut body = serde_json::to_string(document).expect("the documents have text as keys");
    body.push('\n');
    Page::new("200 OK", JSON, body).with("X-Content-Type-Options: nosniff\r\n")
}

fn bad(detail: &str) -> Page {
    problem("400 Bad Request", detail)
}

/// The page of a list that the parameters ask for.
fn query<'a>(parameters: &'a Parameters<'_>) -> Result<ListQuery<'a>, Page> {
    let most = match parameters.get("limit") {
        None => ITEMS,
        Some(text) => match text.parse() {
            Ok(most @ 1..=LIST_ITEMS_MAX) => most,
            _ => return Err(bad(&format!("limit = {text:?}: not a number from 1 to {LIST_ITEMS_MAX}"))),
        },
    };
    let after = parameters.get("after").filter(|after| !after.is_empty());
    Ok(ListQuery { after, most, prefix: parameters.get("prefix").unwrap_or_default() })
}

const LIST: [&str; 3] = ["limit", "after", "prefix"];
const LIST_OF_CLIENT: [&str; 4] = ["limit", "after", "prefix", "client"];
const LIST_OR_TOPIC: [&str; 4] = ["limit", "after", "prefix", "topic"];

fn invalid_cursor() -> Page {
    bad("after is not the next of a page of this list")
}

/// The answer to a request that the guard has let through.
pub(super) fn answer(sources: &Sources, route: Route<'_>, head: &Head<'_>, body: &[u8]) -> Result<Reply, Page> {
    let action = match route {
        Route::Disconnect(client_id) => Action::Disconnect { client_id: client_id.into_owned() },
        Route::PurgeSession(client_id) => Action::PurgeSession { client_id: client_id.into_owned() },
        Route::PurgeQueue(name) => Action::PurgeQueue { name },
        Route::ClearRetained => {
            let parameters = head.parameters(&["topic"])?;
            let topic = parameters.get("topic").ok_or_else(|| bad("the parameter topic is missing"))?;
            Action::ClearRetained { topic: topic.to_owned() }
        }
        Route::Publish => Action::Publish(PublishBody::parse(body).map_err(|detail| bad(&detail))?),
        looks => return look(sources, &looks, head).map(Reply::Page),
    };
    let (order, pending) = Order::new(action);
    Ok(Reply::Action(order, PendingReply(pending)))
}

fn look(sources: &Sources, route: &Route<'_>, head: &Head<'_>) -> Result<Page, Page> {
    let engine = &sources.engine;
    let parameters = head.parameters(match route {
        Route::Clients | Route::Sessions | Route::Queues => &LIST,
        Route::Subscriptions => &LIST_OF_CLIENT,
        Route::Retained => &LIST_OR_TOPIC,
        _ => &[],
    })?;
    let query = query(&parameters)?;
    Ok(match route {
        Route::Document => Page::new("200 OK", JSON, DOCUMENT.to_owned()),
        Route::Broker => page(&broker(sources)),
        Route::Listeners => page(&Items::all(sources.listeners().into_iter().map(Listener::from).collect())),
        Route::Clients | Route::Sessions => {
            let wanted = if *route == Route::Clients { Presence::Connected } else { Presence::Away };
            let list = engine.list_sessions(&query, wanted).map_err(|_| invalid_cursor())?;
            page(&Items::of(list, Session::from))
        }
        Route::Client(client_id) => {
            let found = engine.find_session_row(client_id);
            page(&Session::from(found.ok_or_else(|| of_order(OrderError::NoSession))?))
        }
        Route::Subscriptions => {
            let list = match parameters.get("client") {
                Some(client_id) => {
                    let list = engine.list_subscriptions_of(client_id, &query);
                    list.ok_or_else(|| of_order(OrderError::NoSession))?
                }
                None => engine.list_subscriptions(&query).map_err(|_| invalid_cursor())?,
            };
            page(&Items::of(list, Subscription::from))
        }
        Route::Queue(name) => page(&Queue::from(engine.find_queue(name).ok_or_else(|| of_order(OrderError::NoQueue))?)),
        Route::Retained => match parameters.get("topic") {
            Some(topic) => {
                let message = engine.retained_message(topic);
                page(&Message::from(message.ok_or_else(|| of_order(OrderError::NotRetained))?))
            }
            None => page(&Items::of(engine.list_retained(&query), Retained::from)),
        },
        _ => page(&Items::of(engine.list_queues(&query), Queue::from)),
    })
}

fn broker(sources: &Sources) -> serde_json::Value {
    let stats = sources.engine.stats();
    let metrics = METRICS.iter().map(|metric| (metric.name.to_owned(), (metric.value)(&stats).into()));
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "host": HOST,
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "uptime_s": sources.started.elapsed().as_secs(),
        "ready": sources.engine.admits_clients(),
        "memory_bytes": (sources.memory_bytes)(),
        "metrics": metrics.collect::<serde_json::Map<_, _>>(),
    })
}
