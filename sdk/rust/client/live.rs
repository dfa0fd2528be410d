//! Events as they happen: a stream that survives the connections it runs over.

use std::{collections::VecDeque, fmt};

use futures_util::{Stream, stream};
use reqwest::{
    Response,
    header::{ACCEPT, HeaderValue},
};

use super::{
    Client, Error, random,
    sse::{Message, Parser},
};
use crate::{EventView, Problem};

/// What to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topic {
    /// Everything on the platform.
    System,
    /// A tenant, `ten_...`.
    Tenant(String),
}

impl fmt::Display for Topic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => out.write_str("system"),
            Self::Tenant(id) => write!(out, "tenant:{id}"),
        }
    }
}

/// What a live stream tells.
#[derive(Debug)]
pub enum Live {
    /// Something happened.
    Event(EventView),
    /// Events were lost to this watcher: read the state again.
    Gap,
    /// The connection was lost, for this reason; the stream goes on behind the last event once there is another.
    Interrupted(Error),
}

impl Client {
    /// Events of a topic behind a cursor, or from now on.
    ///
    /// A connection that was there once is made again for as long as it takes. The stream ends after an error:
    /// a refusal, or no first connection.
    pub fn live(
        &self,
        topic: &Topic,
        after: Option<String>,
    ) -> impl Stream<Item = Result<Live, Error>> + use<> {
        let watch = Watch {
            client: self.clone(),
            topic: topic.to_string(),
            after,
            was_connected: false,
            failures: 0,
            open: None,
        };
        stream::unfold(Some(watch), async |watch| {
            let mut watch = watch?;
            match watch.next().await {
                Ok(live) => Some((Ok(live), Some(watch))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }
}

struct Watch {
    client: Client,
    topic: String,
    /// The cursor to resume behind.
    after: Option<String>,
    was_connected: bool,
    /// Connections in a row that told nothing.
    failures: u32,
    open: Option<Open>,
}

/// A connection.
struct Open {
    response: Response,
    parser: Parser,
    ready: VecDeque<Message>,
}

impl Watch {
    async fn next(&mut self) -> Result<Live, Error> {
        loop {
            let Some(open) = &mut self.open else {
                self.connect().await?;
                continue;
            };
            let lost = match open.next().await {
                Ok(message) => {
                    self.failures = 0;
                    match read(&message) {
                        Ok(Some(live)) => return Ok(live),
                        Ok(None) => continue,
                        // The token ended, the session may well go on: with the next token, if there is one.
                        Err(closed) if closed.problem().is_some_and(|problem| problem.status == 401) => {
                            closed
                        }
                        Err(closed) => return Err(closed),
                    }
                }
                Err(error) => error,
            };
            if let Some(seen) = self.open.take().and_then(|open| open.parser.last_id().map(str::to_owned)) {
                self.after = Some(seen);
            }
            self.failures += 1;
            return Ok(Live::Interrupted(lost));
        }
    }

    async fn connect(&mut self) -> Result<(), Error> {
        if self.failures > 0 {
            tokio::time::sleep(self.client.retry.back_off(self.failures, random())).await;
        }
        let query = [("topic", Some(self.topic.as_str())), ("after", self.after.as_deref())];
        let mut request = self.client.get(&["live", "sse"], &query)?;
        *request.timeout_mut() = None;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        let error = match self.client.admitted(&request).await {
            Ok(response) => {
                self.was_connected = true;
                self.open = Some(Open { response, parser: Parser::default(), ready: VecDeque::new() });
                return Ok(());
            }
            Err(error) => error,
        };
        self.failures = self.failures.saturating_add(1);
        let may_go_on = self.was_connected || self.failures < self.client.retry.attempts_max;
        if !error.is_passing() || !may_go_on {
            return Err(error);
        }
        if let Some(asked) = error.retry_after() {
            tokio::time::sleep(asked.min(self.client.retry.total_max)).await;
        }
        Ok(())
    }
}

impl Open {
    async fn next(&mut self) -> Result<Message, Error> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(message);
            }
            let chunk = self.response.chunk().await.map_err(Error::Transport)?.ok_or(Error::Ended)?;
            for byte in chunk {
                self.ready.extend(self.parser.take(byte).map_err(|_too_long| Error::Stream)?);
            }
        }
    }
}

/// A message's meaning; none if it is of a kind this version does not know.
fn read(message: &Message) -> Result<Option<Live>, Error> {
    if message.event == "gap" {
        return Ok(Some(Live::Gap));
    }
    if let Ok(event) = serde_json::from_str::<EventView>(&message.data) {
        return Ok(Some(Live::Event(event)));
    }
    match serde_json::from_str::<Problem>(&message.data) {
        Ok(problem) => Err(Error::Problem { problem: Box::new(problem), retry_after: None }),
        Err(_) => Ok(None),
    }
}
