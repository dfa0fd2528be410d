//! The client: typed calls, sent again where that is safe, in a session that keeps itself alive.
//!
//! ```no_run
//! # async fn example() -> Result<(), prognet_sdk::client::Error> {
//! use prognet_sdk::{CreateTenant, SignIn, client::Client};
//!
//! let client = Client::new("http://127.0.0.1:8080")?;
//! let (email, password) = ("ada@example.org".to_owned(), "correct horse battery".to_owned());
//! client.sign_in(&SignIn { email, password, tenant: None, device: None }).await?;
//! let acme = client.create_tenant(&CreateTenant { name: "Acme".to_owned(), slug: "acme".to_owned() }).await?;
//! # Ok(()) }
//! ```

mod accounts;
mod cluster;
mod events;
mod invitations;
mod live;
mod members;
mod people;
mod retry;
mod session;
mod sse;
mod tenants;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use reqwest::{Method, Request, Response, StatusCode, Url, header};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::Instant;

use crate::Problem;

pub use live::{Live, Topic};
pub use retry::Retry;
pub use session::KeepTokens;
pub use tenants::Page;

/// Time to a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Time of one attempt; the node's own deadline is shorter.
const ATTEMPT_MAX: Duration = Duration::from_secs(30);
/// A live stream is lost if it is silent for longer: the node gives a sign of life every 14 s.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// Tokens tried for one request: the one at hand, one that another process left, one just refreshed.
const TOKENS_MAX: usize = 3;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The node says no.
    #[error("{}", .problem.title)]
    Problem {
        /// Why.
        problem: Box<Problem>,
        /// How long it asked to wait, if it did.
        retry_after: Option<Duration>,
    },
    /// No answer, or not all of it.
    #[error("failed to reach the node")]
    Transport(#[source] reqwest::Error),
    /// An answer that is not the API's.
    #[error("the answer is not what this version of the API gives")]
    Answer(#[source] serde_json::Error),
    /// A live event too long to be one.
    #[error("the live stream is damaged")]
    Stream,
    /// The node ended the live stream.
    #[error("the live stream ended")]
    Ended,
    /// The URL is none.
    #[error("`{0}` is not an http or https URL")]
    Url(String),
    /// Tokens could not be loaded or kept.
    #[error("failed to keep the session's tokens")]
    Tokens(#[source] std::io::Error),
    /// Nobody is signed in, or with a token alone.
    #[error("there is no session to go on with")]
    NoSession,
}

impl Error {
    /// The node's refusal, if it is one.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem { problem, .. } => Some(problem),
            Self::Transport(_)
            | Self::Answer(_)
            | Self::Stream
            | Self::Ended
            | Self::Url(_)
            | Self::Tokens(_)
            | Self::NoSession => None,
        }
    }

    /// Whether the same request may well succeed a little later.
    fn is_passing(&self) -> bool {
        match self {
            // 502 and 504 are a proxy's words for a node that is not there just now.
            Self::Problem { problem, .. } => matches!(problem.status, 429 | 502 | 503 | 504),
            Self::Transport(error) => !error.is_builder(),
            Self::Answer(_)
            | Self::Stream
            | Self::Ended
            | Self::Url(_)
            | Self::Tokens(_)
            | Self::NoSession => false,
        }
    }

    const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Problem { retry_after, .. } => *retry_after,
            Self::Transport(_)
            | Self::Answer(_)
            | Self::Stream
            | Self::Ended
            | Self::Url(_)
            | Self::Tokens(_)
            | Self::NoSession => None,
        }
    }
}

/// A node, as one caller sees it. Clones share the session.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: Url,
    retry: Retry,
    session: Arc<session::Session>,
}

impl fmt::Debug for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Client").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the node at a URL, e.g. `http://127.0.0.1:8080`; nobody is signed in.
    ///
    /// # Errors
    /// When it is no URL, or the TLS of the system is broken.
    pub fn new(url: &str) -> Result<Self, Error> {
        let invalid = || Error::Url(url.to_owned());
        let parsed = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_MAX)
            .read_timeout(SILENCE_MAX)
            // The API never redirects; who does must not get the token.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(Error::Transport)?;
        let url = parsed.ok_or_else(invalid)?;
        Ok(Self { http, url, retry: Retry::default(), session: Arc::default() })
    }

    /// Asks with this access token, which nothing renews.
    #[must_use]
    pub fn with_token(self, token: String) -> Self {
        Self { session: Arc::new(session::Session::bearer(token)), ..self }
    }

    /// Goes on with the tokens somebody keeps, and has them keep those to come.
    ///
    /// # Errors
    /// When they cannot be loaded.
    pub fn keeping(self, keeper: Box<dyn KeepTokens>) -> Result<Self, Error> {
        Ok(Self { session: Arc::new(session::Session::kept(keeper)?), ..self })
    }

    /// Tries more or less often.
    #[must_use]
    pub fn with_retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }

    fn get(&self, path: &[&str], query: &[(&str, Option<&str>)]) -> Result<Request, Error> {
        let mut url = self.at(path)?;
        for (name, value) in query {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        self.http.get(url).timeout(ATTEMPT_MAX).build().map_err(Error::Transport)
    }

    /// A page of a list.
    async fn page<T: DeserializeOwned>(&self, path: &[&str], page: &Page) -> Result<T, Error> {
        let limit = page.limit.map(|limit| limit.to_string());
        let query = [("after", page.after.as_deref()), ("limit", limit.as_deref())];
        self.ask(self.get(path, &query)?).await
    }

    /// A write has a key: however often it is sent, it takes effect once.
    fn write<B: Serialize>(&self, method: Method, path: &[&str], body: &B) -> Result<Request, Error> {
        let key = uuid::Uuid::new_v4().simple().to_string();
        let request = self.http.request(method, self.at(path)?).header("Idempotency-Key", key);
        request.json(body).timeout(ATTEMPT_MAX).build().map_err(Error::Transport)
    }

    /// A place under the URL; what callers put into it stays one segment.
    fn at(&self, path: &[&str]) -> Result<Url, Error> {
        let mut url = self.url.clone();
        let invalid = |()| Error::Url(self.url.to_string());
        url.path_segments_mut().map_err(invalid)?.pop_if_empty().push("v1").extend(path);
        Ok(url)
    }

    /// Asks, again if need be, and reads the answer.
    async fn ask<T: DeserializeOwned>(&self, request: Request) -> Result<T, Error> {
        let body = self.retried(&request, true).await?;
        serde_json::from_slice(&body).map_err(Error::Answer)
    }

    /// The answer's body, after as many attempts as it takes or may take.
    async fn retried(&self, request: &Request, is_admitted: bool) -> Result<Vec<u8>, Error> {
        let (began, mut attempts) = (Instant::now(), 0);
        loop {
            let response =
                if is_admitted { self.admitted(request).await } else { self.attempt(request, None).await };
            let answer = match response {
                Ok(response) => response.bytes().await.map_err(Error::Transport),
                Err(error) => Err(error),
            };
            attempts += 1;
            let error = match answer {
                Ok(body) => return Ok(body.into()),
                Err(error) if !error.is_passing() => return Err(error),
                Err(error) => error,
            };
            let Some(pause) = self.retry.pause(attempts, began.elapsed(), error.retry_after(), random())
            else {
                return Err(error);
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// One attempt with the session's token; with the next one if that is refused.
    async fn admitted(&self, request: &Request) -> Result<Response, Error> {
        let mut token = self.token(None).await?;
        for _ in 1..TOKENS_MAX {
            match self.attempt(request, token.as_deref()).await {
                Err(error) if error.problem().is_some_and(|problem| problem.status == 401) => {
                    let next = self.token(token.as_deref()).await?;
                    if next == token {
                        return Err(error);
                    }
                    token = next;
                }
                answer => return answer,
            }
        }
        self.attempt(request, token.as_deref()).await
    }

    async fn attempt(&self, request: &Request, token: Option<&str>) -> Result<Response, Error> {
        // Bodies are bytes in memory here, so there is always a clone.
        let Some(request) = request.try_clone() else { return Err(Error::Stream) };
        let mut request = reqwest::RequestBuilder::from_parts(self.http.clone(), request);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.map_err(Error::Transport)?;
        if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
    }
}

/// The problem in an answer; one made of the status alone if somebody else than the node answered.
async fn refusal(response: Response) -> Error {
    let status = response.status();
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let retry_after = header(header::RETRY_AFTER).and_then(retry::asked);
    let request_id = header(header::HeaderName::from_static("x-request-id")).unwrap_or_default().to_owned();
    let body = match response.bytes().await {
        Ok(body) => body,
        Err(error) => return Error::Transport(error),
    };
    let mut problem = serde_json::from_slice(&body).unwrap_or_else(|_| unexplained(status));
    if problem.request_id.is_empty() {
        problem.request_id = request_id;
    }
    Error::Problem { problem: Box::new(problem), retry_after }
}

/// RFC 9457 s. 4.2.1: nothing is known but the status.
fn unexplained(status: StatusCode) -> Problem {
    Problem {
        kind: "about:blank".to_owned(),
        title: status.canonical_reason().unwrap_or("Refused").to_owned(),
        status: status.as_u16(),
        detail: format!("the answer was {} without an explanation", status.as_u16()),
        errors: Vec::new(),
        request_id: String::new(),
    }
}

fn random() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1
}
