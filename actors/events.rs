//! Events: who did what, kept for those who must be able to tell.

pub mod audit;

pub use audit::Audit;

use prognet_supervisor::Service;

/// What a node with the role `events` hosts.
#[must_use]
pub fn service() -> Service {
    Service::new("events").projection::<Audit>()
}
