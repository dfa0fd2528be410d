//! Other sites' scripts (the Fetch standard, s. 3.2): those of the sites on a list may ask the API, no others.
//!
//! Cookies open no route of the API, so none are let through: `Access-Control-Allow-Credentials` is never said, and
//! neither is `*`. Pages are for no other site at all. What another site's script or form sends all the same, to doors
//! that take strangers, is refused before it has an effect.

use actix_web::{
    HttpResponse,
    dev::ServiceRequest,
    http::{
        Method,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
};

use crate::Edge;

/// What a script may send.
const ALLOWED_HEADERS: &str =
    "authorization, content-type, idempotency-key, if-match, last-event-id, traceparent";
/// What a script may read of an answer beside its body.
const EXPOSED_HEADERS: &str = "etag, retry-after, ratelimit, ratelimit-policy, prognet-consistency, \
    x-request-id, www-authenticate";
/// How a script may ask; which methods a route takes, the route says.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
/// How long a browser keeps the answer to its preflight: a site that is taken off the list is out as soon.
const MAX_AGE_S: &str = "600";

/// What a browser says of where a request comes from (Fetch Metadata).
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The sites whose scripts may ask the API.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(Vec<HeaderValue>);

impl Origins {
    /// The origins that a list names; none if a part of it is no origin.
    #[must_use]
    pub fn parse(list: &str) -> Option<Self> {
        let parts = list.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(origin).collect::<Option<_>>().map(Self)
    }
}

/// As browsers write one: scheme, host in lower case, and a port that is not the scheme's.
fn origin(text: &str) -> Option<HeaderValue> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:[]".contains(&byte);
    let is_origin = !host.is_empty() && host.bytes().all(is_part);
    is_origin.then(|| HeaderValue::from_str(text).ok()).flatten()
}

/// Whether another site that is not on the list sent something that changes the state of things.
///
/// Browsers say so (`Origin`, `Sec-Fetch-Site`); whoever is no browser says nothing.
pub(crate) fn is_foreign(edge: &Edge, request: &ServiceRequest, route: &str) -> bool {
    let is_safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    if is_safe || !route.starts_with("/v1") {
        return false;
    }
    let said = |name| request.headers().get(name).map(HeaderValue::as_bytes);
    let (origin, site) = (said(header::ORIGIN), said(SITE));
    let own = match &edge.settings.auth.issuer {
        Some(public) => public.clone().into_bytes(),
        None => [b"http://", said(header::HOST).unwrap_or_default()].concat(),
    };
    let is_listed = |origin: &[u8]| edge.settings.origins.0.iter().any(|known| known.as_bytes() == origin);
    match origin {
        Some(origin) => origin != own && !is_listed(origin),
        None => site == Some(b"cross-site".as_slice()),
    }
}

/// What another site's script is told.
#[derive(Debug)]
pub(crate) struct Sharing {
    /// The script's site, if it is on the list.
    with: Option<HeaderValue>,
    is_preflight: bool,
}

impl Sharing {
    /// What a request to a route is told; nothing if no other site may ask there anyway.
    pub(crate) fn of(origins: &Origins, request: &ServiceRequest, route: &str) -> Option<Self> {
        let is_api = ["/v1", "/.well-known", "/openapi.json"].iter().any(|api| route.starts_with(api));
        if origins.0.is_empty() || !is_api {
            return None;
        }
        let headers = request.headers();
        let with = headers.get(header::ORIGIN).filter(|origin| origins.0.contains(origin)).cloned();
        let is_preflight = *request.method() == Method::OPTIONS
            && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        Some(Self { with, is_preflight })
    }

    /// The answer to a preflight of a site on the list.
    pub(crate) fn preflight(&self) -> Option<HttpResponse> {
        let is_answered = self.is_preflight && self.with.is_some();
        is_answered.then(|| {
            HttpResponse::NoContent()
                .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, METHODS))
                .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS))
                .insert_header((header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_S))
                .finish()
        })
    }

    /// Says in an answer whose scripts may read it.
    pub(crate) fn say(&self, headers: &mut HeaderMap) {
        // Whatever keeps answers keeps one for each site.
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = &self.with {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            let exposed = HeaderValue::from_static(EXPOSED_HEADERS);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_origins_as_browsers_write_them() {
        for good in ["", "https://app.example.org", "http://localhost:3000, https://app.example.org"] {
            assert!(Origins::parse(good).is_some(), "{good}");
        }
        for bad in
            ["*", "null", "app.example.org", "https://app.example.org/", "https://App.example.org", "ftp://a"]
        {
            assert!(Origins::parse(bad).is_none(), "{bad}");
        }
    }
}
