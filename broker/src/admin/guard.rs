//! The right to use the API. The owner of the token has it. Without a token, requests on a loopback address may look and not act.
//! Web pages of other sites are refused.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use subtle::ConstantTimeEq;
use wisp_engine::sync::{RwLock, rank};

use super::page::Page;
use super::problem::problem;
use super::request::Head;

/// The rule about requests to the API.
pub(crate) struct Guard {
    token: RwLock<Option<Box<str>>, { rank::LEAF }>,
    /// The listener's address.
    address: SocketAddr,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("has_token", &self.token.read().is_some())
            .field("address", &self.address)
            .finish()
    }
}

/// Why a request is refused: for the log, and the answer.
pub(super) struct Refusal {
    pub(super) reason: &'static str,
    pub(super) page: Page,
}

fn refusal(status: &'static str, reason: &'static str, remedy: &str) -> Refusal {
    Refusal { reason, page: problem(status, &format!("{reason}: {remedy}")) }
}

impl Guard {
    pub(crate) fn new(address: SocketAddr, token: Option<Box<str>>) -> Self {
        Self { token: RwLock::new(token), address }
    }

    /// Takes another token. False if it is the same.
    pub(super) fn set_token(&self, token: Option<Box<str>>) -> bool {
        let mut current = self.token.write();
        let is_new = *current != token;
        *current = token;
        is_new
    }

    /// Whether a request may look, or act if it is an action.
    pub(super) fn check(&self, head: &Head<'_>, is_action: bool) -> Result<(), Refusal> {
        let host = head.text("host");
        if !is_of_same_site(head, host) {
            let reason = "the request comes from a page of another site";
            return Err(refusal("403 Forbidden", reason, "open the API itself, or use a program that is no browser"));
        }
        let token = self.token.read();
        let Some(token) = &*token else {
            if is_action {
                let reason = "actions need a token, and the broker has none";
                let remedy = "start it with admin-token-file, and send Authorization: Bearer TOKEN";
                return Err(refusal("403 Forbidden", reason, remedy));
            }
            if !self.address.ip().is_loopback() {
                let reason = "without a token the API is open on loopback addresses only";
                return Err(refusal("403 Forbidden", reason, "start the broker with admin-token-file"));
            }
            if !host.is_none_or(is_literal) {
                // A name may be one of another site that leads to this address.
                let reason = "Host is a name";
                let remedy = "use the IP address or localhost, or start the broker with admin-token-file";
                return Err(refusal("403 Forbidden", reason, remedy));
            }
            return Ok(());
        };
        let given = head.text("authorization").and_then(|text| text.split_once(' '));
        let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, given)| given.trim());
        let is_right = given.is_some_and(|given| given.as_bytes().ct_eq(token.as_bytes()).into());
        if is_right {
            return Ok(());
        }
        let reason = if given.is_some() { "the token is wrong" } else { "the request has no token" };
        let mut refused =
            refusal("401 Unauthorized", reason, "send Authorization: Bearer TOKEN with the text of admin-token-file");
        refused.page = refused.page.with("X-Content-Type-Options: nosniff\r\nWWW-Authenticate: Bearer\r\n");
        Err(refused)
    }
}

/// Whether a browser says that the request is of a page from this address, or nothing about it.
fn is_of_same_site(head: &Head<'_>, host: Option<&str>) -> bool {
    let is_own = |origin: &str| {
        let site = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        site.zip(host).is_some_and(|(site, host)| site.eq_ignore_ascii_case(host))
    };
    let fetched_by = head.text("sec-fetch-site");
    head.text("origin").is_none_or(is_own) && fetched_by.is_none_or(|site| matches!(site, "same-origin" | "none"))
}

/// Whether a Host is an IP address or localhost, with a port or without.
fn is_literal(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || inner.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The code of the refusal of a request with these headers.
    fn code(guard: &Guard, headers: &[(&str, &str)], is_action: bool) -> Option<u16> {
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| httparse::Header { name, value: value.as_bytes() }).collect();
        let mut headers = headers;
        let mut request = httparse::Request::new(&mut headers);
        request.version = Some(1);
        let refused = guard.check(&Head::of(&request), is_action).err()?;
        refused.page.status[..3].parse().ok()
    }

    #[test]
    fn without_a_token_a_loopback_address_lets_everyone_look_and_nobody_act() {
        let guard = Guard::new(([127, 0, 0, 1], 9090).into(), None);
        for host in ["127.0.0.1:9090", "localhost", "LOCALHOST:9", "[::1]:9090", "192.0.2.7"] {
            assert_eq!(code(&guard, &[("Host", host)], false), None, "{host}");
        }
        assert_eq!(code(&guard, &[], false), None);
        for host in ["example.org", "example.org:9090", "localhost.example.org", "127.0.0.1.example.org", ""] {
            assert_eq!(code(&guard, &[("Host", host)], false), Some(403), "{host}");
        }
        assert_eq!(code(&guard, &[("Host", "localhost")], true), Some(403));
        let open = Guard::new(([0, 0, 0, 0], 9090).into(), None);
        assert_eq!(code(&open, &[("Host", "127.0.0.1:9090")], false), Some(403));
    }

    #[test]
    fn with_a_token_nothing_works_without_it_and_everything_with_it() {
        for address in [[127, 0, 0, 1], [0, 0, 0, 0]] {
            let guard = Guard::new((address, 9090).into(), Some("0123456789abcdef".into()));
            for is_action in [false, true] {
                for wrong in
                    ["Bearer 0123456789abcdeg", "Bearer 0123456789abcde", "Basic 0123456789abcdef", "Bearer", ""]
                {
                    assert_eq!(code(&guard, &[("Authorization", wrong)], is_action), Some(401), "{wrong}");
                }
                assert_eq!(code(&guard, &[], is_action), Some(401));
                let right = ("authorization", "bearer  0123456789abcdef ");
                assert_eq!(code(&guard, &[right, ("Host", "broker.example.org")], is_action), None);
            }
        }
    }

    #[test]
    fn pages_of_other_sites_are_refused_with_and_without_a_token() {
        let open = Guard::new(([127, 0, 0, 1], 9090).into(), None);
        let closed = Guard::new(([127, 0, 0, 1], 9090).into(), Some("0123456789abcdef".into()));
        let (host, token) = (("Host", "127.0.0.1:9090"), ("Authorization", "Bearer 0123456789abcdef"));
        for (name, value, expected) in [
            ("Origin", "http://127.0.0.1:9090", None),
            ("Origin", "https://127.0.0.1:9090", None),
            ("Origin", "http://127.0.0.1:80", Some(403)),
            ("Origin", "http://example.org", Some(403)),
            ("Origin", "null", Some(403)),
            ("Sec-Fetch-Site", "same-origin", None),
            ("Sec-Fetch-Site", "none", None),
            ("Sec-Fetch-Site", "cross-site", Some(403)),
            ("Sec-Fetch-Site", "same-site", Some(403)),
        ] {
            assert_eq!(code(&open, &[host, (name, value)], false), expected, "{value}");
            assert_eq!(code(&closed, &[host, token, (name, value)], true), expected, "{value}");
        }
    }
}
