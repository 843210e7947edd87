//! The head of a request, and its parts as text.

use std::borrow::Cow;

use httparse::{Header, Request};
use percent_encoding::percent_decode_str;

use super::page::Page;
use super::problem::problem;

/// The head of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    pub(crate) method: &'a str,
    /// Without the query.
    pub(crate) path: &'a str,
    query: &'a str,
    headers: &'a [Header<'a>],
    is_http_11: bool,
}

impl<'a> Head<'a> {
    pub(crate) fn of(request: &'a Request<'a, 'a>) -> Self {
        let target = request.path.unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (method, is_http_11) = (request.method.unwrap_or_default(), request.version == Some(1));
        Self { method, path, query, headers: request.headers, is_http_11 }
    }

    /// The values of a header, in their order.
    fn values(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        let named = self.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value.trim_ascii())
    }

    /// A header that is text.
    pub(super) fn text(&self, name: &'static str) -> Option<&'a str> {
        self.values(name).next().and_then(|value| str::from_utf8(value).ok())
    }

    fn is_chunked(&self) -> bool {
        self.values("transfer-encoding").next().is_some()
    }

    /// Whether it announces a body.
    pub(crate) fn has_body(&self) -> bool {
        self.is_chunked() || self.values("content-length").any(|length| length != b"0")
    }

    /// Whether the client waits for a word before it sends the body.
    pub(crate) fn waits_for_continue(&self) -> bool {
        self.text("expect").is_some_and(|text| text.eq_ignore_ascii_case("100-continue"))
    }

    /// Whether the client wants no answer after this one, or cannot take one.
    pub(crate) fn is_last(&self) -> bool {
        let mut tokens = self.values("connection").flat_map(|value| value.split(|byte| *byte == b','));
        !self.is_http_11 || tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"close"))
    }

    /// The length of the body, `max` at most.
    pub(super) fn body_len(&self, max: usize) -> Result<usize, Page> {
        let mut lengths = self.values("content-length");
        let length = lengths.next();
        if self.is_chunked() || length.is_none() {
            return Err(problem(
                "411 Length Required",
                "the request has no Content-Length: send the body in one piece",
            ));
        }
        let length = length.filter(|_| lengths.next().is_none()).and_then(|length| str::from_utf8(length).ok());
        match length.and_then(|length| length.parse::<usize>().ok()) {
            None => Err(problem("400 Bad Request", "Content-Length is not one number")),
            Some(length) if length > max => {
                let detail =
                    format!("the body has {length} bytes, and {max} are allowed: publish longer messages by MQTT");
                Err(problem("413 Content Too Large", &detail))
            }
            Some(length) => Ok(length),
        }
    }

    /// The parts of the path behind `prefix`, decoded. `None` if it begins otherwise or is no UTF-8.
    pub(super) fn parts(&self, prefix: &str) -> Option<Vec<Cow<'a, str>>> {
        let rest = self.path.strip_prefix(prefix)?;
        rest.split('/').map(|part| percent_decode_str(part).decode_utf8().ok()).collect()
    }

    /// The parameters of the query, of which only `known` ones make sense.
    pub(super) fn parameters(&self, known: &[&str]) -> Result<Parameters<'a>, Page> {
        let parameters: Vec<_> = form_urlencoded::parse(self.query.as_bytes()).collect();
        for (place, (name, _)) in parameters.iter().enumerate() {
            if !known.contains(&&**name) {
                let detail = format!("the parameter {name:?} is not known here: there are {}", known.join(", "));
                return Err(problem("400 Bad Request", &detail));
            }
            if parameters[..place].iter().any(|(earlier, _)| earlier == name) {
                return Err(problem("400 Bad Request", &format!("the parameter {name:?} comes twice: give it once")));
            }
        }
        Ok(Parameters(parameters))
    }
}

/// The parameters of a query.
#[derive(Debug)]
pub(super) struct Parameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl Parameters<'_> {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }
}
