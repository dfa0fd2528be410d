//! Users: what must be unique on the platform.

pub mod reservation;

pub use reservation::Reservation;

use prognet_supervisor::Service;

/// What a node with the role `users` hosts.
#[must_use]
pub fn service() -> Service {
    Service::new("users").aggregate::<Reservation>()
}
