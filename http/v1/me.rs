//! What is the caller's own: name, password, sessions, address, all that is known about them, their going.

use actix_web::{HttpResponse, http::header, web::Data};
use prognet_actors::{
    auth::{Credential, Devices, credential, devices},
    ids::TenantId,
    tenancy::Tenant,
    users::{Account, ChangeEmail, Leaving, account, change_email, leaving},
    values::{Email, PersonName},
};
use prognet_sdk::{
    Accepted, AccountExport, AccountLeaving, AuditPage, ChangeEmail as WantedEmail, ChangePassword,
    ChangeProfile, DeleteAccount, Me, SessionPage, SessionView,
};
use prognet_supervisor::Asking;

use super::{
    Problems,
    accounts::{about, may_mail, view},
    audit, members, sessions,
};
use crate::{
    Edge,
    caller::Caller,
    input::{Json, Query},
    list::{self, Page},
    problem::{Problem, invalid},
};

/// Tenants that a refusal names.
const NAMED_MAX: usize = 10;

type Answer = Result<HttpResponse, Problem>;

/// Changes the caller's password; their other sessions end if they say so, and they are told by mail.
#[utoipa::path(post, path = "/v1/me/password", tag = "me", request_body(content = ChangePassword, example = json!({ "current": "correct horse battery", "new": "staple of eleven horses", "end_other_sessions": true })),
    responses((status = 204, description = "The password is another"), Problems))]
pub(crate) async fn change_password(
    caller: Caller,
    Json(body): Json<ChangePassword>,
    edge: Data<Edge>,
) -> Answer {
    let ChangePassword { current, new, end_other_sessions } = body;
    let (scope, account) = (caller.own(), caller.account());
    let asking = Asking { key: None, ..*scope.asking() };
    let version = edge.node.read(&asking, Credential::at(account)).await?.version;
    prove(&caller, current, &edge).await?;
    let view = own(&caller, &edge).await?;
    let salt = edge.node.hash("password-salt", &edge.node.clock().fresh_id().to_be_bytes());
    let about = about(account, &view, &asking, &edge).await?;
    let password = edge.passwords.new_hash("new", new, about, salt).await?;
    let spare = end_other_sessions.then_some(caller.claims().sid);
    let change = credential::Command::Change { password, version, spare, tell: view.recipient() };
    edge.node.ask(&asking, Credential::at(account), change).await?;
    edge.gate.forget_account(account);
    Ok(HttpResponse::NoContent().finish())
}

/// The caller's account.
async fn own(caller: &Caller, edge: &Edge) -> Result<account::View, Problem> {
    let scope = caller.own();
    let view = edge.node.read(scope.asking(), Account::at(caller.account())).await?;
    view.ok_or_else(Problem::session_ended)
}

/// The caller proves anew that they are who they say (OWASP ASVS 7.5.1).
async fn prove(caller: &Caller, password: String, edge: &Edge) -> Result<(), Problem> {
    let scope = caller.own();
    let tried =
        sessions::guess(caller.account(), password, None, caller.peer(), scope.asking(), edge).await?;
    tried.map(drop).ok_or_else(Problem::wrong_password)
}

/// The caller's sessions, oldest first, with what they were opened on.
///
/// A session that was opened or ended a moment ago may show a moment later.
#[utoipa::path(get, path = "/v1/me/sessions", tag = "me", params(Page),
    responses((status = 200, description = "A page of sessions", body = SessionPage), Problems))]
pub(crate) async fn sessions(caller: Caller, Query(page): Query<Page>, edge: Data<Edge>) -> Answer {
    Ok(HttpResponse::Ok().json(sessions_of(&caller, &page, &edge).await?))
}

/// A page of the caller's sessions.
pub(crate) async fn sessions_of(caller: &Caller, page: &Page, edge: &Edge) -> Result<SessionPage, Problem> {
    let (scope, account) = (caller.own(), caller.account());
    let list = format!("sessions/{account}");
    let credential = edge.node.read(scope.asking(), Credential::at(account)).await?;
    let prefix = Devices::prefix(account);
    let (rows, next) =
        list::page::<Devices, devices::Row>(&list, &prefix, page, scope.asking(), edge).await?;
    let now = edge.node.clock().now();
    let live = rows.iter().filter(|row| credential.carries(row.id, row.epoch) && now < row.until());
    let view = |row: &devices::Row| SessionView {
        id: row.id.to_string(),
        device: row.device.clone(),
        created_at: row.opened_at.to_string(),
        used_at: row.used_at.to_string(),
        until: row.until().to_string(),
        is_current: row.id == caller.claims().sid,
    };
    Ok(SessionPage { data: live.map(view).collect(), next })
}

/// All of the caller's sessions, oldest first.
pub(crate) async fn all_sessions_of(caller: &Caller, edge: &Edge) -> Result<Vec<SessionView>, Problem> {
    let mut page = sessions_of(caller, &Page::FIRST, edge).await?;
    let mut all = std::mem::take(&mut page.data);
    while let Some(next) = page.next {
        page = sessions_of(caller, &Page::behind(next), edge).await?;
        all.append(&mut page.data);
    }
    Ok(all)
}

/// Ends all sessions of the caller but the one that asks.
#[utoipa::path(delete, path = "/v1/me/sessions", tag = "me",
    responses((status = 204, description = "The others are over"), Problems))]
pub(crate) async fn end_others(caller: Caller, edge: Data<Edge>) -> Answer {
    let (scope, account) = (caller.own(), caller.account());
    let end = credential::Command::EndSessions { spare: Some(caller.claims().sid) };
    edge.node.ask(&Asking { key: None, ..*scope.asking() }, Credential::at(account), end).await?;
    edge.gate.forget_account(account);
    Ok(HttpResponse::NoContent().finish())
}

/// Gives the caller another name.
#[utoipa::path(patch, path = "/v1/me", tag = "me", request_body(content = ChangeProfile, example = json!({ "name": "Ada King" })), params(("Idempotency-Key" = Option<String>, Header, description = "Makes a retry meet the first attempt: 1 to 200 visible ASCII characters")),
    responses((status = 200, description = "Who is asking", body = Me), Problems))]
pub(crate) async fn rename(caller: Caller, Json(body): Json<ChangeProfile>, edge: Data<Edge>) -> Answer {
    let name = PersonName::parse(&body.name).map_err(invalid("name"))?;
    let scope = caller.own();
    let rename = account::Command::Rename { name };
    edge.node.ask(scope.asking(), Account::at(caller.account()), rename).await?;
    Ok(HttpResponse::Ok().json(sessions::who(&caller, &edge).await?))
}

/// Asks for another address: the new one gets a mail with the link that makes it the account's, the old one a
/// mail with a link that takes the change back, for a week.
///
/// The answer is the same whether or not the new address is somebody else's.
#[utoipa::path(post, path = "/v1/me/email", tag = "me", request_body(content = WantedEmail, example = json!({ "password": "correct horse battery", "email": "ada@example.com" })),
    responses((status = 202, description = "Taken; the rest goes by mail", body = Accepted, example = json!({ "email": "ada@example.com" })), Problems))]
pub(crate) async fn change_email(caller: Caller, Json(body): Json<WantedEmail>, edge: Data<Edge>) -> Answer {
    let new = Email::parse(&body.email).map_err(invalid("email"))?;
    prove(&caller, body.password, &edge).await?;
    let view = own(&caller, &edge).await?;
    if new.key() == view.email.key() {
        return Err(Problem::field("email", "another address than the account has"));
    }
    may_mail(&new, caller.peer(), &edge)?;
    let reservation = |email: &Email| edge.node.hash("email", email.key().as_bytes());
    let scope = caller.own();
    let plan = change_email::Plan {
        account: caller.account(),
        person: view.recipient(),
        old_reservation: reservation(&view.email),
        new_reservation: reservation(&new),
        // A retry is the same plan, and begins nothing.
        link: scope.created_id(&edge),
        new: new.clone(),
    };
    let start = change_email::Command::Start(plan);
    edge.node.ask(scope.asking(), ChangeEmail::at(caller.account()), start).await?;
    Ok(HttpResponse::Accepted().json(Accepted { email: new.to_string() }))
}

/// Deletes the caller's account: all sessions end at once, and after the grace everything about them is erased.
///
/// Until then `POST /v1/accounts/stay` keeps it. Whoever is the only owner of a tenant hands it over first.
#[utoipa::path(delete, path = "/v1/me", tag = "me", request_body(content = DeleteAccount, example = json!({ "password": "correct horse battery" })),
    responses((status = 202, description = "About to be deleted", body = AccountLeaving, example = json!({ "until": "2026-12-02T12:00:00.000Z" })), Problems))]
pub(crate) async fn delete(caller: Caller, Json(body): Json<DeleteAccount>, edge: Data<Edge>) -> Answer {
    prove(&caller, body.password, &edge).await?;
    let (account, view) = (caller.account(), own(&caller, &edge).await?);
    let plan = leaving::Plan {
        account,
        person: view.recipient(),
        email_reservation: edge.node.hash("email", view.email.key().as_bytes()),
        until: edge.node.clock().now().after(edge.settings.auth.leaving_grace),
    };
    let scope = caller.own();
    let start = leaving::Command::Start(plan);
    let asking = Asking { key: None, ..*scope.asking() };
    let left = edge.node.ask_to_end(&asking, Leaving::at(account), start).await?;
    edge.gate.forget_account(account);
    match left.reply {
        leaving::View::Grace(until) => {
            Ok(HttpResponse::Accepted().json(AccountLeaving { until: until.to_string() }))
        }
        leaving::View::Refused | leaving::View::Needed(_) if view.is_platform_admin => {
            Err(Problem::runs_platform())
        }
        leaving::View::Needed(tenants) => Err(needed(&tenants, &asking, &edge).await?),
        leaving::View::Here | leaving::View::Refused | leaving::View::Running | leaving::View::Gone => {
            Err(leaving::Rejection::NotLeaving.into())
        }
    }
}

/// Why nobody leaves tenants that have no other owner.
async fn needed(tenants: &[TenantId], asking: &Asking, edge: &Edge) -> Result<Problem, Problem> {
    let mut named = Vec::new();
    for tenant in tenants.iter().take(NAMED_MAX) {
        let known = edge.node.read(asking, Tenant::at(*tenant)).await?;
        named.push(known.map_or_else(|| tenant.to_string(), |known| format!("{} ({tenant})", known.name)));
    }
    Ok(Problem::needed_in(&named, tenants.len() - named.len()))
}

/// What happened to the caller's account, and who did it, oldest first.
#[utoipa::path(get, path = "/v1/me/activity", tag = "me", params(Page),
    responses((status = 200, description = "A page of the trail", body = AuditPage), Problems))]
pub(crate) async fn activity(caller: Caller, Query(page): Query<Page>, edge: Data<Edge>) -> Answer {
    let (scope, account) = (caller.own(), caller.account());
    let page = audit::of_home(account.home(), &account.to_string(), &page, scope.asking(), &edge).await?;
    Ok(HttpResponse::Ok().json(page))
}

/// Everything that the platform knows about the caller, as one JSON document.
#[utoipa::path(get, path = "/v1/me/export", tag = "me",
    responses((status = 200, description = "Everything", body = AccountExport), Problems))]
pub(crate) async fn export(caller: Caller, edge: Data<Edge>) -> Answer {
    let (scope, account, known) = (caller.own(), caller.account(), own(&caller, &edge).await?);
    let sessions = all_sessions_of(&caller, &edge).await?;
    let mut page = members::own_page(&caller, &Page::FIRST, &edge).await?;
    let mut memberships = std::mem::take(&mut page.data);
    while let Some(next) = page.next {
        page = members::own_page(&caller, &Page::behind(next), &edge).await?;
        memberships.append(&mut page.data);
    }
    let named = account.to_string();
    let of = async |page: &Page| audit::of_home(account.home(), &named, page, scope.asking(), &edge).await;
    let mut activity = of(&Page::FIRST).await?;
    while let Some(next) = activity.next.take() {
        let mut more = of(&Page::behind(next)).await?;
        activity.data.append(&mut more.data);
        activity = AuditPage { data: activity.data, ..more };
    }
    let export = AccountExport {
        at: edge.node.clock().now().to_string(),
        language: language_of(&known),
        account: view(account, &known),
        sessions,
        memberships,
        activity,
    };
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_DISPOSITION, "attachment; filename=\"account.json\""))
        .json(export))
}

fn language_of(view: &account::View) -> String {
    let named = serde_json::to_value(view.language).unwrap_or_default();
    named.as_str().unwrap_or_default().to_owned()
}
