//! Events, read back by cursor.

use actix_web::{
    HttpResponse,
    web::{Data, Path},
};
use prognet_actors::auth::access::Right;
use prognet_sdk::EventPage;
use prognet_supervisor::Topic;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Problems, tenants::id};
use crate::{
    Edge,
    caller::Caller,
    input::Query,
    live::{place, view},
    problem::Problem,
};

/// What reading a list from a place on may be asked.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct After {
    /// A page's `next` or an event's cursor: reads on behind it.
    pub(crate) after: Option<String>,
    /// Items of the page, 50 unless said otherwise.
    limit: Option<usize>,
}

impl After {
    /// The first page, as long as it may be.
    pub(crate) const FIRST: Self = Self { after: None, limit: Some(usize::MAX) };

    /// The page after another, as long as it may be.
    pub(crate) const fn behind(next: String) -> Self {
        Self { after: Some(next), limit: Some(usize::MAX) }
    }

    /// How many items the page may have.
    pub(crate) fn limit(&self, edge: &Edge) -> usize {
        self.limit.unwrap_or(50).clamp(1, edge.settings.page_items_max)
    }
}

/// What happened in a tenant, oldest first.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/events", tag = "events", params(("tenant" = String, Path, description = "The tenant's id, `ten_...`"), After),
    responses((status = 200, description = "A page of events", body = EventPage), Problems))]
pub(crate) async fn of_tenant(
    caller: Caller,
    tenant: Path<String>,
    Query(page): Query<After>,
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
