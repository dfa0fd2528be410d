//! Tenancy: organizations, how they are founded and found, who belongs to them, and what those may do.

#[cfg(test)]
mod crashes;
pub mod directory;
pub mod found_tenant;
pub mod founder;
pub mod invitation;
pub mod invitations;
pub mod members;
pub mod membership;
pub mod role;
pub mod session_limits;
pub mod tenant;

pub use directory::Directory;
pub use found_tenant::FoundTenant;
pub use founder::Founder;
pub use invitation::Invitation;
pub use invitations::Invitations;
pub use members::Members;
pub use membership::Membership;
pub use role::{Permission, Permissions, Role};
pub use session_limits::SessionLimits;
pub use tenant::Tenant;

use prognet_supervisor::Service;

/// What a node with the role `tenancy` hosts.
#[must_use]
pub fn service() -> Service {
    Service::new("tenancy")
        .aggregate::<Tenant>()
        .aggregate::<Membership>()
        .aggregate::<Invitation>()
        .aggregate::<Founder>()
        .saga::<FoundTenant>()
        .projection::<Directory>()
        .projection::<Members>()
        .projection::<Invitations>()
}
