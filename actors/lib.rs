//! The domain: a folder per service, a file per aggregate.

pub mod ids;
pub mod tenancy;
pub mod users;
pub mod values;

use prognet_supervisor::Service;

/// Everything a node can host.
#[must_use]
pub fn services() -> Vec<Service> {
    vec![tenancy::service(), users::service()]
}
