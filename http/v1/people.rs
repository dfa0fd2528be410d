//! People, for whoever runs the platform: looked up, kept out, let in again, signed out.

use actix_web::{
    HttpResponse,
    web::{Data, Path},
};
use prognet_actors::{
    auth::{Credential, access::Right, credential},
    ids::AccountId,
    users::{Account, Reservation, account},
    values::Email,
};
use prognet_sdk::{AccountList, AccountView, AuditPage};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Problems, accounts::view, audit};
use crate::{
    Edge,
    caller::Caller,
    input::Query,
    list::Page,
    problem::{Problem, invalid},
};

type Answer = Result<HttpResponse, Problem>;

/// Whom to look for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Sought {
    /// The address, in any spelling.
    email: String,
}

/// The account of an address, if there is one: for platform admins.
#[utoipa::path(get, path = "/v1/accounts", tag = "accounts", params(Sought),
    responses((status = 200, description = "One account or none", body = AccountList), Problems))]
pub(crate) async fn find(caller: Caller, Query(sought): Query<Sought>, edge: Data<Edge>) -> Answer {
    let scope = caller.may_on_platform(Right::LookAfterPeople)?;
    let email = Email::parse(&sought.email).map_err(invalid("email"))?;
    let reservation = Reservation::at(edge.node.hash("email", email.key().as_bytes()));
    let held = edge.node.read(scope.asking(), reservation).await?;
    let mut data = Vec::new();
    if let Some(id) = held.owner.map(AccountId::new)
        && let Some(known) = edge.node.read(scope.asking(), Account::at(id)).await?
    {
        data.push(view(id, &known));
    }
    Ok(HttpResponse::Ok().json(AccountList { data }))
}

/// One account: for platform admins.
#[utoipa::path(get, path = "/v1/accounts/{account}", tag = "accounts", params(("account" = String, Path, description = "The account's id, `acc_...`")),
    responses((status = 200, description = "The account", body = AccountView), Problems))]
pub(crate) async fn read(caller: Caller, account: Path<String>, edge: Data<Edge>) -> Answer {
    let scope = caller.may_on_platform(Right::LookAfterPeople)?;
    let id = id(&account)?;
    let known = edge.node.read(scope.asking(), Account::at(id)).await?;
    let known = known.ok_or(account::Rejection::Unknown)?;
    Ok(HttpResponse::Ok().json(view(id, &known)))
}

/// Keeps a person out: their sessions end, and they cannot sign in. For platform admins.
#[utoipa::path(post, path = "/v1/accounts/{account}/disable", tag = "accounts", params(("account" = String, Path, description = "The account's id, `acc_...`")),
    responses((status = 200, description = "Kept out", body = AccountView), Problems))]
pub(crate) async fn disable(caller: Caller, account: Path<String>, edge: Data<Edge>) -> Answer {
    turn(&caller, &account, account::Command::Disable, &edge).await
}

/// Lets a person in again: for platform admins.
#[utoipa::path(post, path = "/v1/accounts/{account}/enable", tag = "accounts", params(("account" = String, Path, description = "The account's id, `acc_...`")),
    responses((status = 200, description = "Let in", body = AccountView), Problems))]
pub(crate) async fn enable(caller: Caller, account: Path<String>, edge: Data<Edge>) -> Answer {
    turn(&caller, &account, account::Command::Enable, &edge).await
}

async fn turn(caller: &Caller, account: &str, command: account::Command, edge: &Edge) -> Answer {
    let scope = caller.may_on_platform(Right::LookAfterPeople)?;
    let id = id(account)?;
    let turned = edge.node.ask(scope.asking(), Account::at(id), command).await?;
    edge.gate.forget_account(id);
    let known = turned.reply.ok_or(account::Rejection::Unknown)?;
    Ok(HttpResponse::Ok().json(view(id, &known)))
}

/// Ends all sessions of a person: for platform admins.
#[utoipa::path(delete, path = "/v1/accounts/{account}/sessions", tag = "accounts", params(("account" = String, Path, description = "The account's id, `acc_...`")),
    responses((status = 204, description = "All are over"), Problems))]
pub(crate) async fn end_sessions(caller: Caller, account: Path<String>, edge: Data<Edge>) -> Answer {
    let scope = caller.may_on_platform(Right::LookAfterPeople)?;
    let id = id(&account)?;
    edge.node.read(scope.asking(), Account::at(id)).await?.ok_or(account::Rejection::Unknown)?;
    let end = credential::Command::EndSessions { spare: None };
    let asking = prognet_supervisor::Asking { key: None, ..*scope.asking() };
    edge.node.ask(&asking, Credential::at(id), end).await?;
    edge.gate.forget_account(id);
    Ok(HttpResponse::NoContent().finish())
}

/// What happened to a person's account, and who did it, oldest first: for platform admins.
#[utoipa::path(get, path = "/v1/accounts/{account}/activity", tag = "accounts", params(("account" = String, Path, description = "The account's id, `acc_...`"), Page),
    responses((status = 200, description = "A page of the trail", body = AuditPage), Problems))]
pub(crate) async fn activity(
    caller: Caller,
    account: Path<String>,
    Query(page): Query<Page>,
    edge: Data<Edge>,
) -> Answer {
    let scope = caller.may_on_platform(Right::LookAfterPeople)?;
    let id = id(&account)?;
    let page = audit::of_home(id.home(), &id.to_string(), &page, scope.asking(), &edge).await?;
    Ok(HttpResponse::Ok().json(page))
}

fn id(text: &str) -> Result<AccountId, Problem> {
    text.parse().map_err(|error| Problem::field("account", error))
}
