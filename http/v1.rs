//! THE table of routes.

mod events;
mod tenants;

use actix_web::web::{self, get, patch, post};

pub(crate) fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/v1/tenants", post().to(tenants::create))
        .route("/v1/tenants", get().to(tenants::list))
        .route("/v1/tenants/{tenant}", get().to(tenants::read))
        .route("/v1/tenants/{tenant}", patch().to(tenants::rename))
        .route("/v1/tenants/{tenant}/suspend", post().to(tenants::suspend))
        .route("/v1/tenants/{tenant}/resume", post().to(tenants::resume))
        .route("/v1/tenants/{tenant}/events", get().to(events::of_tenant))
        .route("/v1/live/sse", get().to(events::live));
}
