//! Sessions: sign in, go on, sign out; and who is asking.

use std::time::Duration;

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
    web::{Data, Path},
};
use prognet_actors::{
    auth::{
        Credential, Session, credential,
        session::{self, End, Terms},
    },
    ids::{AccountId, SessionId, TenantId},
    users::{Account, Reservation, account},
    values::{Email, password::Rules},
};
use prognet_sdk::{Me, Refresh, SignIn, Tokens};
use prognet_supervisor::{Asking, Written};

use super::Problems;
use crate::{
    Breached, Edge, HashCost, ThrottleSettings,
    caller::{Caller, Stranger},
    input::Json,
    peer::Peer,
    place::tenant_for,
    problem::{Problem, invalid},
    record,
    throttle::Wait,
    tokens::{self, Device, Refreshing},
};

type Answer = Result<HttpResponse, Problem>;

/// Opens a session: an access token, and a refresh token to go on with.
///
/// Whether the address, the password or the account is wrong, the answer and the work behind it are the same.
/// Who guesses is slowed down (429 with `Retry-After`); strangers who guess slow nobody down whose `device` is known.
#[utoipa::path(post, path = "/v1/sessions", tag = "sessions", request_body = SignIn, params(("Idempotency-Key" = Option<String>, Header, description = "Makes a retry meet the first attempt: 1 to 200 visible ASCII characters")),
    responses((status = 201, description = "Signed in", body = Tokens), Problems), security(()))]
pub(crate) async fn sign_in(stranger: Stranger, Json(body): Json<SignIn>, edge: Data<Edge>) -> Answer {
    let opened = open(&stranger, body, &edge).await?;
    answer(StatusCode::CREATED, &edge, opened.first, opened.tenant, Some(opened.device))
}

/// What signing in gives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opened {
    pub(crate) first: Refreshing,
    tenant: Option<(TenantId, u64)>,
    pub(crate) device: Device,
}

/// Opens a session for whoever knows an address and its password.
pub(crate) async fn open(stranger: &Stranger, wanted: SignIn, edge: &Edge) -> Result<Opened, Problem> {
    let SignIn { email, password, tenant, device } = wanted;
    let email = Email::parse(&email).map_err(invalid("email"))?;
    let device = device.and_then(|device| Device::parse(&device, &edge.node));
    let asking = stranger.asking();
    let proven = proven(&email, password, device, stranger.peer(), asking, edge).await?;
    let Proven { account, epoch, .. } = proven;
    let asking = Asking { asker: account.number(), ..*asking };
    let wanted = tenant.as_deref();
    let tenant = match may_sign_in(proven.status) {
        Ok(()) => tenant_for(account, None, wanted, &asking, edge).await,
        Err(problem) => Err(problem),
    };
    let kept_out = |problem: &Problem| record::kept_out(stranger.peer(), account, wanted, problem.code());
    let tenant = tenant.inspect_err(kept_out)?;
    let id = SessionId::new(stranger.created_id(edge));
    let auth = &edge.settings.auth;
    let terms = Terms { lasts: auth.refresh_lasts, idle: auth.refresh_idle, grace: auth.refresh_grace };
    let tenant_id = tenant.map(|(tenant, _)| tenant);
    let open =
        session::Command::Open { terms, tenant: tenant_id, epoch, device: stranger.peer().device.clone() };
    edge.node.ask(&asking, Session::at(account, id), open).await?;
    // A retry gets what the session has come to, which may be more than its first reply said.
    let view = edge.node.read(&asking, Session::at(account, id)).await?;
    let view = view.filter(|view| view.ended.is_none()).ok_or_else(Problem::session_ended)?;
    let first = Refreshing { account, session: id, generation: view.generation };
    record::signed_in(stranger.peer(), account, tenant_id, id);
    let known = device.filter(|device| device.of(account).is_some());
    let device = known.unwrap_or_else(|| Device::fresh(account, &edge.node));
    Ok(Opened { first, tenant, device })
}

/// Goes on with a session: the next access token and the next refresh token.
///
/// The access token is for the `tenant` that is named, or for the platform: so a session switches between tenants.
/// Repeating it within the grace gives the same refresh token; after that the session ends.
#[utoipa::path(post, path = "/v1/sessions/refresh", tag = "sessions", request_body = Refresh,
    responses((status = 200, description = "The next tokens", body = Tokens), Problems), security(()))]
pub(crate) async fn refresh(stranger: Stranger, Json(body): Json<Refresh>, edge: Data<Edge>) -> Answer {
    let Refresh { refresh_token, tenant } = body;
    let spent = Refreshing::parse(&refresh_token, &edge.node).ok_or_else(Problem::unauthorized)?;
    let Refreshing { account, session, generation } = spent;
    let asking = Asking { asker: account.number(), key: None, ..*stranger.asking() };
    let wanted = tenant.as_deref();
    let kept_out = |problem: &Problem| record::kept_out(stranger.peer(), account, wanted, problem.code());
    let so_far = stands(account, session, &asking, &edge).await.inspect_err(kept_out)?;
    let tenant = tenant_for(account, Some(&so_far), wanted, &asking, &edge).await.inspect_err(kept_out)?;
    let refresh = session::Command::Refresh { generation };
    let refreshed = edge.node.ask(&asking, Session::at(account, session), refresh).await?;
    let view = refreshed.reply.ok_or_else(Problem::session_ended)?;
    match view.ended {
        None => {
            let next = Refreshing { generation: view.generation, ..spent };
            answer(StatusCode::OK, &edge, next, tenant, None)
        }
        Some(End::Reused) => {
            edge.gate.forget_session(account, session);
            Err(Problem::new(
                StatusCode::UNAUTHORIZED,
                "session/reused",
                "A refresh token was used twice, so the session ended",
            ))
        }
        Some(End::SignedOut | End::Expired | End::Revoked) => Err(Problem::session_ended()),
    }
}

/// The caller proved just now who they are (OWASP ASVS 7.5.1): by opening this session, not by refreshing it.
pub(crate) async fn fresh(caller: &Caller, edge: &Edge) -> Result<(), Problem> {
    let session = Session::at(caller.account(), caller.claims().sid);
    let view = edge.node.read(caller.own().asking(), session).await?.ok_or_else(Problem::session_ended)?;
    if view.is_fresh(edge.node.clock().now()) { Ok(()) } else { Err(Problem::not_fresh()) }
}

/// Ends one of the caller's sessions: its tokens are refused from now on.
#[utoipa::path(delete, path = "/v1/sessions/{session}", tag = "sessions", params(("session" = String, Path, description = "The session's id, `ses_...`")),
    responses((status = 204, description = "Ended"), Problems))]
pub(crate) async fn end(caller: Caller, session: Path<String>, edge: Data<Edge>) -> Answer {
    let id: SessionId = session.parse().map_err(|error| Problem::field("session", error))?;
    sign_out(&caller, id, &edge).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Ends a session of the caller's; what was written is for lists that must show it.
pub(crate) async fn sign_out(
    caller: &Caller,
    id: SessionId,
    edge: &Edge,
) -> Result<Option<Written>, Problem> {
    let entity = Session::at(caller.account(), id);
    let ended = edge.node.ask(caller.own().asking(), entity, session::Command::End(End::SignedOut)).await?;
    edge.gate.forget_session(caller.account(), id);
    Ok(ended.written)
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

/// Somebody whose password was right, and the epoch of their sessions when it was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Proven {
    pub(crate) account: AccountId,
    pub(crate) status: account::Status,
    epoch: u64,
}

/// The account behind an address and its password, however it stands.
pub(crate) async fn proven(
    email: &Email,
    password: String,
    device: Option<Device>,
    peer: &Peer,
    asking: &Asking,
    edge: &Edge,
) -> Result<Proven, Problem> {
    let reservation = Reservation::at(edge.node.hash("email", email.key().as_bytes()));
    let held = edge.node.read(asking, reservation).await?;
    // Without an owner the same entities are asked, of an account that is nobody's, another one for each address.
    let nobody = || edge.node.hash("nobody", email.key().as_bytes());
    let account = AccountId::new(held.owner.unwrap_or_else(nobody));
    let known = device.and_then(|device| device.of(account));
    let epoch = guess(account, password, known, peer, asking, edge).await?;
    let view = edge.node.read(asking, Account::at(account)).await?;
    // An address that was another's lately is kept for its account, and is no way into it.
    let view = view.filter(|view| held.is_confirmed && view.email.key() == email.key());
    match (epoch, view) {
        (Some(epoch), Some(view)) => Ok(Proven { account, epoch, status: view.status }),
        (Some(_) | None, _) => Err(wrong()),
    }
}

/// Tries a password; none if it is wrong. Whoever tries too many waits.
pub(crate) async fn guess(
    account: AccountId,
    password: String,
    device: Option<u128>,
    peer: &Peer,
    asking: &Asking,
    edge: &Edge,
) -> Result<Option<u64>, Problem> {
    let now = edge.node.clock().now();
    let guess = edge.throttle.guess(account.number(), peer.network, device, now);
    let guess = guess.map_err(|Wait(wait)| {
        record::not_proven(peer, account, "too many guesses");
        Problem::slow_down(wait)
    })?;
    let tried = tried(account, password, asking, edge).await;
    if matches!(tried, Ok(None)) {
        record::not_proven(peer, account, "the password is wrong");
    } else {
        guess.forgive();
    }
    tried
}

/// The epoch of the account's sessions, if the password is right; its hash is renewed then, if that is due.
async fn tried(
    account: AccountId,
    password: String,
    asking: &Asking,
    edge: &Edge,
) -> Result<Option<u64>, Problem> {
    let entity = Credential::at(account);
    let credential::View { password: kept, version, epoch, .. } = edge.node.read(asking, entity).await?;
    if !edge.passwords.is_right(password.clone(), kept.clone()).await? {
        return Ok(None);
    }
    if kept.is_some_and(|kept| edge.passwords.is_outdated(&kept)) {
        let password = edge.passwords.hash_of(password, edge.node.clock().fresh_id()).await?;
        let rehash = credential::Command::Rehash { password, version };
        if let Err(refused) = edge.node.ask(&Asking { key: None, ..*asking }, entity, rehash).await {
            // The next sign-in tries again.
            tracing::debug!(%refused, "failed to keep a better hash");
        }
    }
    Ok(Some(epoch))
}

/// Whoever knows the password is told no more than others, but for how to stay.
fn may_sign_in(status: account::Status) -> Result<(), Problem> {
    match status {
        account::Status::Active => Ok(()),
        account::Status::Leaving { until } => Err(Problem::leaving(until)),
        account::Status::Pending | account::Status::Disabled | account::Status::Closed => Err(wrong()),
    }
}

pub(crate) fn wrong() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "session/credentials", "The address or the password is wrong")
}

/// A session that may go on, as far as its account says.
async fn stands(
    account: AccountId,
    id: SessionId,
    asking: &Asking,
    edge: &Edge,
) -> Result<session::View, Problem> {
    let view = edge.node.read(asking, Account::at(account)).await?;
    let is_active = view.is_some_and(|account| account.status == account::Status::Active);
    let credential = edge.node.read(asking, Credential::at(account)).await?;
    let session = edge.node.read(asking, Session::at(account, id)).await?;
    let session = session.ok_or(session::Rejection::Unknown)?;
    if !is_active {
        return Err(Problem::session_ended());
    }
    if !credential.carries(id, session.epoch) {
        edge.node.ask(asking, Session::at(account, id), session::Command::End(End::Revoked)).await?;
        return Err(Problem::session_ended());
    }
    Ok(session)
}

fn answer(
    status: StatusCode,
    edge: &Edge,
    next: Refreshing,
    tenant: Option<(TenantId, u64)>,
    device: Option<Device>,
) -> Answer {
    let Refreshing { account, session, .. } = next;
    let tokens = Tokens {
        access_token: tokens::access(edge, account, session, tenant)?,
        token_type: "Bearer".to_owned(),
        expires_in: edge.settings.auth.access_lasts.as_secs(),
        refresh_token: next.token(&edge.node),
        session: session.to_string(),
        account: account.to_string(),
        tenant: tenant.map(|(id, _)| id.to_string()),
        device: device.map(|device| device.token(&edge.node)),
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
    /// How long a person who deletes their account may change their mind.
    pub leaving_grace: Duration,
    /// How long an address is kept for somebody who signed up and has not shown yet that it is theirs.
    pub sign_up_lasts: Duration,
    /// What a new password must be.
    pub password_rules: Rules,
    /// Passwords that were in a leak, if the operator has a list.
    pub breached: Option<Breached>,
    /// What hashing a password takes.
    pub hash_cost: HashCost,
    /// How many wrong passwords somebody may try.
    pub throttle: ThrottleSettings,
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
            leaving_grace: DAY.saturating_mul(7),
            sign_up_lasts: DAY,
            password_rules: Rules::default(),
            breached: None,
            hash_cost: HashCost::default(),
            throttle: ThrottleSettings::default(),
        }
    }
}
