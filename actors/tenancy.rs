//! Tenancy: organizations, how they are founded, and how they are found.

pub mod directory;
pub mod found_tenant;
pub mod tenant;

pub use directory::Directory;
pub use found_tenant::FoundTenant;
pub use tenant::Tenant;

use prognet_supervisor::Service;

/// What a node with the role `tenancy` hosts.
#[must_use]
pub fn service() -> Service {
    Service::new("tenancy").aggregate::<Tenant>().saga::<FoundTenant>().projection::<Directory>()
}
