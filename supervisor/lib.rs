//! The runtime beneath the domain: supervised, event-sourced actors, activated on demand.
//!
//! The contracts (`aggregate.rs`, `projection.rs`, `service.rs`) are what the domain is written against;
//! the rest is machinery, the same for every feature.

mod aggregate;
mod clock;
mod projection;
mod refusal;
mod service;
pub mod testing;

pub use aggregate::{Aggregate, Answer, Context, Decision, Entity, Kind};
pub use clock::{Clock, Timestamp};
pub use prognet_storage::{EntityRef, Home, HomeKind, Name, ShardId};
pub use projection::{Projection, Recorded, Rows};
pub use refusal::{Refused, Unavailable};
pub use service::Service;
