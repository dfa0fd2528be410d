//! A person's organizations, and what happens in one.

use actix_web::{http::StatusCode, web::Path};
use minijinja::{context, value::Serde};
use prognet_actors::auth::access::Right;
use prognet_supervisor::{Frame, Topic};
use serde::Deserialize;

use super::{Shown, visitor::Visitor};
use crate::{
    Edge,
    input::Query,
    live::{self, cursor_at, view},
    v1::tenants,
};

/// Events a page shows.
const EVENTS: usize = 20;

/// How an organization is looked at.
#[derive(Debug, Deserialize)]
pub(super) struct Look {
    /// Without a script the page comes anew by itself, unless it is told not to.
    #[serde(default)]
    paused: bool,
}

/// One organization, and what happened there last.
pub(super) async fn show(visitor: Visitor, tenant: Path<String>, Query(look): Query<Look>) -> Shown {
    let id = tenants::id(&tenant)?;
    let (edge, caller) = (visitor.edge(), visitor.person_in(id).await?);
    let tenant = tenants::one(&caller, id, edge).await?;
    caller.may(Right::ReadEvents, id)?;
    let topic = Topic::Home(id.home());
    let cursor = cursor_at(edge, topic, &edge.node.end_of(topic).await?);
    let mut events = edge.node.latest(topic, EVENTS).await?;
    events.reverse();
    let events: Vec<_> = events.iter().map(|event| view(edge, topic, event)).collect();
    let (tenant, events) = (Serde(tenant), Serde(events));
    let values = context! { tenant, events, cursor, is_live => !look.paused };
    Ok(visitor.page(StatusCode::OK, "organization", &values))
}

/// Where a stream goes on.
#[derive(Debug, Deserialize)]
pub(super) struct After {
    after: Option<String>,
}

/// That something happened, as it happens; what it was, the page says.
pub(super) async fn live(visitor: Visitor, tenant: Path<String>, Query(from): Query<After>) -> Shown {
    let id = tenants::id(&tenant)?;
    let caller = visitor.person_in(id).await?;
    caller.may(Right::ReadEvents, id)?;
    let (topic, edge) = (Topic::Home(id.home()), visitor.edge().clone());
    Ok(live::follow(&caller, topic, from.after.as_deref(), visitor.request(), edge, change).await?)
}

fn change(edge: &Edge, topic: Topic, frame: &Frame) -> String {
    let position = match frame {
        Frame::Event(event) => &event.position,
        Frame::Gap { to } => to,
    };
    format!("id: {}\nevent: change\ndata: {{}}\n\n", cursor_at(edge, topic, position))
}
