//! Many nodes as one: who is here, who owns which shard, and how a shard moves.
//!
//! What decides is pure and in here: [`Member`] is one node's part, a machine that is fed with what happened and
//! says what to do. It knows no sockets, no database and no clock; it is explored by a seeded simulation
//! (`simulation.rs`). Two things make it safe, and both are the store's: a shard's epoch is checked inside every
//! append, and a node's row is locked by whoever renews its lease and by whoever declares it down.
//!
//! ```text
//! member ─┬─ membership: joining, the lease, declaring down          tables: rows and statements of the store
//!         ├─ ownership: claiming, opening, giving up ── handoff      view: the rows as last read
//!         └─ allocation: who should own what                         limits, clocks, lease
//! ```

// A new variant makes the compiler list who must think about it.
#![warn(clippy::wildcard_enum_match_arm)]

pub mod allocation;
mod carrier;
mod clocks;
mod cluster;
mod driver;
mod handoff;
mod host;
mod lease;
mod limits;
pub mod link;
mod map;
mod member;
pub mod membership;
mod numbers;
mod ownership;
mod seen;
#[cfg(test)]
mod simulation;
mod step;
pub mod tables;
mod view;

pub use clocks::{BootTime, boot_time};
pub use cluster::Cluster;
pub use driver::Ended;
pub use host::Host;
pub use lease::Lease;
pub use limits::Limits;
pub use member::Member;
use prognet_supervisor::{Epoch, Offset, leases::StoreTime};
pub use step::{Input, Message, Output};
pub use view::View;
