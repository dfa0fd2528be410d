//! Members: who belongs to a tenant, as what, and who does no longer; and where one belongs oneself.

use actix_web::{
    HttpResponse,
    http::StatusCode,
    web::{Data, Path},
};
use futures_util::future::try_join_all;
use prognet_actors::{
    auth::access::{Authority, Right},
    ids::{AccountId, TenantId},
    tenancy::{
        Members, Membership, Role, Tenant,
        members::Row,
        membership::{self, Status, View},
        tenant,
    },
    users::Account,
};
use prognet_sdk::{ChangeMember, MemberPage, MemberStatus, MemberView, OwnTenant, OwnTenantPage};
use prognet_supervisor::{Asking, Timestamp, Written};

use super::{Problems, tenants};
use crate::{
    Edge,
    caller::{Caller, Scope},
    input::{Json, Query},
    list::{self, Page},
    problem::Problem,
};

type Answer = Result<HttpResponse, Problem>;

/// Members of a tenant, those suspended too, in the order their accounts were made.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/members", tag = "members", params(("tenant" = String, Path, description = "The tenant's id, `ten_...`"), Page),
    responses((status = 200, description = "A page of members", body = MemberPage, example = json!({ "data": [{ "account": "acc_01k9xq5v3hfk8t2m4n6p8r0s2w", "name": "Grace Hopper", "email": "grace@example.org", "role": "member", "status": "active", "joined_at": "2026-01-01T12:00:00.000Z" }], "next": null })), Problems))]
pub(crate) async fn list(
    caller: Caller,
    tenant: Path<String>,
    Query(page): Query<Page>,
    edge: Data<Edge>,
) -> Answer {
    let tenant = tenants::id(&tenant)?;
    let scope = caller.may(Right::ReadMembers, tenant)?;
    known_tenant(tenant, scope.asking(), &edge).await?;
    let (list, prefix) = (format!("members/{tenant}"), Members::of_tenant(tenant));
    let (rows, next) = list::page::<Members, Row>(&list, &prefix, &page, scope.asking(), &edge).await?;
    let views = rows.into_iter().map(|row| {
        let Row { account, role, status, joined_at, .. } = row;
        wire(account, role, status, joined_at, scope.asking(), &edge)
    });
    let data = try_join_all(views).await?;
    Ok(HttpResponse::Ok().json(MemberPage { data, next }))
}

/// One member, as it is now.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/members/{account}", tag = "members", params(("tenant" = String, Path, description = "The tenant's id, `ten_...`"), ("account" = String, Path, description = "The account's id, `acc_...`")),
    responses((status = 200, description = "The member", body = MemberView, example = json!({ "account": "acc_01k9xq5v3hfk8t2m4n6p8r0s2w", "name": "Grace Hopper", "email": "grace@example.org", "role": "member", "status": "active", "joined_at": "2026-01-01T12:00:00.000Z" })), Problems))]
pub(crate) async fn read(caller: Caller, path: Path<(String, String)>, edge: Data<Edge>) -> Answer {
    let (tenant, account) = ids(&path)?;
    let scope = caller.may(Right::ReadMembers, tenant)?;
    let known = known_tenant(tenant, scope.asking(), &edge).await?;
    let membership = edge.node.read(scope.asking(), Membership::at(tenant, account)).await?;
    let view = match membership {
        None if known.owners.contains(&account) => before_memberships(&known),
        membership => membership.ok_or(membership::Rejection::Unknown)?,
    };
    answer(account, view, None, &scope, &edge).await
}

/// Gives a member another role; owners alone make and unmake owners, and nobody gives or takes what they lack.
///
/// Tokens that were issued act by the new role within 5 seconds.
#[utoipa::path(patch, path = "/v1/tenants/{tenant}/members/{account}", tag = "members", request_body(content = ChangeMember, example = json!({ "role": "admin" })), params(("tenant" = String, Path, description = "The tenant's id, `ten_...`"), ("account" = String, Path, description = "The account's id, `acc_...`"), ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry meet the first attempt: 1 to 200 visible ASCII characters")),
    responses((status = 200, description = "The member in its new role", body = MemberView, example = json!({ "account": "acc_01k9xq5v3hfk8t2m4n6p8r0s2w", "name": "Grace Hopper", "email": "grace@example.org", "role": "member", "status": "active", "joined_at": "2026-01-01T12:00:00.000Z" })), Problems))]
pub(crate) async fn change(
    caller: Caller,
    path: Path<(String, String)>,
    Json(body): Json<ChangeMember>,
    edge: Data<Edge>,
) -> Answer {
    let to = role(&body.role)?;
    manage(&caller, &path, |by| membership::Command::ChangeRole { to, by }, &edge).await
}

/// Suspends a member: its tokens for the tenant are refused within 5 seconds, with the reason.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/members/{account}/suspend", tag = "members", params(("tenant" = String, Path, description = "The tenant's id, `ten_...`"), ("account" = String, Path, description = "The account's id, `acc_...`"), ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry meet the first attempt: 1 to 200 visible ASCII characters")),
    responses((status = 200, description = "The suspended member; an owner is an admin by that", body = MemberView, example = json!({ "account": "acc_01k9xq5v3hfk8t2m4n6p8r0s2w", "name": "Grace Hopper", "email": "grace@example.org", "role": "member", "status": "active", "joined_at": "2026-01-01T12:00:00.000Z" })), Problems))]
pub(crate) async fn suspend(caller: Caller, path: Path<(String, String)>, edge: Data<Edge>) -> Answer {
    manage(&caller, &path, |by| membership::Command::Suspend { by }, &edge).await
}

/// Lets a suspended member in again.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/members/{account}/resume", tag = "members", params(("tenant" = String, Path, description = "The tenant's id, `ten_...`"), ("account" = String, Path, description = "The account's id, `acc_...`"), ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry meet the first attempt: 1 to 200 visible ASCII characters")),
    responses((status = 200, description = "The member, let in again", body = MemberView, example = json!({ "account": "acc_01k9xq5v3hfk8t2m4n6p8r0s2w", "name": "Grace Hopper", "email": "grace@example.org", "role": "member", "status": "active", "joined_at": "2026-01-01T12:00:00.000Z" })), Problems))]
pub(crate) async fn resume(caller: Caller, path: Path<(String, String)>, edge: Data<Edge>) -> Answer {
    manage(&caller, &path, |by| membership::Command::Resume { by }, &edge).await
}

/// Removes a member; one's own membership anybody may end. The last owner stays.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/members/{account}", tag = "members", params(("tenant" = String, Path, description = "The tenant's id, `ten_...`"), ("account" = String, Path, description = "The account's id, `acc_...`"), ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry meet the first attempt: 1 to 200 visible ASCII characters")),
    responses((status = 204, description = "No member any more"), Problems))]
pub(crate) async fn remove(caller: Caller, path: Path<(String, String)>, edge: Data<Edge>) -> Answer {
    let (tenant, account) = ids(&path)?;
    let is_own = caller.account() == account;
    let scope = caller.may(if is_own { Right::Leave } else { Right::ManageMembers }, tenant)?;
    let known = known_tenant(tenant, scope.asking(), &edge).await?;
    let by = caller.authority(known.custom_role);
    let command = if is_own { membership::Command::Leave } else { membership::Command::Remove { by } };
    let (_, written) = settle(&known, tenant, account, command, &scope, &edge).await?;
    let mut response = HttpResponse::NoContent();
    list::consistency(written, &edge, &mut response);
    Ok(response.finish())
}

/// The tenants the caller belongs to, in the order they were founded; with a token for the platform.
#[utoipa::path(get, path = "/v1/me/tenants", tag = "members", params(Page),
    responses((status = 200, description = "A page of tenants", body = OwnTenantPage, example = json!({ "data": [{ "tenant": { "id": "ten_01k9xq5v3hfk8t2m4n6p8r0s2v", "name": "Acme", "slug": "acme", "status": "active", "version": 1, "created_at": "2026-01-01T12:00:00.000Z" }, "role": "member", "status": "active", "joined_at": "2026-01-01T12:00:00.000Z" }], "next": null })), Problems))]
pub(crate) async fn own(caller: Caller, Query(page): Query<Page>, edge: Data<Edge>) -> Answer {
    caller.may_on_platform(Right::ListOwnTenants)?;
    Ok(HttpResponse::Ok().json(own_page(&caller, &page, &edge).await?))
}

/// A page of the tenants the caller belongs to. One tenant's token tells nobody of the others.
pub(crate) async fn own_page(caller: &Caller, page: &Page, edge: &Edge) -> Result<OwnTenantPage, Problem> {
    let (scope, account) = (caller.own(), caller.account());
    let (list, prefix) = (format!("own-tenants/{account}"), Members::of_account(account));
    let (mut rows, next) = list::page::<Members, Row>(&list, &prefix, page, scope.asking(), edge).await?;
    rows.retain(|row| caller.principal().tenant.is_none_or(|only| only == row.tenant));
    let views = rows.into_iter().map(async |Row { tenant, role, status, joined_at, .. }| {
        let known = known_tenant(tenant, scope.asking(), edge).await?;
        let tenant = tenants::wire_of(tenant, &known);
        let (role, joined_at) = (role.name().to_owned(), joined_at.to_string());
        Ok::<_, Problem>(OwnTenant { tenant, role, status: wire_status(status), joined_at })
    });
    Ok(OwnTenantPage { data: try_join_all(views).await?, next })
}

/// One change of a member by somebody else.
async fn manage(
    caller: &Caller,
    path: &(String, String),
    command: impl FnOnce(Authority) -> membership::Command,
    edge: &Edge,
) -> Answer {
    let (tenant, account) = ids(path)?;
    let scope = caller.may(Right::ManageMembers, tenant)?;
    let known = known_tenant(tenant, scope.asking(), edge).await?;
    let command = command(caller.authority(known.custom_role));
    let (view, written) = settle(&known, tenant, account, command, &scope, edge).await?;
    answer(account, view, written, &scope, edge).await
}

/// Asks the membership, and waits for the tenant's word if it is about an owner.
async fn settle(
    known: &tenant::View,
    tenant: TenantId,
    account: AccountId,
    command: membership::Command,
    scope: &Scope,
    edge: &Edge,
) -> Result<(View, Option<Written>), Problem> {
    let entity = Membership::at(tenant, account);
    if known.owners.contains(&account) {
        // Owners from before there were memberships get theirs now; for any other this changes nothing.
        let plain = Asking { key: None, ..*scope.asking() };
        edge.node.ask(&plain, entity, membership::Command::Own).await?;
    }
    let wanted = if let membership::Command::ChangeRole { to, .. } = command { Some(to) } else { None };
    let settled = edge.node.ask_to_end(scope.asking(), entity, command).await;
    edge.gate.forget_member(tenant, account);
    let settled = settled?;
    let view = settled.reply.ok_or(membership::Rejection::Unknown)?;
    match view.refused {
        Some(why) if wanted != Some(view.role) => Err(why.into()),
        Some(_) | None => Ok((view, settled.written)),
    }
}

/// What there is to say of an owner from before there were memberships.
const fn before_memberships(tenant: &tenant::View) -> View {
    View {
        role: Role::Owner,
        status: Status::Active,
        joined_at: tenant.created_at,
        pending: None,
        refused: None,
    }
}

/// The tenant, if there is one.
pub(crate) async fn known_tenant(
    tenant: TenantId,
    asking: &Asking,
    edge: &Edge,
) -> Result<tenant::View, Problem> {
    edge.node.read(asking, Tenant::at(tenant)).await?.ok_or_else(Problem::tenant_unknown)
}

/// A role by its public name.
pub(crate) fn role(name: &str) -> Result<Role, Problem> {
    Role::named(name).ok_or_else(|| Problem::field("role", "one of owner, admin, member, custom"))
}

fn ids((tenant, account): &(String, String)) -> Result<(TenantId, AccountId), Problem> {
    let account = account.parse().map_err(|invalid| Problem::field("account", invalid))?;
    Ok((tenants::id(tenant)?, account))
}

async fn answer(
    account: AccountId,
    view: View,
    written: Option<Written>,
    scope: &Scope,
    edge: &Edge,
) -> Answer {
    if matches!(view.status, Status::Removed { .. }) {
        return Err(membership::Rejection::Unknown.into());
    }
    let View { role, status, joined_at, .. } = view;
    let member = wire(account, role, status, joined_at, scope.asking(), edge).await?;
    let mut response = HttpResponse::build(StatusCode::OK);
    list::consistency(written, edge, &mut response);
    Ok(response.json(member))
}

/// A member with the name and the address its account has now; none if that is gone.
async fn wire(
    account: AccountId,
    role: Role,
    status: Status,
    joined_at: Timestamp,
    asking: &Asking,
    edge: &Edge,
) -> Result<MemberView, Problem> {
    let person = edge.node.read(asking, Account::at(account)).await?;
    Ok(MemberView {
        account: account.to_string(),
        name: person.as_ref().map(|person| person.name.to_string()),
        email: person.as_ref().map(|person| person.email.to_string()),
        role: role.name().to_owned(),
        status: wire_status(status),
        joined_at: joined_at.to_string(),
    })
}

const fn wire_status(status: Status) -> MemberStatus {
    match status {
        Status::Active => MemberStatus::Active,
        // Rows of those removed go; what is read by id is refused before.
        Status::Suspended { .. } | Status::Removed { .. } => MemberStatus::Suspended,
    }
}
