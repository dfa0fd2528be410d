//! The domain: a folder per service, a file per aggregate.

// A new variant makes the compiler list who must think about it.
#![warn(clippy::wildcard_enum_match_arm)]

pub mod auth;
pub mod communication;
#[cfg(test)]
mod crashes;
pub mod events;
pub mod ids;
pub mod tenancy;
pub mod users;
pub mod values;

use prognet_supervisor::Service;

/// Everything a node can host, but for the door out: mails wait.
#[must_use]
pub fn services() -> Vec<Service> {
    with(communication::service())
}

/// The same, with mails leaving through this door.
#[must_use]
pub fn services_delivering(delivery: communication::Delivery) -> Vec<Service> {
    with(communication::service().reader(delivery))
}

fn with(communication: Service) -> Vec<Service> {
    vec![auth::service(), users::service(), tenancy::service(), communication, events::service()]
}
