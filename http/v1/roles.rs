//! Roles: what they allow, and the one that a tenant defines itself.

use actix_web::{
    HttpResponse,
    web::{Data, Path},
};
use prognet_actors::{
    auth::access::Right,
    tenancy::{Permission, Permissions, Role, Tenant, tenant},
};
use prognet_sdk::{DefineRole, RoleList, RoleView};

use super::{Problems, members::known_tenant, sessions, tenants};
use crate::{Edge, caller::Caller, input::Json, problem::Problem};

type Answer = Result<HttpResponse, Problem>;

/// The roles of a tenant, the strongest first, and what they allow; `custom` only once it is defined.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/roles", tag = "members", params(("tenant" = String, Path, description = "The tenant's id, `ten_...`")),
    responses((status = 200, description = "The roles", body = RoleList, example = json!({ "data": [{ "role": "custom", "permissions": ["tenant:read", "members:read", "members:invite"] }] })), Problems))]
pub(crate) async fn list(caller: Caller, tenant: Path<String>, edge: Data<Edge>) -> Answer {
    let tenant = tenants::id(&tenant)?;
    let scope = caller.may(Right::ReadMembers, tenant)?;
    let known = known_tenant(tenant, scope.asking(), &edge).await?;
    let is_there = |role: &Role| *role != Role::Custom || known.custom_role.is_some();
    let data = Role::ALL.into_iter().filter(is_there);
    let data = data.map(|role| wire(role, role.permissions(known.custom_role))).collect();
    Ok(HttpResponse::Ok().json(RoleList { data }))
}

/// Defines the role `custom`, for those who have it already too; nobody gives or takes what they lack.
///
/// Tokens that were issued act by the new definition within 5 seconds. It takes a sign-in of the last 10 minutes.
#[utoipa::path(put, path = "/v1/tenants/{tenant}/roles/custom", tag = "members", request_body(content = DefineRole, example = json!({ "permissions": ["tenant:read", "members:read", "members:invite"] })), params(("tenant" = String, Path, description = "The tenant's id, `ten_...`"), ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry meet the first attempt: 1 to 200 visible ASCII characters")),
    responses((status = 200, description = "The role as it is defined now", body = RoleView, example = json!({ "role": "custom", "permissions": ["tenant:read", "members:read", "members:invite"] })), Problems))]
pub(crate) async fn define(
    caller: Caller,
    tenant: Path<String>,
    Json(body): Json<DefineRole>,
    edge: Data<Edge>,
) -> Answer {
    let tenant = tenants::id(&tenant)?;
    let unknown = || {
        let names: Vec<_> = Permission::ALL.iter().map(|permission| permission.name()).collect();
        Problem::field("permissions", format!("a list of {}", names.join(", ")))
    };
    let named = body.permissions.iter().map(|name| Permission::named(name).ok_or_else(unknown));
    let permissions: Permissions = named.collect::<Result<_, _>>()?;
    let scope = caller.may(Right::DefineRole, tenant)?;
    sessions::fresh(&caller, &edge).await?;
    let define = tenant::Command::DefineRole { permissions, by: caller.authority(None) };
    edge.node.ask(scope.asking(), Tenant::at(tenant), define).await?;
    edge.gate.forget_tenant(tenant);
    Ok(HttpResponse::Ok().json(wire(Role::Custom, permissions)))
}

fn wire(role: Role, permissions: Permissions) -> RoleView {
    let permissions = permissions.iter().map(|permission| permission.name().to_owned()).collect();
    RoleView { role: role.name().to_owned(), permissions }
}
