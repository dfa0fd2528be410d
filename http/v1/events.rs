//! Events, read back by cursor.

use actix_web::{
    HttpResponse,
    web::{Data, Path},
};
use prognet_actors::{auth::access::Right, tenancy::Tenant};
use prognet_sdk::EventPage;
use prognet_supervisor::Topic;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    Problems,
    tenants::{id, known},
};
use crate::{
    Edge,
    caller::Caller,
    input::{Query, page_items},
    live::{place, view},
    problem::Problem,
};

/// What reading a list from a place on may be asked.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct After {
    /// A page's `next` or an event's cursor: reads on behind it.
    after: Option<String>,
    /// Items of the page, 50 unless said otherwise.
    #[param(minimum = 1)]
    limit: Option<usize>,
}

impl After {
    /// How many items the page may have.
    fn limit(&self, edge: &Edge) -> Result<usize, Problem> {
        page_items(self.limit, edge)
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
    let scope = caller.may(Right::ReadEvents, tenant)?;
    known(edge.node.read(scope.asking(), Tenant::at(tenant)).await?)?;
    let topic = Topic::Home(tenant.home());
    let limit = page.limit(&edge)?;
    let after = place(&edge, topic, page.after.as_deref())?.unwrap_or_default();
    let events = edge.node.history(topic, after, limit).await?;
    let data: Vec<_> = events.iter().map(|event| view(&edge, topic, event)).collect();
    let next = data.last().filter(|_| data.len() == limit).map(|event| event.cursor.clone());
    Ok(HttpResponse::Ok().json(EventPage { data, next }))
}
