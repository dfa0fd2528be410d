//! Users: people, how they come and go, what must be unique on the platform, and who runs it first.

pub mod account;
pub mod change_email;
#[cfg(test)]
mod crashes;
pub mod eraser;
pub mod leaving;
pub mod reservation;
pub mod set_up;
pub mod sign_up;
pub mod ties;

pub use account::Account;
pub use change_email::ChangeEmail;
pub use leaving::Leaving;
pub use reservation::Reservation;
pub use set_up::SetUp;
pub use sign_up::SignUp;

use prognet_supervisor::Service;

/// What a node with the role `users` hosts.
#[must_use]
pub fn service() -> Service {
    Service::new("users")
        .aggregate::<Account>()
        .aggregate::<Reservation>()
        .saga::<SetUp>()
        .saga::<SignUp>()
        .saga::<ChangeEmail>()
        .saga::<Leaving>()
        .reader(ties::Ties)
        .reader(eraser::Eraser)
}
