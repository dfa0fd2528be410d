//! Tenants: found, read, list, rename, suspend, resume.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web::{Data, Path},
};
use prognet_actors::{
    auth::access::Right,
    ids::TenantId,
    tenancy::{
        self, Directory, FoundTenant, Tenant, directory,
        found_tenant::{self, Plan},
        tenant::{self, Reason, Status, View},
    },
    users::Reservation,
    values::{Colour, Slug, TenantName},
};
use prognet_sdk::{
    ChangeTenant, CreateTenant, SessionLimits, SuspendTenant, Suspension, TenantPage, TenantStatus,
    TenantView,
};
use prognet_supervisor::{Asking, Timestamp, Written};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{Problems, sessions};

use crate::{
    Edge,
    caller::Caller,
    input::{Json, Query, page_items},
    list::{self, Page},
    problem::{Problem, invalid},
};

type Answer = Result<HttpResponse, Problem>;

/// Founds a tenant, which the caller owns; the same `Idempotency-Key` meets the same one.
#[utoipa::path(post, path = "/v1/tenants", tag = "tenants", request_body(content = CreateTenant, example = json!({ "name": "Acme", "slug": "acme" })), params(("Idempotency-Key" = Option<String>, Header, description = "Makes a retry meet the first attempt: 1 to 200 visible ASCII characters")),
    responses((status = 201, description = "Founded", body = TenantView), Problems))]
pub(crate) async fn create(caller: Caller, Json(body): Json<CreateTenant>, edge: Data<Edge>) -> Answer {
    let (tenant, view, written) = found(&caller, body, &edge).await?;
    Ok(answer(StatusCode::CREATED, &edge, tenant, &view, written))
}

/// Founds a tenant, which the caller owns.
pub(crate) async fn found(
    caller: &Caller,
    wanted: CreateTenant,
    edge: &Edge,
) -> Result<(TenantId, View, Option<Written>), Problem> {
    let slug = Slug::parse(&wanted.slug).map_err(invalid("slug"))?;
    let name = TenantName::parse(&wanted.name).map_err(invalid("name"))?;
    let scope = caller.may_on_platform(Right::CreateTenant)?;
    let tenant = TenantId::new(scope.created_id(edge));
    let slug_reservation = reservation_of(&slug, edge);
    let is_counted = !caller.principal().is_platform_admin;
    let at_most = is_counted.then_some(edge.settings.tenancy.per_account_max);
    let plan = Plan { tenant, slug, slug_reservation, name, owner: caller.account(), at_most };
    let start = found_tenant::Command::Start(plan);
    let founded = edge.node.ask_to_end(scope.asking(), FoundTenant::at(tenant), start).await?;
    if let found_tenant::View::Failed(failure) = founded.reply {
        return Err(failure.into());
    }
    let view = known(edge.node.read(scope.asking(), Tenant::at(tenant)).await?)?;
    Ok((tenant, view, founded.written))
}

/// One tenant, as it is now.
#[utoipa::path(get, path = "/v1/tenants/{tenant}", tag = "tenants", params(("tenant" = String, Path, description = "The tenant's id, `ten_...`")),
    responses((status = 200, description = "The tenant; `ETag` is its version", body = TenantView), Problems))]
pub(crate) async fn read(caller: Caller, tenant: Path<String>, edge: Data<Edge>) -> Answer {
    let tenant = id(&tenant)?;
    let scope = caller.may(Right::ReadTenant, tenant)?;
    let view = known(edge.node.read(scope.asking(), Tenant::at(tenant)).await?)?;
    Ok(answer(StatusCode::OK, &edge, tenant, &view, None))
}

/// Gives it another name or colour, the colour of its mails; with `If-Match` only if nobody changed it meanwhile.
#[utoipa::path(patch, path = "/v1/tenants/{tenant}", tag = "tenants", request_body = ChangeTenant, params(("tenant" = String, Path, description = "The tenant's id, `ten_...`"), ("If-Match" = Option<String>, Header, description = "Only at this version"), ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry meet the first attempt: 1 to 200 visible ASCII characters")),
    responses((status = 200, description = "Changed", body = TenantView), Problems))]
pub(crate) async fn rename(
    caller: Caller,
    tenant: Path<String>,
    Json(body): Json<ChangeTenant>,
    edge: Data<Edge>,
    request: HttpRequest,
) -> Answer {
    let if_version = if_match(&request)?;
    let name = body.name.map(|name| TenantName::parse(&name)).transpose().map_err(invalid("name"))?;
    let command = match (body.colour, name) {
        (Some(colour), name) => {
            let colour = colour.map(|colour| Colour::parse(&colour)).transpose();
            tenant::Command::Paint { colour: colour.map_err(invalid("colour"))?, name, if_version }
        }
        (None, Some(name)) => tenant::Command::Rename { name, if_version },
        (None, None) => return Err(Problem::field("name", "a name, a `colour`, or both")),
    };
    ask(&caller, Right::RenameTenant, &tenant, command, &edge).await
}

/// Limits sessions, for this tenant alone, beyond what the platform does: tokens for it are refused within 5 seconds
/// whose sign-in is older, or was left unused for longer. It takes a sign-in of the last 10 minutes.
#[utoipa::path(put, path = "/v1/tenants/{tenant}/session-limits", tag = "tenants", request_body(content = SessionLimits, example = json!({ "lasts_s": 43200, "idle_s": 3600 })), params(("tenant" = String, Path, description = "The tenant's id, `ten_...`"), ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry meet the first attempt: 1 to 200 visible ASCII characters")),
    responses((status = 200, description = "Limited", body = TenantView), Problems))]
pub(crate) async fn limit_sessions(
    caller: Caller,
    tenant: Path<String>,
    Json(body): Json<SessionLimits>,
    edge: Data<Edge>,
) -> Answer {
    let limit = |field: &'static str, seconds: Option<u64>| {
        let limit = seconds.map(Duration::from_secs);
        match limit {
            Some(limit) if !tenancy::SessionLimits::RANGE.contains(&limit) => {
                Err(Problem::field(field, "1800 to 7776000 seconds, or none"))
            }
            limit => Ok(limit),
        }
    };
    let limits = tenancy::SessionLimits {
        lasts: limit("lasts_s", body.lasts_s)?,
        idle: limit("idle_s", body.idle_s)?,
    };
    caller.may(Right::LimitSessions, id(&tenant)?)?;
    sessions::fresh(&caller, &edge).await?;
    ask(&caller, Right::LimitSessions, &tenant, tenant::Command::LimitSessions { limits }, &edge).await
}

/// Locks everyone out; nothing is deleted. With `until` it ends by itself.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/suspend", tag = "tenants", request_body = SuspendTenant, params(("tenant" = String, Path, description = "The tenant's id, `ten_...`"), ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry meet the first attempt: 1 to 200 visible ASCII characters")),
    responses((status = 200, description = "Suspended", body = TenantView), Problems))]
pub(crate) async fn suspend(
    caller: Caller,
    tenant: Path<String>,
    Json(body): Json<SuspendTenant>,
    edge: Data<Edge>,
) -> Answer {
    let reason = serde_json::from_value::<Reason>(body.reason.into())
        .map_err(|_why| Problem::field("reason", "one of abuse, nonpayment, request, other"))?;
    let time =
        |text: String| Timestamp::parse(&text).ok_or_else(|| Problem::field("until", "an RFC 3339 time"));
    let until = body.until.map(time).transpose()?;
    ask(&caller, Right::SuspendTenant, &tenant, tenant::Command::Suspend { reason, until }, &edge).await
}

/// Opens it again.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/resume", tag = "tenants", params(("tenant" = String, Path, description = "The tenant's id, `ten_...`"), ("Idempotency-Key" = Option<String>, Header, description = "Makes a retry meet the first attempt: 1 to 200 visible ASCII characters")),
    responses((status = 200, description = "Open again", body = TenantView), Problems))]
pub(crate) async fn resume(caller: Caller, tenant: Path<String>, edge: Data<Edge>) -> Answer {
    ask(&caller, Right::SuspendTenant, &tenant, tenant::Command::Resume, &edge).await
}

/// Which tenants.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Sought {
    /// The one with this slug alone, if there is one.
    slug: Option<String>,
    /// A page's `next`: reads on behind it.
    after: Option<String>,
    /// Items of the page, 50 unless said otherwise.
    #[param(minimum = 1)]
    limit: Option<usize>,
    /// The `Prognet-Consistency` of a write that the list must show.
    consistency: Option<String>,
}

/// Tenants in the order they were founded; `consistency` takes the token of a write the list must show.
///
/// With `slug` it is the one tenant that has it, or none: as it is now, whatever the list shows so far.
#[utoipa::path(get, path = "/v1/tenants", tag = "tenants", params(Sought),
    responses((status = 200, description = "A page of tenants", body = TenantPage), Problems))]
pub(crate) async fn list(caller: Caller, Query(sought): Query<Sought>, edge: Data<Edge>) -> Answer {
    let scope = caller.may_on_platform(Right::ListTenants)?;
    let Sought { slug, after, limit, consistency } = sought;
    let page = Page { after, limit, consistency };
    if let Some(slug) = slug {
        page_items(page.limit, &edge)?;
        if page.after.is_some() {
            return Err(Problem::field("after", "not with `slug`, of which there is one page"));
        }
        let found = with_slug(&slug, scope.asking(), &edge).await?;
        return Ok(HttpResponse::Ok().json(TenantPage { data: found.into_iter().collect(), next: None }));
    }
    let prefix = Directory::PREFIX;
    let (rows, next) =
        list::page::<Directory, directory::Row>("tenants", prefix, &page, scope.asking(), &edge).await?;
    let data = rows.into_iter().map(|row| {
        let directory::Row { id, name, slug, colour, status, version, created_at, .. } = row;
        wire(id, (&name, &slug, colour.as_ref()), status, version, created_at)
    });
    Ok(HttpResponse::Ok().json(TenantPage { data: data.collect(), next }))
}

/// The tenant whose slug it is: its reservation knows.
async fn with_slug(slug: &str, asking: &Asking, edge: &Edge) -> Result<Option<TenantView>, Problem> {
    let slug = Slug::parse(slug).map_err(invalid("slug"))?;
    let held = edge.node.read(asking, Reservation::at(reservation_of(&slug, edge))).await?;
    let Some(id) = held.owner.map(TenantId::new) else { return Ok(None) };
    // It may be claimed for a tenant that is being founded.
    let view = edge.node.read(asking, Tenant::at(id)).await?;
    Ok(view.map(|view| wire_of(id, &view)))
}

/// The reservation that gives a slug to one tenant.
fn reservation_of(slug: &Slug, edge: &Edge) -> u128 {
    edge.node.hash("slug", slug.as_str().as_bytes())
}

async fn ask(caller: &Caller, right: Right, tenant: &str, command: tenant::Command, edge: &Edge) -> Answer {
    let tenant = id(tenant)?;
    let scope = caller.may(right, tenant)?;
    let answered = edge.node.ask(scope.asking(), Tenant::at(tenant), command).await?;
    edge.gate.forget_tenant(tenant);
    Ok(answer(StatusCode::OK, edge, tenant, &known(answered.reply)?, answered.written))
}

fn answer(
    status: StatusCode,
    edge: &Edge,
    id: TenantId,
    view: &View,
    written: Option<Written>,
) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    response.insert_header((header::ETAG, format!("\"{}\"", view.version)));
    list::consistency(written, edge, &mut response);
    response.json(wire_of(id, view))
}

/// A tenant as it crosses the door.
pub(crate) fn wire_of(id: TenantId, view: &View) -> TenantView {
    let View { name, slug, colour, status, session_limits, version, created_at, .. } = view;
    let tenancy::SessionLimits { lasts, idle } = session_limits;
    let seconds = |limit: &Option<Duration>| limit.map(|limit| limit.as_secs());
    let limits = SessionLimits { lasts_s: seconds(lasts), idle_s: seconds(idle) };
    TenantView {
        session_limits: (limits != SessionLimits::default()).then_some(limits),
        ..wire(id, (name, slug, colour.as_ref()), *status, *version, *created_at)
    }
}

fn wire(
    id: TenantId,
    (name, slug, colour): (&TenantName, &Slug, Option<&Colour>),
    status: Status,
    version: u64,
    created_at: Timestamp,
) -> TenantView {
    let (status, suspension) = match status {
        Status::Active => (TenantStatus::Active, None),
        Status::Suspended { since, reason, until } => {
            let reason = serde_json::to_value(reason).ok().and_then(|word| word.as_str().map(str::to_owned));
            let until = until.map(|until| until.to_string());
            let suspension =
                Suspension { since: since.to_string(), reason: reason.unwrap_or_default(), until };
            (TenantStatus::Suspended, Some(suspension))
        }
    };
    TenantView {
        id: id.to_string(),
        name: name.to_string(),
        slug: slug.to_string(),
        colour: colour.map(ToString::to_string),
        session_limits: None,
        status,
        suspension,
        version,
        created_at: created_at.to_string(),
    }
}

/// The tenant, if there is one.
pub(crate) fn known(view: Option<View>) -> Result<View, Problem> {
    view.ok_or_else(|| tenant::Rejection::Unknown.into())
}

/// A tenant's id in a path.
pub(crate) fn id(text: &str) -> Result<TenantId, Problem> {
    text.parse().map_err(|invalid| Problem::field("tenant", invalid))
}

fn if_match(request: &HttpRequest) -> Result<Option<u64>, Problem> {
    let Some(tag) = request.headers().get(header::IF_MATCH) else {
        return Ok(None);
    };
    let version = tag.to_str().ok().and_then(|tag| tag.trim_matches('"').parse().ok());
    version.map(Some).ok_or_else(|| Problem::field("If-Match", "an ETag of the tenant"))
}

/// How many tenants there may be, and how people come in.
#[derive(Debug, Clone)]
pub struct TenancySettings {
    /// Tenants one person may have founded and still own; the platform's admins found as many as they like.
    pub per_account_max: usize,
    /// Invitations of one tenant that nobody has answered yet.
    pub invitations_open_max: usize,
    /// How long an invitation waits for an answer.
    pub invitation_life: Duration,
}

impl Default for TenancySettings {
    fn default() -> Self {
        let invitation_life = Duration::from_secs(7 * 24 * 3600);
        Self { per_account_max: 10, invitations_open_max: 200, invitation_life }
    }
}
