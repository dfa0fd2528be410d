//! Every failure becomes one RFC 9457 answer, here; what people meet, in `problem/people.rs`.

mod people;
mod tenancy;

use std::{convert::Infallible, fmt};

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{self, HeaderMap, HeaderValue},
    },
    web,
};
use prognet_actors::{auth::session, tenancy::tenant, users::set_up, values::Invalid};
use prognet_sdk::{FieldError, Problem as Wire};
use prognet_supervisor::{Name, Refused, Timestamp, Unavailable};

use crate::{limits::Standing, request};

/// Pages by code, as compiled in.
macro_rules! pages {
    ($($code:literal),* $(,)?) => {
        /// What explains each kind of failure, by code: Markdown.
        pub(crate) const PAGES: &[(&str, &str)] =
            &[$(($code, include_str!(concat!("../docs/problems/", $code, ".md")))),*];
    };
}

pages![
    "account/email-changed-lately",
    "account/leaving",
    "account/link",
    "account/not-leaving",
    "account/only-owner",
    "account/password",
    "account/runs-platform",
    "account/sign-up-password",
    "account/status",
    "account/unknown",
    "account/wrong-password",
    "actor/not-quarantined",
    "auth/forbidden",
    "auth/token",
    "invitation/open",
    "invitation/other-address",
    "invitation/over",
    "invitation/too-many",
    "invitation/unknown",
    "mail/too-many",
    "member/changing",
    "member/not-suspended",
    "member/removed",
    "member/suspended",
    "member/unknown",
    "node/fault",
    "node/no-host",
    "node/overloaded",
    "node/unavailable",
    "request/erased",
    "request/foreign",
    "request/forged",
    "request/headers-too-large",
    "request/invalid",
    "request/key-reused",
    "request/media-type",
    "request/method",
    "request/not-found",
    "request/poison",
    "request/restored",
    "request/too-large",
    "request/too-many",
    "request/too-slow",
    "role/undefined",
    "session/already-open",
    "session/credentials",
    "session/ended",
    "session/not-fresh",
    "session/outlived",
    "session/reused",
    "session/slow-down",
    "session/unknown",
    "setup/done",
    "setup/email-taken",
    "setup/token",
    "tenant/already-exists",
    "tenant/already-suspended",
    "tenant/founding-timed-out",
    "tenant/last-owner",
    "tenant/not-suspended",
    "tenant/slug-taken",
    "tenant/suspended",
    "tenant/too-many",
    "tenant/too-many-owners",
    "tenant/unknown",
    "tenant/until-in-the-past",
    "tenant/version-mismatch",
];

/// A failure on its way out.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: Box<str>,
    errors: Vec<FieldError>,
    retry_after_s: Option<u16>,
    /// The limit that was reached.
    limit: Option<Box<Standing>>,
    /// The methods that would have been taken (RFC 9110 s. 10.2.1).
    allow: Option<Box<str>>,
    request_id: Box<str>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, title: &'static str) -> Self {
        Self {
            status,
            code,
            title,
            detail: Box::default(),
            errors: Vec::new(),
            retry_after_s: None,
            limit: None,
            allow: None,
            request_id: Box::default(),
        }
    }

    /// A place of before the data was restored.
    pub(crate) fn restored() -> Self {
        Self::new(StatusCode::GONE, "request/restored", "The data was restored since")
    }

    fn detail(mut self, detail: impl fmt::Display) -> Self {
        self.detail = detail.to_string().into();
        self
    }

    /// The field it is about.
    fn at(mut self, field: &str, detail: impl fmt::Display) -> Self {
        self.errors.push(FieldError { field: field.to_owned(), detail: detail.to_string() });
        self
    }

    /// A field of the request is not what it must be.
    pub(crate) fn field(field: &str, detail: impl fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "request/invalid", "The request is not valid").at(field, detail)
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "auth/token", "A valid bearer token is needed")
    }

    /// A form that was not given to this browser, or to somebody who is signed out by now.
    pub(crate) fn forged() -> Self {
        Self::new(StatusCode::FORBIDDEN, "request/forged", "This form is not good (any more)")
    }

    /// One key, two requests.
    fn key_reused() -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "request/key-reused",
            "The idempotency key was used with another request",
        )
    }

    /// No node of the cluster hosts a service.
    fn no_host(service: Name) -> Self {
        let why = Unavailable::NoHost { service };
        let title = "No node hosts this part of the platform";
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "node/no-host", title)
            .detail(format!("no node has the role `{service}`"));
        problem.retry_after_s = u16::try_from(why.retry_after().as_secs()).ok();
        problem
    }

    /// The caller sees it, and may not do this.
    pub(crate) fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "auth/forbidden", "You may not do this")
    }

    /// The session of the token is over.
    pub(crate) fn session_ended() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "session/ended", "The session is over: sign in again")
    }

    /// There is no such tenant, or none for this caller: the two are one answer.
    pub(crate) fn tenant_unknown() -> Self {
        tenant::Rejection::Unknown.into()
    }

    /// The token's tenant lets nobody in.
    pub(crate) fn tenant_suspended(
        since: Timestamp,
        reason: tenant::Reason,
        until: Option<Timestamp>,
    ) -> Self {
        let reason = serde_json::to_value(reason).unwrap_or_default();
        let until = until.map(|until| format!(" until {until}")).unwrap_or_default();
        Self::new(StatusCode::FORBIDDEN, "tenant/suspended", "The tenant is suspended").detail(format!(
            "suspended since {since}{until}, reason: {}",
            reason.as_str().unwrap_or_default()
        ))
    }

    /// Whether nobody can say now.
    pub(crate) fn is_unavailable(&self) -> bool {
        self.code == "node/unavailable"
    }

    /// What kind of failure, e.g. `tenant/suspended`.
    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    /// What happened in the fewest words.
    pub(crate) fn said(&self) -> &str {
        if self.detail.is_empty() { self.title } else { &self.detail }
    }

    /// A setup link that is used, old or made up.
    pub(crate) fn setup_token() -> Self {
        Self::new(StatusCode::FORBIDDEN, "setup/token", "The setup link is not good (any more)")
    }

    /// There is nothing to release.
    pub(crate) fn not_quarantined() -> Self {
        Self::new(StatusCode::CONFLICT, "actor/not-quarantined", "The entity is not in quarantine")
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// When to try again, if that helps, and how the limit stands that was reached.
    pub(crate) fn say_when(&self, headers: &mut HeaderMap) {
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(limit) = &self.limit {
            limit.say(headers);
        }
    }

    /// What is wrong with which field.
    #[cfg(test)]
    pub(crate) fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "request/not-found", "There is nothing here")
    }

    /// The route takes other methods.
    pub(crate) fn method_not_allowed(allow: &str) -> Self {
        let mut problem = Self::new(StatusCode::METHOD_NOT_ALLOWED, "request/method", "Not with this method");
        problem.allow = Some(allow.into());
        problem.detail(format!("allowed: {allow}"))
    }

    /// The body is of another type.
    pub(crate) fn media_type(wanted: &str) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "request/media-type",
            "The body is of a type that is not taken",
        )
        .detail(format!("the Content-Type must be {wanted}"))
    }

    /// The body is larger than a body may be.
    fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "request/too-large", "The body is too large")
    }

    /// All headers together are larger than they may be.
    pub(crate) fn headers_too_large(bytes_max: usize) -> Self {
        Self::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "request/headers-too-large",
            "The headers are too large",
        )
        .detail(format!("all headers together may have {bytes_max} bytes"))
    }

    /// The request did not arrive in time.
    pub(crate) fn too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "request/too-slow", "The request took too long to arrive")
    }

    /// As many requests are being served as may be.
    pub(crate) fn overloaded() -> Self {
        let mut problem =
            Self::new(StatusCode::SERVICE_UNAVAILABLE, "node/overloaded", "Too many requests at once");
        problem.retry_after_s = Some(1);
        problem
    }

    fn fault() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "node/fault", "Something is broken here")
    }

    /// What a failure is to the client: ours as it is, the framework's by its status.
    pub(crate) fn of(error: &actix_web::Error) -> Self {
        if let Some(problem) = error.as_error::<Self>() {
            return problem.clone();
        }
        match error.as_response_error().status_code() {
            StatusCode::NOT_FOUND => Self::not_found(),
            StatusCode::PAYLOAD_TOO_LARGE => Self::too_large(),
            status if status.is_client_error() => Self::field("request", error),
            _ => {
                tracing::error!(%error, "a request failed");
                Self::fault()
            }
        }
    }

    /// The same, naming the request it answers.
    pub(crate) fn of_request(mut self, id: &str) -> Self {
        self.request_id = id.into();
        self
    }

    /// The failure as it crosses the door.
    pub(crate) fn wire(&self) -> Wire {
        Wire {
            kind: format!("/problems/{}", self.code),
            title: self.title.to_owned(),
            status: self.status.as_u16(),
            detail: self.detail.to_string(),
            errors: self.errors.clone(),
            request_id: self.request_id.to_string(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.status, self.code)
    }
}

impl Problem {
    /// How a caller proves who they are (RFC 6750 s. 3, RFC 9470 s. 3).
    fn challenge(&self) -> &'static str {
        match self.code {
            "session/not-fresh" => {
                "Bearer error=\"insufficient_user_authentication\", \
                 error_description=\"a sign-in of the last 10 minutes is needed\", max_age=\"600\""
            }
            _ => "Bearer",
        }
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        if let Some(allow) = &self.allow {
            response.insert_header((header::ALLOW, &**allow));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.insert_header((header::WWW_AUTHENTICATE, self.challenge()));
        }
        let body = serde_json::to_vec(&self.wire()).unwrap_or_default();
        let mut response = response.content_type("application/problem+json").body(body);
        self.say_when(response.headers_mut());
        request::harden(response.headers_mut(), &self.request_id);
        response
    }
}

/// Answers methods that a route does not take.
pub(crate) fn other_method(taken: &'static [&'static str]) -> actix_web::Route {
    web::to(move || async move {
        let mut allow: Vec<_> = taken.iter().map(|method| method.to_uppercase()).collect();
        if let Some(get) = allow.iter().position(|method| method == "GET") {
            allow.insert(get + 1, "HEAD".to_owned());
        }
        let allow = allow.join(", ");
        std::future::ready(Err::<HttpResponse, _>(Problem::method_not_allowed(&allow))).await
    })
}

/// A route nobody serves.
pub(crate) async fn no_route() -> Result<HttpResponse, Problem> {
    std::future::ready(Err(Problem::not_found())).await
}

impl From<Unavailable> for Problem {
    fn from(why: Unavailable) -> Self {
        let status = match why {
            Unavailable::Busy { limit } if matches!(limit.as_str(), "entity" | "home") => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Unavailable::NoHost { service } => return Self::no_host(service),
            Unavailable::Busy { .. }
            | Unavailable::Deadline
            | Unavailable::StillRunning
            | Unavailable::NotWritten
            | Unavailable::OutcomeUnknown
            | Unavailable::Quarantined
            | Unavailable::Restarting
            | Unavailable::Behind
            | Unavailable::Moving
            | Unavailable::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        };
        let mut problem = Self::new(status, "node/unavailable", "Try again").detail(&why);
        problem.retry_after_s = u16::try_from(why.retry_after().as_secs()).ok();
        problem
    }
}

impl<R: Into<Self>> From<Refused<R>> for Problem {
    fn from(refused: Refused<R>) -> Self {
        match refused {
            Refused::Rejected(rejection) => rejection.into(),
            Refused::KeyReused => Self::key_reused(),
            Refused::Poison => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "request/poison",
                "The same request keeps failing and is refused for an hour",
            ),
            Refused::Erased => Self::new(StatusCode::GONE, "request/erased", "What this is about was erased"),
            Refused::Unavailable(why) => why.into(),
            Refused::Fault => Self::fault(),
        }
    }
}

impl From<session::Rejection> for Problem {
    fn from(rejection: session::Rejection) -> Self {
        let (status, code) = match rejection {
            session::Rejection::Unknown => (StatusCode::NOT_FOUND, "session/unknown"),
            session::Rejection::AlreadyOpen => (StatusCode::CONFLICT, "session/already-open"),
        };
        Self::new(status, code, "The session says no").detail(rejection)
    }
}

impl From<set_up::Rejection> for Problem {
    fn from(set_up::Rejection::AlreadyDone: set_up::Rejection) -> Self {
        Self::new(StatusCode::CONFLICT, "setup/done", "The platform has its first admin")
    }
}

/// A read is never refused by the domain.
impl From<Infallible> for Problem {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// What is wrong with a field, by the field's own rule.
pub(crate) fn invalid(field: &'static str) -> impl Fn(Invalid) -> Problem {
    move |invalid| Problem::field(field, invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page_and_every_page_a_code() {
        let code = include_str!("problem.rs").split_once("/// A failure on its way out.").unwrap().1;
        let sources = [
            code,
            include_str!("problem/people.rs"),
            include_str!("problem/tenancy.rs"),
            include_str!("v1/setup.rs"),
            include_str!("v1/sessions.rs"),
        ]
        .concat();
        let mut codes: Vec<_> = sources
            .split('"')
            .filter(|text| PAGES.iter().any(|(known, _)| known == text) || is_code(text))
            .collect();
        codes.sort_unstable();
        codes.dedup();
        let pages: Vec<_> = PAGES.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes, pages);
    }

    fn is_code(text: &str) -> bool {
        let is_word = |word: &str| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        };
        text.split_once('/').is_some_and(|(area, name)| is_word(area) && is_word(name))
    }
}
