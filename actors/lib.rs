//! The domain: a folder per service, a file per aggregate.

// A new variant makes the compiler list who must think about it.
#![warn(clippy::wildcard_enum_match_arm)]

pub mod auth;
pub mod communication;
pub mod events;
pub mod ids;
pub mod tenancy;
pub mod users;
pub mod values;

use prognet_supervisor::Service;

/// Everything a node can host.
#[must_use]
pub fn services() -> Vec<Service> {
    vec![auth::service(), users::service(), tenancy::service(), communication::service(), events::service()]
}
