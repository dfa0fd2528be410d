//! What runs on this node, for those who look after it.

use std::str::FromStr;

use actix_web::{
    HttpResponse,
    web::{Data, Path},
};
use prognet_actors::{
    auth::access::Right,
    ids::{self, AccountId, TenantId},
};
use prognet_sdk::{ActorCount, ActorCounts, ActorView};
use prognet_supervisor::{EntityRef, Home, HomeKind, Name};

use super::Problems;
use crate::{Edge, caller::Caller, problem::Problem};

type Answer = Result<HttpResponse, Problem>;

/// Entities in numbers, by kind.
#[utoipa::path(get, path = "/v1/system/actors", tag = "system",
    responses((status = 200, description = "Entities by kind", body = ActorCounts), Problems))]
pub(crate) async fn counts(caller: Caller, edge: Data<Edge>) -> Answer {
    caller.may_on_platform(Right::InspectActors)?;
    let line = |count: prognet_supervisor::KindCount| ActorCount {
        service: count.service.to_string(),
        kind: count.kind.to_string(),
        hot: count.hot,
        activations: count.activations,
        restarts: count.restarts,
        quarantined: count.quarantined,
    };
    let data = edge.node.counts().into_iter().map(line).collect();
    std::future::ready(Ok(HttpResponse::Ok().json(ActorCounts { data }))).await
}

/// One entity: `{service}/{kind}/{home}/{id}`.
type Named = Path<(String, String, String, String)>;

/// One entity as it is; looking at it does not start it.
#[utoipa::path(get, path = "/v1/system/actors/{service}/{kind}/{home}/{id}", tag = "system", params(("service" = String, Path, description = "E.g. `tenancy`"), ("kind" = String, Path, description = "E.g. `tenant`"), ("home" = String, Path, description = "`ten_...`, `acc_...`, or 32 hex digits for the platform's own"), ("id" = String, Path, description = "An id such as `ten_...`, or 32 hex digits")),
    responses((status = 200, description = "The entity, as it is", body = ActorView), Problems))]
pub(crate) async fn actor(caller: Caller, named: Named, edge: Data<Edge>) -> Answer {
    caller.may_on_platform(Right::InspectActors)?;
    let (service, entity) = entity(&named)?;
    let view = edge.node.inspect(service, entity).await.ok_or_else(Problem::not_found)?;
    let (service, kind, _, id) = named.into_inner();
    Ok(HttpResponse::Ok().json(ActorView {
        service,
        kind,
        id,
        status: view.status,
        seq: view.seq,
        mailbox: view.mailbox,
        restarts: view.restarts,
        timers: view.timers,
        under_way: view.under_way,
        error: view.error,
        state: view.state,
    }))
}

/// Lets an entity out of quarantine: its next command starts it again.
#[utoipa::path(post, path = "/v1/system/actors/{service}/{kind}/{home}/{id}/release", tag = "system", params(("service" = String, Path, description = "E.g. `tenancy`"), ("kind" = String, Path, description = "E.g. `tenant`"), ("home" = String, Path, description = "`ten_...`, `acc_...`, or 32 hex digits for the platform's own"), ("id" = String, Path, description = "An id such as `ten_...`, or 32 hex digits")),
    responses((status = 204, description = "Released"), Problems))]
pub(crate) async fn release(caller: Caller, named: Named, edge: Data<Edge>) -> Answer {
    caller.may_on_platform(Right::InspectActors)?;
    let (service, entity) = entity(&named)?;
    if edge.node.release(service, entity).await {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(Problem::not_quarantined())
    }
}

fn entity(named: &(String, String, String, String)) -> Result<(Name, EntityRef), Problem> {
    let (service, kind, home, id) = named;
    let name = |text: &str| Name::parse(text).ok_or_else(Problem::not_found);
    let home = match home.split_once('_') {
        Some(("ten", _)) => typed::<TenantId>("home", home)?.home(),
        Some(("acc", _)) => typed::<AccountId>("home", home)?.home(),
        Some(_) | None => Home { kind: HomeKind::Platform, id: hex("home", home)? },
    };
    let id = ids::number(id).map_or_else(|| hex("id", id), Ok)?;
    Ok((name(service)?, EntityRef { home, kind: name(kind)?, id }))
}

fn typed<I: FromStr<Err: std::fmt::Display>>(field: &str, text: &str) -> Result<I, Problem> {
    text.parse().map_err(|error| Problem::field(field, error))
}

fn hex(field: &str, text: &str) -> Result<u128, Problem> {
    let id = (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok()).flatten();
    id.ok_or_else(|| Problem::field(field, "an id such as `ten_...`, or 32 hex digits"))
}
