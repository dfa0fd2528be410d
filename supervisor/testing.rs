//! What tests stand on: decisions without a runtime, and a node in memory that fails and dies as it is told.

mod crashes;
mod decisions;
mod golden;
mod journal;
mod memory;
mod tier;
mod world;

use crate::Timestamp;

pub use crashes::over_crashes;
pub use decisions::{Given, Then, When, given};
pub use golden::holds_to_golden;
pub use memory::{Fault, Memory};
pub use world::World;

/// The time of every test decision: 2023-11-14T12:00:00Z.
pub const NOON: Timestamp = Timestamp::from_millis(1_699_963_200_000);

/// The account that asks in every test decision.
pub const ASKER: u128 = 7;
