//! Errors of the API as documents of RFC 9457. Each names the fault in the request, or the state of the broker, and the remedy.

use serde::Serialize;
use wisp_engine::OrderError;

use super::page::Page;

const PROBLEM: &str = "application/problem+json";

/// The document of an error.
#[derive(Debug, Serialize)]
pub(super) struct Problem<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
}

/// An error. `status` is code and phrase.
pub(super) fn problem(status: &'static str, detail: &str) -> Page {
    let (code, title) = status.split_once(' ').unwrap_or((status, ""));
    let problem = Problem { kind: "about:blank", title, status: code.parse().unwrap_or(500), detail };
    let mut body = serde_json::to_string(&problem).expect("texts and a number are JSON");
    body.push('\n');
    Page::new(status, PROBLEM, body).with("X-Content-Type-Options: nosniff\r\n")
}

/// The error of an action that was not carried out.
pub(super) fn of_order(error: OrderError) -> Page {
    let status = match error {
        OrderError::NotConnected | OrderError::NoSession | OrderError::NoQueue | OrderError::NotRetained => {
            "404 Not Found"
        }
        OrderError::Reserved => "403 Forbidden",
        OrderError::Topic => "400 Bad Request",
        OrderError::RetainUnavailable => "409 Conflict",
        OrderError::TooLong => "413 Content Too Large",
        OrderError::StoreFailed => "500 Internal Server Error",
        _ => "503 Service Unavailable",
    };
    let page = problem(status, &error.to_string());
    if status.starts_with("503") { page.with("X-Content-Type-Options: nosniff\r\nRetry-After: 1\r\n") } else { page }
}
