//! What happens around every request: its trace, its limits, its headers, its place in logs and numbers.

use std::time::Duration;

use actix_web::{
    Error, HttpMessage, HttpRequest, ResponseError,
    body::{self, BodySize, BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
    middleware::Next,
    web::Data,
};
use tracing::{Instrument, field::Empty};

use crate::{
    Edge,
    cors::{self, Sharing},
    limits::{Door, Standing},
    pages,
    peer::Peer,
    problem::Problem,
    record,
};

/// The trace a request belongs to: its id in answers, logs, commands and events.
#[derive(Debug, Clone, Copy)]
struct Trace(u128);

/// The trace of a request.
pub(crate) fn trace(request: &HttpRequest) -> u128 {
    request.extensions().get::<Trace>().map_or(0, |trace| trace.0)
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What every answer carries unless its handler says otherwise: nothing here is for a browser to run,
/// frame, sniff or keep.
const HARDENED: [(HeaderName, HeaderValue); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    (header::CROSS_ORIGIN_OPENER_POLICY, HeaderValue::from_static("same-origin")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// Browsers that were here once come by HTTPS for the next two years (RFC 6797), where that is how one comes at all.
const HTTPS_ONLY: HeaderValue = HeaderValue::from_static("max-age=63072000");

/// Serves one request within the limits, and makes whatever comes of it an answer of ours.
pub(crate) async fn attend(
    edge: Data<Edge>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let clock = edge.node.clock();
    let (watch, trace) = (clock.stopwatch(), incoming(request.headers()).unwrap_or_else(|| clock.fresh_id()));
    // By the path as the router reads it: a letter that comes percent-encoded is that letter.
    let route = request.resource_map().match_pattern(request.match_info().as_str());
    let (method, route) = (request.method().clone(), route.as_deref().unwrap_or("none"));
    let id = format!("{trace:032x}");
    let span = tracing::info_span!("request", http.method = %method, http.route = route, http.status = Empty, trace = id);
    request.extensions_mut().insert(Trace(trace));

    let sharing = Sharing::of(&edge.settings.origins, &request, route);
    let preflight = sharing.as_ref().and_then(Sharing::preflight);
    let (served, standing) = match preflight {
        Some(answer) => (Ok(request.into_response(answer)), None),
        None => within_limits(&edge, request, route, next).instrument(span.clone()).await,
    };

    let mut outcome = finished(served, &id);
    if let Ok(response) = &mut outcome {
        let headers = response.headers_mut();
        if edge.is_https() {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, HTTPS_ONLY);
        }
        if let Some(standing) = standing {
            standing.say(headers);
        }
        if let Some(sharing) = sharing {
            sharing.say(headers);
        }
    }
    let status = match &outcome {
        Ok(response) => response.status(),
        Err(error) => error.as_response_error().status_code(),
    };
    span.record("http.status", status.as_u16());
    if let Ok(response) = &outcome {
        span.in_scope(|| record::answered(&edge, response.request(), &method, route, status));
    }
    tracing::debug!(parent: &span, elapsed_us = watch.elapsed().as_micros(), "answered");
    edge.traffic.answered(&method, route, status, watch.elapsed());
    outcome
}

/// Serves what its network may ask at this door, and nothing another site sends through a browser; says how the
/// door's limit stands, unless the refusal says it.
async fn within_limits(
    edge: &Edge,
    request: ServiceRequest,
    route: &str,
    next: Next<impl MessageBody + 'static>,
) -> (Result<ServiceResponse<BoxBody>, Error>, Option<Standing>) {
    if cors::is_foreign(edge, &request, route) {
        return (Ok(request.error_response(Problem::foreign())), None);
    }
    let Some(door) = Door::of(request.method(), route) else {
        return (bounded(edge, request, next).await, None);
    };
    let network = Peer::of(request.request(), edge).network;
    match edge.limits.enter(door, network, edge.node.clock().now()) {
        Ok(standing) => (bounded(edge, request, next).await, standing),
        Err(over) => {
            let refused = pages::refused(route, Problem::too_many(over));
            (Ok(request.error_response(refused)), None)
        }
    }
}

/// Serves HEAD as the GET it asks about (RFC 9110 s. 9.3.2); the server's encoder leaves the body out. Only a GET
/// upgrades to a WebSocket (RFC 6455 s. 4.1).
pub(crate) async fn head_as_get(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let is_head = *request.method() == Method::HEAD && !request.headers().contains_key(header::UPGRADE);
    if is_head {
        request.head_mut().method = Method::GET;
    }
    let response = next.call(request).await?.map_into_boxed_body();
    // A stream that nobody reads would go on for ever.
    let is_stream = response.response().body().size() == BodySize::Stream;
    Ok(if is_head && is_stream {
        response.map_body(|_, _stream| BoxBody::new(body::None::new()))
    } else {
        response
    })
}

/// Runs the handler if there is room for one more, and no longer than it may take.
async fn bounded(
    edge: &Edge,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(_in_flight) = edge.traffic.enter(edge.settings.in_flight_max) else {
        return Err(Problem::overloaded().into());
    };
    if header_bytes(request.headers()) > edge.settings.header_bytes_max {
        return Err(Problem::headers_too_large(edge.settings.header_bytes_max).into());
    }
    // A handler's own deadline ends first; this one is for bodies that trickle in.
    let patience = edge.settings.deadline.saturating_add(Duration::from_secs(1));
    match tokio::time::timeout(patience, next.call(request)).await {
        Ok(outcome) => outcome.map(ServiceResponse::map_into_boxed_body),
        Err(_elapsed) => Err(Problem::too_slow().into()),
    }
}

/// Failures, ours and the framework's, become problems that name the request, but for pages, which tell them
/// themselves; all answers are hardened.
fn finished(
    outcome: Result<ServiceResponse<BoxBody>, Error>,
    id: &str,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let response = outcome.map_err(|error| Problem::of(&error).of_request(id))?;
    let failure = response.response().error().filter(|error| !pages::tells_itself(error));
    let problem = failure.map(|error| Problem::of(error).of_request(id));
    let mut response = match problem {
        Some(problem) => response.into_response(problem.error_response()),
        None => response,
    };
    harden(response.headers_mut(), id);
    Ok(response)
}

/// Names the request, and fills in what the handler left open.
pub(crate) fn harden(headers: &mut HeaderMap, id: &str) {
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    for (name, value) in HARDENED {
        if !headers.contains_key(&name) {
            headers.insert(name, value);
        }
    }
}

fn header_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len().saturating_add(value.len())).sum()
}

/// The trace id of a valid `traceparent` (W3C Trace Context s. 3.2), so that a caller's trace goes on here.
fn incoming(headers: &HeaderMap) -> Option<u128> {
    let mut parts = headers.get("traceparent")?.to_str().ok()?.split('-');
    let (version, trace, parent) = (parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_valid = is_hex(version, 2) && version != "ff" && is_hex(trace, 32) && is_hex(parent, 16);
    let trace = u128::from_str_radix(trace, 16).ok()?;
    (is_valid && trace != 0).then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_traceparent_goes_on_and_any_other_is_ignored() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static("traceparent"), HeaderValue::from_static(text));
            incoming(&headers)
        };
        assert_eq!(
            of("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            Some(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736)
        );
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
        assert_eq!(incoming(&HeaderMap::new()), None);
    }
}
