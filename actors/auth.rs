//! Auth: how people prove who they are, how long that holds, and what they may do then.

pub mod access;
pub mod credential;
pub mod devices;
pub mod key_ring;
pub mod link;
pub mod session;

pub use credential::Credential;
pub use devices::Devices;
pub use key_ring::KeyRing;
pub use session::Session;

use prognet_supervisor::Service;

/// What a node with the role `auth` hosts.
#[must_use]
pub fn service() -> Service {
    Service::new("auth")
        .aggregate::<Credential>()
        .aggregate::<Session>()
        .aggregate::<KeyRing>()
        .projection::<Devices>()
}
