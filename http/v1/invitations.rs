//! Invitations: people asked into a tenant by mail, and their answers.

use actix_web::{
    HttpResponse,
    http::StatusCode,
    web::{Data, Path},
};
use prognet_actors::{
    auth::{
        access::Right,
        link::{LinkKey, Purpose},
    },
    ids::{AccountId, InvitationId, TenantId},
    tenancy::{
        Invitation, Invitations, Membership, Role,
        invitation::{self, How, Rejection},
        invitations::Row,
        membership, tenant,
    },
    users::{Account, account},
    values::{Email, PersonName},
};
use prognet_sdk::{
    AnswerInvitation, InvitationLook, InvitationPage, InvitationView, InvitePerson, MemberStatus, OwnTenant,
};
use prognet_supervisor::{Asking, HomeKind, Written};

use super::{
    Problems,
    accounts::{language, may_mail},
    members::{known_tenant, role},
    tenants,
};
use crate::{
    Edge,
    caller::{Caller, Stranger},
    gate,
    input::{Json, Query},
    list::{self, Page},
    problem::{Problem, invalid},
};

type Answer = Result<HttpResponse, Problem>;

/// Asks a person into a tenant by mail; the answer is the same whether or not the address has an account.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/invitations", tag = "invitations", request_body(content = InvitePerson, example = json!({ "email": "grace@example.org", "role": "member", "language": "en" })), params(("tenant" = String, Path, description = "The tenant's id, `ten_...`"), ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry meet the first attempt: 1 to 200 visible ASCII characters")),
    responses((status = 201, description = "Invited; the mail is under way", body = InvitationView, example = json!({ "id": "inv_01k9xq5v3hfk8t2m4n6p8r0s2x", "email": "grace@example.org", "role": "member", "invited_by": "acc_01k9xq5v3hfk8t2m4n6p8r0s2w", "created_at": "2026-01-01T12:00:00.000Z", "expires_at": "2026-01-08T12:00:00.000Z" })), Problems))]
pub(crate) async fn invite(
    caller: Caller,
    tenant: Path<String>,
    Json(body): Json<InvitePerson>,
    edge: Data<Edge>,
) -> Answer {
    let (row, written) = ask(&caller, tenants::id(&tenant)?, body, &edge).await?;
    let mut response = HttpResponse::build(StatusCode::CREATED);
    list::consistency(written, &edge, &mut response);
    Ok(response.json(wire(row)))
}

/// Asks a person into a tenant by mail.
pub(crate) async fn ask(
    caller: &Caller,
    tenant: TenantId,
    wanted: InvitePerson,
    edge: &Edge,
) -> Result<(Row, Option<Written>), Problem> {
    let email = Email::parse(&wanted.email).map_err(invalid("email"))?;
    let role = role(&wanted.role)?;
    let language = language(wanted.language)?;
    if role == Role::Owner {
        return Err(Problem::field("role", "one of admin, member, custom; an owner is made of a member"));
    }
    let scope = caller.may(Right::InviteMembers, tenant)?;
    let known = known_tenant(tenant, scope.asking(), edge).await?;
    let by = caller.authority(known.custom_role);
    if role == Role::Custom && !by.has_custom() {
        return Err(membership::Rejection::UndefinedRole.into());
    }
    if !by.is_over(role) {
        return Err(membership::Rejection::BeyondReach.into());
    }
    gate::is_open(&known)?;
    let tenancy = &edge.settings.tenancy;
    let open_max = tenancy.invitations_open_max;
    let open = edge.node.rows::<Invitations, Row>(&Invitations::of_tenant(tenant), None, open_max).await?;
    if open.len() >= open_max {
        return Err(Problem::too_many_invitations(open_max));
    }
    may_mail(&email, caller.peer(), edge)?;
    let named = [tenant.number().to_be_bytes().as_slice(), email.key().as_bytes()].concat();
    let id = InvitationId::new(edge.node.hash("invitation", &named));
    let inviter = edge.node.read(scope.asking(), Account::at(caller.account())).await?;
    let account::View { name: inviter_name, language: own_language, .. } =
        inviter.ok_or_else(Problem::session_ended)?;
    let language = language.unwrap_or(own_language);
    let lasts = tenancy.invitation_life;
    let tenant::View { name: tenant_name, colour, .. } = known;
    let invite =
        invitation::Command::Invite { email, role, lasts, tenant_name, colour, inviter_name, language };
    let invited = edge.node.ask(scope.asking(), Invitation::at(tenant, id), invite).await?;
    let view = invited.reply.ok_or(Rejection::Unknown)?;
    let invitation::View { email, role, by, created_at, until, .. } = view;
    Ok((Row { id, email, role, by, created_at, until }, invited.written))
}

/// Invitations of a tenant that nobody has answered yet.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/invitations", tag = "invitations", params(("tenant" = String, Path, description = "The tenant's id, `ten_...`"), Page),
    responses((status = 200, description = "A page of invitations", body = InvitationPage, example = json!({ "data": [{ "id": "inv_01k9xq5v3hfk8t2m4n6p8r0s2x", "email": "grace@example.org", "role": "member", "invited_by": "acc_01k9xq5v3hfk8t2m4n6p8r0s2w", "created_at": "2026-01-01T12:00:00.000Z", "expires_at": "2026-01-08T12:00:00.000Z" }], "next": null })), Problems))]
pub(crate) async fn list(
    caller: Caller,
    tenant: Path<String>,
    Query(page): Query<Page>,
    edge: Data<Edge>,
) -> Answer {
    Ok(HttpResponse::Ok().json(open_of(&caller, tenants::id(&tenant)?, &page, &edge).await?))
}

/// A page of a tenant's invitations that nobody has answered yet.
pub(crate) async fn open_of(
    caller: &Caller,
    tenant: TenantId,
    page: &Page,
    edge: &Edge,
) -> Result<InvitationPage, Problem> {
    let scope = caller.may(Right::InviteMembers, tenant)?;
    known_tenant(tenant, scope.asking(), edge).await?;
    let (list, prefix) = (format!("invitations/{tenant}"), Invitations::of_tenant(tenant));
    let (rows, next) = list::page::<Invitations, Row>(&list, &prefix, page, scope.asking(), edge).await?;
    Ok(InvitationPage { data: rows.into_iter().map(wire).collect(), next })
}

/// Revokes an invitation: its link opens nothing, unless the same address is invited again.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/invitations/{invitation}", tag = "invitations", params(("tenant" = String, Path, description = "The tenant's id, `ten_...`"), ("invitation" = String, Path, description = "The invitation's id, `inv_...`"), ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry meet the first attempt: 1 to 200 visible ASCII characters")),
    responses((status = 204, description = "Revoked"), Problems))]
pub(crate) async fn revoke(caller: Caller, path: Path<(String, String)>, edge: Data<Edge>) -> Answer {
    let (tenant, invitation) = path.into_inner();
    let written = end(&caller, tenants::id(&tenant)?, &invitation, &edge).await?;
    let mut response = HttpResponse::NoContent();
    list::consistency(written, &edge, &mut response);
    Ok(response.finish())
}

/// Revokes an invitation.
pub(crate) async fn end(
    caller: &Caller,
    tenant: TenantId,
    invitation: &str,
    edge: &Edge,
) -> Result<Option<Written>, Problem> {
    let id: InvitationId = invitation.parse().map_err(|invalid| Problem::field("invitation", invalid))?;
    let scope = caller.may(Right::InviteMembers, tenant)?;
    let revoke = invitation::Command::Revoke;
    Ok(edge.node.ask(scope.asking(), Invitation::at(tenant, id), revoke).await?.written)
}

/// Shows what the link in a mail invites to; uses nothing up.
#[utoipa::path(post, path = "/v1/invitations/look", tag = "invitations", request_body(content = AnswerInvitation, example = json!({ "token": "BQEB..." })),
    responses((status = 200, description = "What it invites to", body = InvitationLook, example = json!({ "tenant_name": "Acme", "invited_by": "Ada Lovelace", "email": "grace@example.org", "role": "member", "expires_at": "2026-01-08T12:00:00.000Z" })), Problems), security(()))]
pub(crate) async fn look(stranger: Stranger, Json(body): Json<AnswerInvitation>, edge: Data<Edge>) -> Answer {
    Ok(HttpResponse::Ok().json(behind(&body.token, &stranger, &edge).await?))
}

/// What the link in a mail invites to.
pub(crate) async fn behind(token: &str, stranger: &Stranger, edge: &Edge) -> Result<InvitationLook, Problem> {
    let (tenant, id) = named(token, edge).await?;
    let invitation = open(tenant, id, stranger.asking(), edge).await?;
    let known = known_tenant(tenant, stranger.asking(), edge).await?;
    Ok(InvitationLook {
        tenant_name: known.name.to_string(),
        invited_by: name_of(invitation.by, stranger.asking(), edge).await?.map(|name| name.to_string()),
        email: invitation.email.to_string(),
        role: invitation.role.name().to_owned(),
        expires_at: invitation.until.to_string(),
    })
}

/// Accepts an invitation: the caller, whose address it must be for, is a member from then on.
///
/// Without an account yet: sign up with the same address first; the invitation waits.
#[utoipa::path(post, path = "/v1/invitations/accept", tag = "invitations", request_body(content = AnswerInvitation, example = json!({ "token": "BQEB..." })), params(("Idempotency-Key" = Option<String>, Header, description = "Makes a retry meet the first attempt: 1 to 200 visible ASCII characters")),
    responses((status = 200, description = "The tenant the caller belongs to now", body = OwnTenant, example = json!({ "tenant": { "id": "ten_01k9xq5v3hfk8t2m4n6p8r0s2v", "name": "Acme", "slug": "acme", "status": "active", "version": 1, "created_at": "2026-01-01T12:00:00.000Z" }, "role": "member", "status": "active", "joined_at": "2026-01-01T12:00:00.000Z" })), Problems))]
pub(crate) async fn accept(caller: Caller, Json(body): Json<AnswerInvitation>, edge: Data<Edge>) -> Answer {
    let (own, written) = let_in(&caller, &body.token, &edge).await?;
    let mut response = HttpResponse::Ok();
    list::consistency(written, &edge, &mut response);
    Ok(response.json(own))
}

/// Accepts an invitation for the caller, who is a member from then on.
pub(crate) async fn let_in(
    caller: &Caller,
    token: &str,
    edge: &Edge,
) -> Result<(OwnTenant, Option<Written>), Problem> {
    let ((tenant, id), own) = (named(token, edge).await?, caller.own());
    let known = known_tenant(tenant, own.asking(), edge).await?;
    gate::is_open(&known)?;
    let account = caller.account();
    // The gate lets in whoever's address was verified, and nobody else.
    let person = edge.node.read(own.asking(), Account::at(account)).await?;
    let email = person.ok_or_else(Problem::session_ended)?.email;
    let accept = invitation::Command::Accept { account, email };
    let accepted = edge.node.ask_to_end(own.asking(), Invitation::at(tenant, id), accept).await?;
    edge.gate.forget_member(tenant, account);
    if accepted.reply.is_none_or(|invitation| invitation.was_refused) {
        return Err(Problem::member_suspended());
    }
    let member = edge.node.read(own.asking(), Membership::at(tenant, account)).await?;
    let member = member.ok_or(membership::Rejection::Unknown)?;
    match member.status {
        membership::Status::Active => {}
        membership::Status::Suspended { .. } => return Err(Problem::member_suspended()),
        // It let somebody in once, who was removed since.
        membership::Status::Removed { .. } => return Err(Rejection::Over { how: How::Accepted }.into()),
    }
    let own = OwnTenant {
        tenant: tenants::wire_of(tenant, &known),
        role: member.role.name().to_owned(),
        status: MemberStatus::Active,
        joined_at: member.joined_at.to_string(),
    };
    Ok((own, accepted.written))
}

/// Declines an invitation; whoever has the mail may.
#[utoipa::path(post, path = "/v1/invitations/decline", tag = "invitations", request_body(content = AnswerInvitation, example = json!({ "token": "BQEB..." })), params(("Idempotency-Key" = Option<String>, Header, description = "Makes a retry meet the first attempt: 1 to 200 visible ASCII characters")),
    responses((status = 204, description = "Declined"), Problems), security(()))]
pub(crate) async fn decline(
    stranger: Stranger,
    Json(body): Json<AnswerInvitation>,
    edge: Data<Edge>,
) -> Answer {
    let (tenant, id) = named(&body.token, &edge).await?;
    let entity = Invitation::at(tenant, id);
    edge.node.ask(stranger.asking(), entity, invitation::Command::Decline).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The invitation that a link's token is about.
async fn named(token: &str, edge: &Edge) -> Result<(TenantId, InvitationId), Problem> {
    let named = LinkKey::of(&edge.node).await?.read(Purpose::AcceptInvitation, token);
    let named = named.filter(|(home, _)| home.kind == HomeKind::Tenant);
    let (home, id) = named.ok_or(Rejection::Unknown)?;
    Ok((TenantId::new(home.id), InvitationId::new(id)))
}

/// An invitation that waits for an answer.
async fn open(
    tenant: TenantId,
    id: InvitationId,
    asking: &Asking,
    edge: &Edge,
) -> Result<invitation::View, Problem> {
    let invitation = edge.node.read(asking, Invitation::at(tenant, id)).await?.ok_or(Rejection::Unknown)?;
    let is_late = edge.node.clock().now() >= invitation.until;
    match invitation.status.ended() {
        Some(how) => Err(Rejection::Over { how }.into()),
        // Its time counts, not its timer.
        None if is_late => Err(Rejection::Over { how: How::Expired }.into()),
        None => Ok(invitation),
    }
}

async fn name_of(account: AccountId, asking: &Asking, edge: &Edge) -> Result<Option<PersonName>, Problem> {
    Ok(edge.node.read(asking, Account::at(account)).await?.map(|account| account.name))
}

fn wire(row: Row) -> InvitationView {
    let Row { id, email, role, by, created_at, until } = row;
    InvitationView {
        id: id.to_string(),
        email: email.to_string(),
        role: role.name().to_owned(),
        invited_by: by.to_string(),
        created_at: created_at.to_string(),
        expires_at: until.to_string(),
    }
}
