//! Live streams: what happens, as it happens, over server-sent events here and over a WebSocket in `live/`.

pub(crate) mod socket;

use std::{convert::Infallible, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web::{Bytes, Data},
};
use futures_util::{StreamExt, stream};
use prognet_actors::{
    auth::access::{Denied, Principal, Right, may},
    ids::{self, AccountId, TenantId},
};
use prognet_sdk::EventView;
use prognet_supervisor::{Frame, HomeKind, Position, Published, Subscription, Timestamp, Topic};
use serde::Deserialize;
use tokio::{sync::watch, time::Interval};
use utoipa::IntoParams;

use crate::{
    Edge,
    caller::{Caller, denied},
    cursor,
    input::Query,
    problem::Problem,
    record,
    tokens::Claims,
    v1::Problems,
};

/// How often an open stream asks whether its caller still stands; 5 s are promised.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long a caller is believed to stand while nobody can say: with a look's pause within the 5 s promised.
const UNKNOWN_MAX: Duration = Duration::from_millis(2_500);
/// Looks between two signs of life, so that no proxy takes a quiet stream for a dead one.
const LOOKS_PER_SIGN: u32 = 7;

/// What a live stream may be asked.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Watch {
    /// `system`, `tenant:ten_...` or `account:acc_...`.
    topic: String,
    /// Resumes behind this cursor; without one the stream begins with what comes next.
    after: Option<String>,
}

/// Events as they happen: `id` is the cursor, `Last-Event-ID` (or `after`) resumes behind one.
///
/// The stream ends with `event: closed` and a problem once the caller's token stands no longer, and begins
/// with `event: gap` if the cursor is not of this log: read the state again then.
#[utoipa::path(get, path = "/v1/live/sse", tag = "events", params(Watch, ("Last-Event-ID" = Option<String>, Header, description = "Resumes behind this cursor")),
    responses((status = 200, description = "Server-sent events; each has an `EventView` as its data", body = EventView, content_type = "text/event-stream"), Problems))]
pub(crate) async fn sse(
    caller: Caller,
    Query(watch): Query<Watch>,
    request: HttpRequest,
    edge: Data<Edge>,
) -> Result<HttpResponse, Problem> {
    let topic = topic(&watch.topic, caller.principal()).inspect_err(|problem| {
        // The answer says 403; what it hides as 404 is a denial too.
        if problem.status() == StatusCode::NOT_FOUND {
            record::on_stream(caller.peer(), Some(caller.principal()), problem);
        }
    })?;
    follow(&caller, topic, watch.after.as_deref(), &request, edge, text).await
}

/// A stream of what happens in a topic the caller may watch; `tell` says how a frame is told.
pub(crate) async fn follow(
    caller: &Caller,
    topic: Topic,
    after: Option<&str>,
    request: &HttpRequest,
    edge: Data<Edge>,
    tell: Tell,
) -> Result<HttpResponse, Problem> {
    let last = request.headers().get("Last-Event-ID").map(|id| id.to_str());
    let last = last.transpose().map_err(|_not_text| Problem::field("Last-Event-ID", "a cursor"))?;
    let after = begin(&edge, topic, last.or(after)).await?;
    // An event without data only tells the client where it is.
    let hello = format!(": live\nid: {}\n\n", cursor_at(&edge, topic, &after));
    let watching = Watching {
        subscription: edge.node.watch(topic, Some(after)),
        topic,
        tell,
        standing: Standing::new(caller.claims().clone(), &edge),
        look: tokio::time::interval(LOOK_EVERY),
        looks: 0,
        closing: edge.closing.subscribe(),
        edge,
        is_over: false,
    };
    let hello = stream::iter([Ok::<_, Infallible>(Bytes::from(hello))]);
    let texts = stream::unfold(watching, |mut watching| async {
        let text = watching.next().await?;
        Some((Ok(Bytes::from(text)), watching))
    });
    let answer = HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .streaming(hello.chain(texts));
    Ok(answer)
}

/// How a frame is told.
pub(crate) type Tell = fn(&Edge, Topic, &Frame) -> String;

/// A stream that is open.
struct Watching {
    edge: Data<Edge>,
    subscription: Subscription,
    topic: Topic,
    tell: Tell,
    standing: Standing,
    look: Interval,
    looks: u32,
    closing: watch::Receiver<bool>,
    is_over: bool,
}

impl Watching {
    /// The next text to send; none at the end.
    async fn next(&mut self) -> Option<String> {
        if self.is_over {
            return None;
        }
        loop {
            tokio::select! {
                frame = self.subscription.next() => return Some((self.tell)(&self.edge, self.topic, &frame?)),
                _ = self.look.tick() => {
                    let look = stands(&self.edge, &self.standing.claims).await;
                    let look = look.and_then(|who| may_watch(self.topic, &who));
                    if let Err(problem) = self.standing.after(look, &self.edge) {
                        self.is_over = true;
                        let problem = serde_json::to_string(&problem.wire()).unwrap_or_default();
                        return Some(format!("event: closed\ndata: {problem}\n\n"));
                    }
                    self.looks += 1;
                    if self.looks.is_multiple_of(LOOKS_PER_SIGN) {
                        return Some(": live\n\n".to_owned());
                    }
                }
                _ = self.closing.wait_for(|is_closing| *is_closing) => return None,
            }
        }
    }
}

/// A frame as server-sent events have it.
fn text(edge: &Edge, topic: Topic, frame: &Frame) -> String {
    match frame {
        Frame::Event(event) => {
            let view = view(edge, topic, event);
            let data = serde_json::to_string(&view).unwrap_or_default();
            format!("id: {}\nevent: {}\ndata: {data}\n\n", view.cursor, view.kind)
        }
        Frame::Gap { to } => {
            let cursor = cursor_at(edge, topic, to);
            format!("id: {cursor}\nevent: gap\ndata: {{}}\n\n")
        }
    }
}

/// The token behind an open stream, and when it was last known to stand.
pub(crate) struct Standing {
    pub(crate) claims: Claims,
    known_at: Timestamp,
}

impl Standing {
    /// A token that was proven just now.
    pub(crate) fn new(claims: Claims, edge: &Edge) -> Self {
        Self { claims, known_at: edge.node.clock().now() }
    }

    /// Takes in what a look has found; a node that is too busy to say is believed for a while.
    pub(crate) fn after(&mut self, look: Result<(), Problem>, edge: &Edge) -> Result<(), Problem> {
        let now = edge.node.clock().now();
        match look {
            Ok(()) => self.known_at = now,
            Err(problem) if problem.is_unavailable() && now.since(self.known_at) < UNKNOWN_MAX => {}
            Err(problem) => return Err(problem),
        }
        Ok(())
    }
}

/// Whether whoever holds a stream open may still do so.
pub(crate) async fn stands(edge: &Edge, claims: &Claims) -> Result<Principal, Problem> {
    if edge.node.clock().now() >= claims.until() {
        return Err(Problem::unauthorized());
    }
    edge.gate.stands(edge, claims).await
}

/// Whether a caller may watch a topic: asked when it is opened, and again as rights change.
pub(crate) fn may_watch(topic: Topic, who: &Principal) -> Result<(), Problem> {
    match topic {
        Topic::System => may(who, Right::WatchPlatform, None).map_err(denied),
        Topic::Home(home) => match home.kind {
            HomeKind::Tenant => may(who, Right::ReadEvents, Some(TenantId::new(home.id))).map_err(denied),
            HomeKind::Account if home == who.account.home() => Ok(()),
            HomeKind::Account | HomeKind::Platform => Err(denied(Denied::Hidden)),
        },
    }
}

/// `system`, `tenant:ten_...` or `account:acc_...`, if the caller may watch it.
pub(crate) fn topic(text: &str, who: &Principal) -> Result<Topic, Problem> {
    const VALID: &str = "`system`, `tenant:` and a tenant's id, or `account:` and the caller's own id";
    let invalid = || Problem::field("topic", VALID);
    let topic = match text.split_once(':') {
        None if text == "system" => Ok(Topic::System),
        Some(("tenant", id)) => {
            let tenant: TenantId = id.parse().map_err(|_not_an_id| invalid())?;
            Ok(Topic::Home(tenant.home()))
        }
        Some(("account", id)) => {
            let account: AccountId = id.parse().map_err(|_not_an_id| invalid())?;
            if account == who.account { Ok(Topic::Home(account.home())) } else { Err(invalid()) }
        }
        Some(_) | None => Err(invalid()),
    }?;
    may_watch(topic, who)?;
    Ok(topic)
}

/// Cursors are signed for their topic: one of a tenant opens no other.
fn list(topic: Topic) -> String {
    match topic {
        Topic::System => "events/system".to_owned(),
        Topic::Home(home) => format!("events/{:?}/{:x}", home.kind, home.id),
    }
}

/// The position behind a cursor.
pub(crate) fn place(edge: &Edge, topic: Topic, text: Option<&str>) -> Result<Option<Position>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let place = cursor::read(edge, &list(topic), "after", text)?;
    let position = Position::from_bytes(&place);
    position.map(Some).ok_or_else(|| Problem::field("after", "a cursor of this topic"))
}

/// Where a stream begins: behind its cursor, or with what comes next.
pub(crate) async fn begin(edge: &Edge, topic: Topic, after: Option<&str>) -> Result<Position, Problem> {
    match place(edge, topic, after)? {
        Some(position) => Ok(position),
        None => Ok(edge.node.end_of(topic).await?),
    }
}

/// The cursor of a position.
pub(crate) fn cursor_at(edge: &Edge, topic: Topic, position: &Position) -> String {
    cursor::write(edge, &list(topic), &position.to_bytes())
}

/// An event as clients see it.
pub(crate) fn view(edge: &Edge, topic: Topic, event: &Published) -> EventView {
    let kind = event.kind.split('.').next().unwrap_or_default();
    EventView {
        cursor: cursor_at(edge, topic, &event.position),
        kind: event.kind.clone(),
        id: ids::text(kind, event.id).unwrap_or_else(|| format!("{:032x}", event.id)),
        at: event.at.to_string(),
        trace: format!("{:032x}", event.trace),
        data: event.data.clone(),
    }
}
