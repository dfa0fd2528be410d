//! Events: read back by cursor, or live as server-sent events.

use std::{convert::Infallible, sync::Arc};

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Bytes, Data, Path, Query},
};
use futures_util::stream;
use prognet_actors::{auth::access::Right, ids::TenantId};
use prognet_sdk::{EventPage, EventView};
use prognet_supervisor::{Frame, HomeKind, Position, Published, Topic};
use serde::Deserialize;

use super::tenants::id;
use crate::{Edge, caller::Caller, cursor, problem::Problem};

/// What reading a list from a place on may be asked.
#[derive(Debug, Deserialize)]
pub(crate) struct After {
    pub(crate) after: Option<String>,
    limit: Option<usize>,
}

impl After {
    /// How many items the page may have.
    pub(crate) fn limit(&self, edge: &Edge) -> usize {
        self.limit.unwrap_or(50).clamp(1, edge.settings.page_items_max)
    }
}

/// What happened in a tenant, oldest first.
pub(crate) async fn of_tenant(
    caller: Caller,
    tenant: Path<String>,
    page: Query<After>,
    edge: Data<Edge>,
) -> Result<HttpResponse, Problem> {
    let tenant = id(&tenant)?;
    caller.may(Right::ReadEvents, tenant)?;
    let topic = Topic::Home(tenant.home());
    let limit = page.limit(&edge);
    let after = place(&edge, topic, page.after.as_deref())?.unwrap_or_default();
    let events = edge.node.history(topic, after, limit).await?;
    let data: Vec<_> = events.iter().map(|event| view(&edge, topic, event)).collect();
    let next = data.last().filter(|_| data.len() == limit).map(|event| event.cursor.clone());
    Ok(HttpResponse::Ok().json(EventPage { data, next }))
}

/// What a live stream may be asked.
#[derive(Debug, Deserialize)]
pub(crate) struct Watch {
    topic: String,
    after: Option<String>,
}

/// Events as they happen: `id` is the cursor, `Last-Event-ID` (or `after`) resumes behind one.
pub(crate) async fn live(
    caller: Caller,
    watch: Query<Watch>,
    request: HttpRequest,
    edge: Data<Edge>,
) -> Result<HttpResponse, Problem> {
    let topic = topic(&watch.topic, &caller)?;
    let last = request.headers().get("Last-Event-ID").and_then(|id| id.to_str().ok());
    let after = place(&edge, topic, last.or(watch.after.as_deref()))?;
    let subscription = edge.node.watch(topic, after);
    let frames = stream::unfold((subscription, edge), move |(mut subscription, edge)| async move {
        let text = match subscription.next().await? {
            Frame::Event(event) => sse(&edge, topic, &event),
            Frame::Gap { .. } => "event: gap\ndata: {}\n\n".to_owned(),
        };
        Some((Ok::<_, Infallible>(Bytes::from(text)), (subscription, edge)))
    });
    let hello = stream::iter([Ok(Bytes::from_static(b": live\n\n"))]);
    let stream = futures_util::StreamExt::chain(hello, frames);
    std::future::ready(Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header(("Cache-Control", "no-store"))
        .streaming(stream)))
    .await
}

fn sse(edge: &Edge, topic: Topic, event: &Arc<Published>) -> String {
    let view = view(edge, topic, event);
    let data = serde_json::to_string(&view).unwrap_or_default();
    format!("id: {}\nevent: {}\ndata: {data}\n\n", view.cursor, view.kind)
}

/// `system` or `tenant:ten_...`, if the caller may watch it.
fn topic(text: &str, caller: &Caller) -> Result<Topic, Problem> {
    match text.strip_prefix("tenant:") {
        Some(tenant) => {
            let tenant = id(tenant)?;
            caller.may(Right::ReadEvents, tenant)?;
            Ok(Topic::Home(tenant.home()))
        }
        None if text == "system" => {
            caller.may_on_platform(Right::WatchPlatform)?;
            Ok(Topic::System)
        }
        None => Err(Problem::field("topic", "`system` or `tenant:` and a tenant's id")),
    }
}

/// Cursors are signed for their topic: one of a tenant opens no other.
fn list(topic: Topic) -> String {
    match topic {
        Topic::System => "events/system".to_owned(),
        Topic::Home(home) => format!("events/{:?}/{:x}", home.kind, home.id),
    }
}

fn place(edge: &Edge, topic: Topic, text: Option<&str>) -> Result<Option<Position>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let place = cursor::read(&edge.node, &list(topic), text)?;
    let position = Position::from_bytes(&place);
    position.map(Some).ok_or_else(|| Problem::field("after", "a cursor of this topic"))
}

fn view(edge: &Edge, topic: Topic, event: &Published) -> EventView {
    let id = match event.home.kind {
        HomeKind::Tenant => TenantId::new(event.id).to_string(),
        HomeKind::Account | HomeKind::Platform => format!("{:032x}", event.id),
    };
    EventView {
        cursor: cursor::write(&edge.node, &list(topic), &event.position.to_bytes()),
        kind: event.kind.clone(),
        id,
        at: event.at.to_string(),
        trace: format!("{:032x}", event.trace),
        data: event.data.clone(),
    }
}
