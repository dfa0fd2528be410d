//! The runtime beneath the domain: supervised, event-sourced actors, activated on demand.
//!
//! The contracts (`aggregate.rs`, `projection.rs`, `reader.rs`, `service.rs`) are what the domain is written against;
//! `node.rs` is what the edge holds; the rest is machinery, the same for every feature:
//!
//! ```text
//! node ▸ router ──permit──▶ tree ▸ region ▸ shard ▸ entity ──batch──▶ journal
//!                                                                       │ durable tail
//!                                     readers: projections ◀ outward ◀ effects ◀ topics
//! ```

// A new variant makes the compiler list who must think about it.
#![warn(clippy::wildcard_enum_match_arm)]

mod aggregate;
mod clock;
mod effects;
mod entity;
mod limits;
mod node;
mod parcel;
mod permits;
mod placement;
mod poison;
mod projection;
#[cfg(test)]
mod promises;
mod reader;
mod readers;
mod refusal;
mod region;
mod residency;
mod restart;
mod router;
mod runtime;
mod service;
mod shard;
mod shelf;
pub mod testing;
mod topics;
mod tree;

pub use aggregate::{Aggregate, Answer, Context, Decision, Entity, Kind};
pub use clock::{Clock, Stopwatch, Timestamp};
pub use limits::Limits;
pub use node::{Answered, EntityView, KindCount, Node, Parts, ReaderView, StartError};
pub use placement::{NodeView, Place, Placement, ShardView, Uncarried};
pub use prognet_storage::{
    EntityRef, Epoch, Home, HomeKind, Lsn, Name, Offset, ShardId, chain::Head, codec::Upcaster,
    journal::Stored, leases, snapshots::TierError,
};
pub use projection::{Projection, Recorded, Rows, Unreadable};
pub use reader::{Reader, ReaderError};
pub use refusal::{Refused, Unavailable};
/// The body of an event as upcasters see it.
pub use rmpv::Value;
pub use router::{Asking, Written};
pub use service::Service;
pub use shelf::{Shelf, Thing};
pub use topics::{Frame, Position, Published, Subscription, Topic};
