//! Rows of the tables, read and given.

use std::sync::Arc;

use tokio_postgres::Row;
use uuid::Uuid;

use super::super::numbers::{large, unsigned};
use crate::{
    Epoch, Name, Offset, ShardId,
    leases::{
        Build, Error, Incarnation, Meta, NodeId, NodeRow, Profile, ShardRow, ShardState, Status, StoreTime,
        Wire,
    },
};

/// Shards and epochs, as arrays.
pub(super) struct Keys {
    pub(super) services: Vec<String>,
    pub(super) numbers: Vec<i32>,
    pub(super) epochs: Vec<i64>,
}

impl Keys {
    pub(super) fn of(shards: impl Iterator<Item = (ShardId, Epoch)>) -> Self {
        let mut keys = Self { services: Vec::new(), numbers: Vec::new(), epochs: Vec::new() };
        for (shard, epoch) in shards {
            keys.services.push(shard.service.to_string());
            keys.numbers.push(i32::from(shard.number));
            keys.epochs.push(large(epoch.0));
        }
        keys
    }
}

/// A status as the table has it.
pub(super) const fn word_of(status: Status) -> &'static str {
    match status {
        Status::Joining => "joining",
        Status::Up => "up",
        Status::Draining => "draining",
        Status::Down => "down",
    }
}

/// The cluster's row, and the store's time.
pub(super) fn meta(row: &Row) -> Result<(Meta, StoreTime), Error> {
    let count = |column| Ok::<_, Error>(unsigned(row.try_get::<_, i64>(column)?));
    let meta = Meta {
        generation: row.try_get::<_, Uuid>("generation")?.as_u128(),
        shards: u16::try_from(row.try_get::<_, i32>("shards")?).unwrap_or(0),
        view: count("view")?,
        view_at: StoreTime::from_millis(count("view_at_ms")?),
        map: count("map")?,
        finalized: u16::try_from(row.try_get::<_, i32>("finalized")?).unwrap_or(u16::MAX),
        restored: count("restored")?,
    };
    Ok((meta, StoreTime::from_millis(count("now_ms")?)))
}

pub(super) fn node(row: &Row) -> Result<NodeRow, Error> {
    let number = |column| Ok::<_, Error>(u16::try_from(row.try_get::<_, i32>(column)?).unwrap_or(0));
    let status = match row.try_get("status")? {
        "joining" => Status::Joining,
        "up" => Status::Up,
        "draining" => Status::Draining,
        _ => Status::Down,
    };
    let roles: Vec<&str> = row.try_get("roles")?;
    let profile = Profile {
        address: row.try_get("address")?,
        directory: row.try_get::<_, Uuid>("directory")?.as_u128(),
        roles: roles.into_iter().filter_map(Name::parse).collect(),
        weight: u8::try_from(row.try_get::<_, i16>("weight")?).unwrap_or(1),
        build: Build {
            major: number("build_major")?,
            minor: number("build_minor")?,
            patch: number("build_patch")?,
        },
        wire: Wire { min: number("wire_min")?, max: number("wire_max")? },
    };
    Ok(NodeRow {
        incarnation: incarnation(row.try_get("node")?, row.try_get("incarnation")?)?,
        status,
        lease_until: StoreTime::from_millis(unsigned(row.try_get("lease_until_ms")?)),
        profile: Arc::new(profile),
    })
}

pub(super) fn shard(row: &Row) -> Result<ShardRow, Error> {
    let count = |column| Ok::<_, Error>(unsigned(row.try_get::<_, i64>(column)?));
    let number = u16::try_from(row.try_get::<_, i32>("number")?).unwrap_or(u16::MAX);
    let owner: Option<&str> = row.try_get("owner")?;
    let owner_incarnation: Option<i64> = row.try_get("owner_incarnation")?;
    let target: Option<&str> = row.try_get("target")?;
    Ok(ShardRow {
        shard: ShardId { service: name(row.try_get("service")?)?, number },
        epoch: Epoch(count("epoch")?),
        owner: owner.zip(owner_incarnation).map(|(owner, run)| incarnation(owner, run)).transpose()?,
        state: match row.try_get("state")? {
            "owned" => ShardState::Owned,
            "releasing" => ShardState::Releasing,
            _ => ShardState::Free,
        },
        target: target.map(|target| name(target).map(NodeId)).transpose()?,
        tail: Offset(count("tail")?),
        changed: count("changed")?,
    })
}

fn incarnation(node: &str, number: i64) -> Result<Incarnation, Error> {
    Ok(Incarnation { node: NodeId(name(node)?), number: unsigned(number) })
}

fn name(text: &str) -> Result<Name, Error> {
    Name::parse(text).ok_or_else(|| Error::Refused { what: format!("`{text}` is no name") })
}
