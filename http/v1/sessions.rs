//! Sessions: sign in, go on, sign out; and who is asking.

use std::time::Duration;

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
    web::{Data, Path},
};
use prognet_actors::{
    auth::{
        Credential, Session,
        session::{self, End, Terms},
    },
    ids::{AccountId, SessionId, TenantId},
    tenancy::Tenant,
    users::{Account, Reservation, account},
    values::Email,
};
use prognet_sdk::{Me, Refresh, SignIn, Tokens};
use prognet_supervisor::Asking;

use super::Problems;
use crate::{
    Edge,
    caller::{Caller, Stranger},
    gate,
    input::Json,
    problem::{Problem, invalid},
    tokens::{self, Refreshing},
};

type Answer = Result<HttpResponse, Problem>;

/// Opens a session: an access token, and a refresh token to go on with.
///
/// Whether the address, the password or the account is wrong, the answer and the work behind it are the same.
#[utoipa::path(post, path = "/v1/sessions", tag = "sessions", request_body = SignIn, params(("Idempotency-Key" = Option<String>, Header, description = "Makes a retry meet the first attempt: 1 to 200 visible ASCII characters")),
    responses((status = 201, description = "Signed in", body = Tokens), Problems), security(()))]
pub(crate) async fn sign_in(stranger: Stranger, Json(body): Json<SignIn>, edge: Data<Edge>) -> Answer {
    let (first, tenant) = open(&stranger, body, &edge).await?;
    answer(StatusCode::CREATED, &edge, first, tenant)
}

/// Opens a session for whoever knows an address and its password.
pub(crate) async fn open(
    stranger: &Stranger,
    wanted: SignIn,
    edge: &Edge,
) -> Result<(Refreshing, Option<(TenantId, u64)>), Problem> {
    let SignIn { email, password, tenant } = wanted;
    let email = Email::parse(&email).map_err(invalid("email"))?;
    let asking = stranger.asking();
    let account = account_of(&email, password, asking, edge).await?;
    let asking = Asking { asker: account.number(), ..*asking };
    let tenant = tenant_for(account, tenant.as_deref(), &asking, edge).await?;
    let id = SessionId::new(stranger.created_id(edge));
    let auth = &edge.settings.auth;
    let terms = Terms { lasts: auth.refresh_lasts, idle: auth.refresh_idle, grace: auth.refresh_grace };
    let open = session::Command::Open { terms, tenant: tenant.map(|(tenant, _)| tenant) };
    edge.node.ask(&asking, Session::at(account, id), open).await?;
    // A retry gets what the session has come to, which may be more than its first reply said.
    let view = edge.node.read(&asking, Session::at(account, id)).await?;
    let view = view.filter(|view| view.ended.is_none()).ok_or_else(Problem::session_ended)?;
    let generation = view.generation;
    Ok((Refreshing { account, session: id, generation }, tenant))
}

/// Goes on with a session: the next access token and the next refresh token.
///
/// Repeating it within the grace gives the same refresh token; after that the session ends.
#[utoipa::path(post, path = "/v1/sessions/refresh", tag = "sessions", request_body = Refresh,
    responses((status = 200, description = "The next tokens", body = Tokens), Problems), security(()))]
pub(crate) async fn refresh(stranger: Stranger, Json(body): Json<Refresh>, edge: Data<Edge>) -> Answer {
    let Refresh { refresh_token, tenant } = body;
    let spent = Refreshing::parse(&refresh_token, &edge.node).ok_or_else(Problem::unauthorized)?;
    let Refreshing { account, session, generation } = spent;
    let asking = Asking { asker: account.number(), key: None, ..*stranger.asking() };
    is_active(account, &asking, &edge).await?;
    let tenant = tenant_for(account, tenant.as_deref(), &asking, &edge).await?;
    let refresh = session::Command::Refresh { generation };
    let refreshed = edge.node.ask(&asking, Session::at(account, session), refresh).await?;
    let view = refreshed.reply.ok_or_else(Problem::session_ended)?;
    match view.ended {
        None => answer(StatusCode::OK, &edge, Refreshing { generation: view.generation, ..spent }, tenant),
        Some(End::Reused) => {
            edge.gate.forget_session(account, session);
            Err(Problem::new(
                StatusCode::UNAUTHORIZED,
                "session/reused",
                "A refresh token was used twice, so the session ended",
            ))
        }
        Some(End::SignedOut | End::Expired) => Err(Problem::session_ended()),
    }
}

/// Ends one of the caller's sessions: its tokens are refused from now on.
#[utoipa::path(delete, path = "/v1/sessions/{session}", tag = "sessions", params(("session" = String, Path, description = "The session's id, `ses_...`")),
    responses((status = 204, description = "Ended"), Problems))]
pub(crate) async fn end(caller: Caller, session: Path<String>, edge: Data<Edge>) -> Answer {
    let id: SessionId = session.parse().map_err(|error| Problem::field("session", error))?;
    sign_out(&caller, id, &edge).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Ends a session of the caller's.
pub(crate) async fn sign_out(caller: &Caller, id: SessionId, edge: &Edge) -> Result<(), Problem> {
    let entity = Session::at(caller.account(), id);
    edge.node.ask(caller.own().asking(), entity, session::Command::End(End::SignedOut)).await?;
    edge.gate.forget_session(caller.account(), id);
    Ok(())
}

/// Who is asking.
#[utoipa::path(get, path = "/v1/me", tag = "sessions",
    responses((status = 200, description = "Who is asking", body = Me), Problems))]
pub(crate) async fn me(caller: Caller, edge: Data<Edge>) -> Answer {
    Ok(HttpResponse::Ok().json(who(&caller, &edge).await?))
}

/// Who a caller is.
pub(crate) async fn who(caller: &Caller, edge: &Edge) -> Result<Me, Problem> {
    let account = edge.node.read(caller.own().asking(), Account::at(caller.account())).await?;
    let account = account.ok_or_else(Problem::session_ended)?;
    Ok(Me {
        account: caller.account().to_string(),
        email: account.email.to_string(),
        name: account.name.to_string(),
        is_platform_admin: account.is_platform_admin,
        session: caller.claims().sid.to_string(),
        tenant: caller.principal().tenant.map(|tenant| tenant.to_string()),
    })
}

/// The account behind an address and its password.
async fn account_of(
    email: &Email,
    password: String,
    asking: &Asking,
    edge: &Edge,
) -> Result<AccountId, Problem> {
    let reservation = Reservation::at(edge.node.hash("email", email.key().as_bytes()));
    let held = edge.node.read(asking, reservation).await?;
    // Without an owner the same entities are asked, of an account that is nobody's, another one for each address.
    let nobody = || edge.node.hash("nobody", email.key().as_bytes());
    let account = AccountId::new(held.owner.unwrap_or_else(nobody));
    let kept = edge.node.read(asking, Credential::at(account)).await?;
    let is_right = edge.passwords.is_right(password, kept).await?;
    let known = edge.node.read(asking, Account::at(account)).await?;
    let is_active = known.is_some_and(|account| account.status == account::Status::Active);
    if is_right && is_active && held.is_confirmed { Ok(account) } else { Err(wrong()) }
}

fn wrong() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "session/credentials", "The address or the password is wrong")
}

async fn is_active(account: AccountId, asking: &Asking, edge: &Edge) -> Result<(), Problem> {
    let account = edge.node.read(asking, Account::at(account)).await?;
    let is_active = account.is_some_and(|account| account.status == account::Status::Active);
    if is_active { Ok(()) } else { Err(Problem::session_ended()) }
}

/// The tenant a token is asked for, at its epoch: one of the account's own, and open.
pub(crate) async fn tenant_for(
    account: AccountId,
    tenant: Option<&str>,
    asking: &Asking,
    edge: &Edge,
) -> Result<Option<(TenantId, u64)>, Problem> {
    let Some(id) = tenant else { return Ok(None) };
    let id: TenantId = id.parse().map_err(|error| Problem::field("tenant", error))?;
    let tenant = edge.node.read(asking, Tenant::at(id)).await?;
    let tenant = tenant.filter(|tenant| tenant.owners.contains(&account));
    let tenant = tenant.ok_or_else(Problem::tenant_unknown)?;
    gate::is_open(&tenant)?;
    Ok(Some((id, tenant.epoch)))
}

fn answer(status: StatusCode, edge: &Edge, next: Refreshing, tenant: Option<(TenantId, u64)>) -> Answer {
    let Refreshing { account, session, .. } = next;
    let tokens = Tokens {
        access_token: tokens::access(edge, account, session, tenant)?,
        token_type: "Bearer".to_owned(),
        expires_in: edge.settings.auth.access_lasts.as_secs(),
        refresh_token: next.token(&edge.node),
        session: session.to_string(),
        account: account.to_string(),
        tenant: tenant.map(|(id, _)| id.to_string()),
    };
    Ok(HttpResponse::build(status).insert_header((header::CACHE_CONTROL, "no-store")).json(tokens))
}

/// How long tokens and sessions last.
#[derive(Debug, Clone)]
pub struct AuthSettings {
    /// What tokens name as their issuer, e.g. `https://api.example.org`; none means the address listened on.
    pub issuer: Option<String>,
    /// How long an access token is good.
    pub access_lasts: Duration,
    /// A session nobody refreshed for this long ends.
    pub refresh_idle: Duration,
    /// A session ends after this long, whatever happens.
    pub refresh_lasts: Duration,
    /// A spent refresh token gives its successor again for this long.
    pub refresh_grace: Duration,
    /// How long a key signs before the next one does.
    pub key_rotation: Duration,
}

impl Default for AuthSettings {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self {
            issuer: None,
            access_lasts: Duration::from_secs(600),
            refresh_idle: DAY.saturating_mul(14),
            refresh_lasts: DAY.saturating_mul(90),
            refresh_grace: Duration::from_secs(30),
            key_rotation: DAY.saturating_mul(30),
        }
    }
}
