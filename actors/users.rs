//! Users: people, what must be unique on the platform, and who runs it first.

pub mod account;
pub mod reservation;
pub mod set_up;

pub use account::Account;
pub use reservation::Reservation;
pub use set_up::SetUp;

use prognet_supervisor::Service;

/// What a node with the role `users` hosts.
#[must_use]
pub fn service() -> Service {
    Service::new("users").aggregate::<Account>().aggregate::<Reservation>().saga::<SetUp>()
}
