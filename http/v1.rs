//! THE table of routes.

mod audit;
mod dev;
mod events;
pub(crate) mod openapi;
pub(crate) mod sessions;
mod setup;
mod system;
mod tenants;

use actix_web::web::{self, delete, get, patch, post};

pub(crate) use openapi::Problems;

use crate::{keys, live, pages, problem};

/// Routes by path: each with the methods it takes, and 405 for all others.
macro_rules! routes {
    ($($path:literal => { $($method:ident $handler:path),+ $(,)? })*) => {
        /// What is served, as paths and their methods.
        #[cfg(test)]
        const TABLE: &[(&str, &[&str])] = &[$(($path, &[$(stringify!($method)),+]),)*];

        pub(crate) fn routes(config: &mut web::ServiceConfig) {
            $(config.service(
                web::resource($path)
                    $(.route($method().to($handler)))+
                    .default_service(problem::other_method(&[$(stringify!($method)),+])),
            );)*
        }
    };
}

routes! {
    "/setup" => { get setup::page, post setup::submit }
    "/assets/pages.css" => { get pages::style }
    "/problems/{area}/{name}" => { get pages::problem }
    "/openapi.json" => { get openapi::document }
    "/.well-known/jwks.json" => { get keys::jwks }
    "/v1/setup" => { post setup::set_up }
    "/v1/sessions" => { post sessions::sign_in }
    "/v1/sessions/refresh" => { post sessions::refresh }
    "/v1/sessions/{session}" => { delete sessions::end }
    "/v1/me" => { get sessions::me }
    "/v1/tenants" => { get tenants::list, post tenants::create }
    "/v1/tenants/{tenant}" => { get tenants::read, patch tenants::rename }
    "/v1/tenants/{tenant}/suspend" => { post tenants::suspend }
    "/v1/tenants/{tenant}/resume" => { post tenants::resume }
    "/v1/tenants/{tenant}/events" => { get events::of_tenant }
    "/v1/tenants/{tenant}/audit" => { get audit::of_tenant }
    "/v1/live" => { get live::socket::open }
    "/v1/live/sse" => { get live::sse }
    "/v1/dev/messages" => { get dev::messages }
    "/v1/system/actors" => { get system::counts }
    "/v1/system/actors/{service}/{kind}/{home}/{id}" => { get system::actor }
    "/v1/system/actors/{service}/{kind}/{home}/{id}/release" => { post system::release }
}
