//! THE table of routes.

mod audit;
mod events;
pub(crate) mod sessions;
mod setup;
mod system;
mod tenants;

use actix_web::web::{self, delete, get, patch, post};
use serde::de::DeserializeOwned;

use crate::{keys, live, pages, problem::Problem};

pub(crate) fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/setup", get().to(setup::page))
        .route("/setup", post().to(setup::submit))
        .route("/assets/pages.css", get().to(pages::style))
        .route("/.well-known/jwks.json", get().to(keys::jwks))
        .route("/v1/setup", post().to(setup::set_up))
        .route("/v1/sessions", post().to(sessions::sign_in))
        .route("/v1/sessions/refresh", post().to(sessions::refresh))
        .route("/v1/sessions/{session}", delete().to(sessions::end))
        .route("/v1/me", get().to(sessions::me))
        .route("/v1/tenants", post().to(tenants::create))
        .route("/v1/tenants", get().to(tenants::list))
        .route("/v1/tenants/{tenant}", get().to(tenants::read))
        .route("/v1/tenants/{tenant}", patch().to(tenants::rename))
        .route("/v1/tenants/{tenant}/suspend", post().to(tenants::suspend))
        .route("/v1/tenants/{tenant}/resume", post().to(tenants::resume))
        .route("/v1/tenants/{tenant}/events", get().to(events::of_tenant))
        .route("/v1/tenants/{tenant}/audit", get().to(audit::of_tenant))
        .route("/v1/live", get().to(live::socket::open))
        .route("/v1/live/sse", get().to(live::sse))
        .route("/v1/system/actors", get().to(system::counts))
        .route("/v1/system/actors/{service}/{kind}/{home}/{id}", get().to(system::actor))
        .route("/v1/system/actors/{service}/{kind}/{home}/{id}/release", post().to(system::release));
}

/// A body, as the route wants it.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::field("body", error))
}
