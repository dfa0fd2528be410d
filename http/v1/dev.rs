//! The dev inbox: mails that were caught, for whoever builds on the installation. It opens only to the machine itself.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderMap},
    web::{Bytes, Data},
};
use futures_util::stream;
use prognet_actors::communication::{DevInbox, channel::dev_inbox::Caught};
use prognet_sdk::{DevHeader, DevMessage, DevMessages};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Problems;
use crate::{Edge, input::Query, problem::Problem};

/// The longest wait for a mail.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// What proxies add: behind one a stranger would look as if they sat at the machine.
const PROXIED: [&str; 3] = ["forwarded", "x-forwarded-for", "x-real-ip"];

/// Which mails.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// Those to this address alone.
    to: Option<String>,
    /// Those after the mail with this number alone.
    after: Option<u64>,
    /// If there are none yet, waits for one this long, e.g. `10s`; at most 30 s.
    wait: Option<String>,
}

/// Mails that were caught instead of being sent, the last 200, oldest first; the same at every node.
///
/// There is no such place (404) unless the dev inbox is on and the request comes from this very machine.
#[utoipa::path(get, path = "/v1/dev/messages", tag = "dev", params(Wanted),
    responses((status = 200, description = "The mails", body = DevMessages), Problems), security(()))]
pub(crate) async fn messages(
    request: HttpRequest,
    Query(wanted): Query<Wanted>,
    edge: Data<Edge>,
) -> Result<HttpResponse, Problem> {
    let inbox = inbox(&request, &edge).ok_or_else(Problem::not_found)?;
    let patience = wanted.wait.as_deref().map(seconds).transpose()?.unwrap_or_default();
    let after = wanted.after.unwrap_or_default();
    let found = inbox.after(&edge.node, after, wanted.to.as_deref()).await?;
    if !found.is_empty() || patience.is_zero() {
        return Ok(HttpResponse::Ok().json(views(&found)));
    }
    let mut closing = edge.closing.subscribe();
    // The answer begins at once, so that waiting is not taken for a slow request.
    let body = async move {
        let found = tokio::select! {
            found = inbox.wait(&edge.node, after, wanted.to.as_deref(), patience) => found.unwrap_or_default(),
            _ = closing.wait_for(|is_closing| *is_closing) => Vec::new(),
        };
        Ok::<_, Infallible>(Bytes::from(serde_json::to_vec(&views(&found)).unwrap_or_default()))
    };
    Ok(HttpResponse::Ok().content_type("application/json").streaming(stream::once(body)))
}

/// The dev inbox, if it is on and a request may see it.
pub(crate) fn inbox(request: &HttpRequest, edge: &Edge) -> Option<DevInbox> {
    let is_here = is_from_here(request.peer_addr(), request.headers());
    edge.settings.dev_inbox.clone().filter(|_| is_here)
}

fn seconds(text: &str) -> Result<Duration, Problem> {
    let number = text.strip_suffix('s').and_then(|number| number.parse().ok());
    let wait = number.map(Duration::from_secs).filter(|wait| *wait <= WAIT_MAX);
    wait.ok_or_else(|| Problem::field("wait", "whole seconds, at most 30, such as 10s"))
}

/// Whether it was sent from this machine, to this machine by that name, without anybody in between: a page of
/// another site that has its name point here is not.
fn is_from_here(peer: Option<SocketAddr>, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _port)| name);
    let address = name.trim_matches(['[', ']']).parse::<IpAddr>();
    let is_named_here = name == "localhost"
        || name.ends_with(".localhost")
        || address.is_ok_and(|address| address.is_loopback());
    let is_direct = !PROXIED.iter().any(|name| headers.contains_key(*name));
    peer.is_some_and(|peer| peer.ip().is_loopback()) && is_named_here && is_direct
}

fn views(found: &[Caught]) -> DevMessages {
    DevMessages { data: found.iter().map(view).collect() }
}

/// A mail as it crosses the door.
pub(crate) fn view(caught: &Caught) -> DevMessage {
    let header = |(name, value): &(String, String)| DevHeader { name: name.clone(), value: value.clone() };
    DevMessage {
        number: caught.number,
        to: caught.to.clone(),
        from: caught.from.clone(),
        subject: caught.subject.clone(),
        text: caught.text.clone(),
        html: caught.html.clone(),
        headers: caught.headers.iter().map(header).collect(),
        links: caught.links.clone(),
        raw: caught.raw.clone(),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn is_let_in(peer: &str, lines: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        is_from_here(peer.parse().ok(), &headers)
    }

    #[test]
    fn only_the_machine_itself_sees_the_dev_inbox() {
        for host in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "app.localhost", "127.0.0.1"] {
            assert!(is_let_in("127.0.0.1:9", &[("host", host)]), "{host}");
        }
        assert!(is_let_in("[::1]:9", &[("host", "localhost")]));
        assert!(!is_let_in("192.0.2.1:9", &[("host", "localhost")]));
        // A page of another site, whose name points here.
        assert!(!is_let_in("127.0.0.1:9", &[("host", "evil.example:8080")]));
        assert!(!is_let_in("127.0.0.1:9", &[]));
        assert!(!is_let_in("127.0.0.1:9", &[("host", "localhost"), ("x-forwarded-for", "192.0.2.1")]));
    }

    #[test]
    fn a_wait_has_a_bound() {
        assert_eq!(seconds("10s").unwrap(), Duration::from_secs(10));
        for bad in ["10", "31s", "-1s", "soon", "s"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
