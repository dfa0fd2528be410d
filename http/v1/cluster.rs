//! The nodes of a cluster and the shards they own, for those who look after it.

use actix_web::{
    HttpResponse,
    web::{Data, Path, Query},
};
use prognet_actors::auth::access::Right;
use prognet_sdk::{NodeList, NodeView, ShardList, ShardView};
use prognet_supervisor::Name;
use serde::Deserialize;

use super::Problems;
use crate::{Edge, caller::Caller, problem::Problem};

type Answer = Result<HttpResponse, Problem>;

/// The nodes of the cluster.
#[utoipa::path(get, path = "/v1/system/nodes", tag = "system",
    responses((status = 200, description = "The nodes, those that are down for an hour", body = NodeList), Problems))]
pub(crate) async fn nodes(caller: Caller, edge: Data<Edge>) -> Answer {
    caller.may_on_platform(Right::InspectActors)?;
    let line = |node: prognet_supervisor::NodeView| NodeView {
        name: node.name.to_string(),
        incarnation: node.incarnation,
        status: node.status.to_owned(),
        address: node.address,
        roles: node.roles.iter().map(ToString::to_string).collect(),
        build: node.build,
        shards: node.shards as u64,
        lease_ms: node.lease_ms,
        is_self: node.is_self,
        is_linked: node.is_linked,
    };
    let data = edge.node.nodes().await?.into_iter().map(line).collect();
    Ok(HttpResponse::Ok().json(NodeList { data }))
}

/// Which shards are wanted.
#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    service: Option<String>,
    owner: Option<String>,
}

/// The shards of the cluster.
#[utoipa::path(get, path = "/v1/system/shards", tag = "system", params(("service" = Option<String>, Query, description = "Those of one service"), ("owner" = Option<String>, Query, description = "Those of one node")),
    responses((status = 200, description = "The shards", body = ShardList), Problems))]
pub(crate) async fn shards(caller: Caller, wanted: Query<Wanted>, edge: Data<Edge>) -> Answer {
    caller.may_on_platform(Right::InspectActors)?;
    let is_wanted = |shard: &ShardView| {
        wanted.service.as_ref().is_none_or(|service| *service == shard.service)
            && wanted.owner.as_ref().is_none_or(|owner| shard.owner.as_ref() == Some(owner))
    };
    let line = |shard: prognet_supervisor::ShardView| ShardView {
        service: shard.service.to_string(),
        number: shard.number,
        epoch: shard.epoch,
        owner: shard.owner.map(|owner| owner.to_string()),
        state: shard.state.to_owned(),
        target: shard.target.map(|target| target.to_string()),
    };
    let data = edge.node.shards().await?.into_iter().map(line).filter(is_wanted).collect();
    Ok(HttpResponse::Ok().json(ShardList { data }))
}

/// Lets a node give its shards away and leave: its process then ends. Repeating it changes nothing.
#[utoipa::path(post, path = "/v1/system/nodes/{node}/drain", tag = "system", params(("node" = String, Path, description = "Its name")),
    responses((status = 202, description = "It drains"), Problems))]
pub(crate) async fn drain(caller: Caller, node: Path<String>, edge: Data<Edge>) -> Answer {
    caller.may_on_platform(Right::InspectActors)?;
    let node = Name::parse(&node).ok_or_else(Problem::not_found)?;
    if edge.node.drain(node).await? {
        Ok(HttpResponse::Accepted().finish())
    } else {
        Err(Problem::not_found())
    }
}
