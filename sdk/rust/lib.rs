//! Wire types of the API: what crosses the door, promised to strangers. Times are RFC 3339 in UTC.

mod events;
mod problem;
mod tenants;

pub use events::{EventPage, EventView};
pub use problem::{FieldError, Problem};
pub use tenants::{
    CreateTenant, RenameTenant, SuspendTenant, Suspension, TenantPage, TenantStatus, TenantView,
};
