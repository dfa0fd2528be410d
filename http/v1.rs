//! THE table of the API's routes; those of the pages are in `pages.rs`.

pub(crate) mod accounts;
mod audit;
mod cluster;
pub(crate) mod dev;
pub(crate) mod events;
pub(crate) mod invitations;
pub(crate) mod me;
pub(crate) mod members;
pub(crate) mod openapi;
mod people;
mod roles;
pub(crate) mod sessions;
pub(crate) mod setup;
mod system;
pub(crate) mod tenants;

use actix_web::web::{self, delete, get, patch, post, put};

pub(crate) use openapi::Problems;

use crate::{keys, live};

/// Routes by path: each with the methods it takes, and 405 for all others.
macro_rules! serve {
    ($($path:literal => { $($method:ident $handler:path),+ $(,)? })*) => {
        /// What is served, as paths and their methods.
        #[cfg(test)]
        pub(crate) const TABLE: &[(&str, &[&str])] = &[$(($path, &[$(stringify!($method)),+]),)*];

        pub(crate) fn routes(config: &mut web::ServiceConfig) {
            $(config.service(
                web::resource($path)
                    $(.route($method().to($handler)))+
                    .default_service($crate::problem::other_method(&[$(stringify!($method)),+])),
            );)*
        }
    };
}
pub(crate) use serve;

serve! {
    "/openapi.json" => { get openapi::document }
    "/.well-known/jwks.json" => { get keys::jwks }
    "/v1/setup" => { post setup::set_up }
    "/v1/sessions" => { post sessions::sign_in }
    "/v1/sessions/refresh" => { post sessions::refresh }
    "/v1/sessions/{session}" => { delete sessions::end }
    "/v1/me" => { get sessions::me, patch me::rename, delete me::delete }
    "/v1/me/email" => { post me::change_email }
    "/v1/me/activity" => { get me::activity }
    "/v1/me/export" => { get me::export }
    "/v1/me/tenants" => { get members::own }
    "/v1/me/password" => { post me::change_password }
    "/v1/me/sessions" => { get me::sessions, delete me::end_others }
    "/v1/accounts" => { get people::find, post accounts::sign_up }
    "/v1/accounts/verify" => { post accounts::verify }
    "/v1/accounts/forgot" => { post accounts::forgot }
    "/v1/accounts/reset" => { post accounts::reset }
    "/v1/accounts/confirm-email" => { post accounts::confirm_email }
    "/v1/accounts/undo-email" => { post accounts::undo_email }
    "/v1/accounts/stay" => { post accounts::stay }
    "/v1/accounts/{account}" => { get people::read }
    "/v1/accounts/{account}/disable" => { post people::disable }
    "/v1/accounts/{account}/enable" => { post people::enable }
    "/v1/accounts/{account}/sessions" => { delete people::end_sessions }
    "/v1/accounts/{account}/activity" => { get people::activity }
    "/v1/tenants" => { get tenants::list, post tenants::create }
    "/v1/tenants/{tenant}" => { get tenants::read, patch tenants::rename }
    "/v1/tenants/{tenant}/session-limits" => { put tenants::limit_sessions }
    "/v1/tenants/{tenant}/suspend" => { post tenants::suspend }
    "/v1/tenants/{tenant}/resume" => { post tenants::resume }
    "/v1/tenants/{tenant}/members" => { get members::list }
    "/v1/tenants/{tenant}/members/{account}" => { get members::read, patch members::change, delete members::remove }
    "/v1/tenants/{tenant}/members/{account}/suspend" => { post members::suspend }
    "/v1/tenants/{tenant}/members/{account}/resume" => { post members::resume }
    "/v1/tenants/{tenant}/invitations" => { get invitations::list, post invitations::invite }
    "/v1/tenants/{tenant}/invitations/{invitation}" => { delete invitations::revoke }
    "/v1/tenants/{tenant}/roles" => { get roles::list }
    "/v1/tenants/{tenant}/roles/custom" => { put roles::define }
    "/v1/tenants/{tenant}/events" => { get events::of_tenant }
    "/v1/tenants/{tenant}/audit" => { get audit::of_tenant }
    "/v1/invitations/look" => { post invitations::look }
    "/v1/invitations/accept" => { post invitations::accept }
    "/v1/invitations/decline" => { post invitations::decline }
    "/v1/live" => { get live::socket::open }
    "/v1/live/sse" => { get live::sse }
    "/v1/dev/messages" => { get dev::messages }
    "/v1/system/keys/revoke" => { post keys::revoke }
    "/v1/system/nodes" => { get cluster::nodes }
    "/v1/system/nodes/{node}/drain" => { post cluster::drain }
    "/v1/system/shards" => { get cluster::shards }
    "/v1/system/actors" => { get system::counts }
    "/v1/system/actors/{service}/{kind}/{home}/{id}" => { get system::actor }
    "/v1/system/actors/{service}/{kind}/{home}/{id}/release" => { post system::release }
}
