//! The record of who came in, who did not, and what was refused (OWASP ASVS 16.3.1 and 16.3.2): a line of the log
//! each, of a target of its own, with who it was, for which tenant, from where and, as every line, when and in which
//! request. It names ids and network addresses, never what was typed.

use actix_web::{
    HttpMessage, HttpRequest,
    http::{Method, StatusCode},
};
use prognet_actors::{
    auth::access::Principal,
    ids::{AccountId, SessionId, TenantId},
};
use tracing::field::display;

use crate::{Edge, peer::Peer, problem::Problem};

/// What a log filter calls these lines: `log.filter = "warn,access=info"`.
const TARGET: &str = "access";

/// Whoever a request was proven to be of, for what is said of it later.
#[derive(Debug, Clone, Copy)]
struct Who {
    account: AccountId,
    tenant: Option<TenantId>,
}

/// Notes who a request is of.
pub(crate) fn proven(request: &HttpRequest, who: &Principal) {
    request.extensions_mut().insert(Who { account: who.account, tenant: who.tenant });
}

/// Somebody signed in.
pub(crate) fn signed_in(peer: &Peer, account: AccountId, tenant: Option<TenantId>, session: SessionId) {
    let tenant = tenant.map(display);
    tracing::info!(target: TARGET, { account.id = %account, tenant.id = tenant, session.id = %session, peer.address = %peer.address, trace = %trace(peer) }, "signed in {account}");
}

/// Somebody was not taken for whoever has an account; of an address that is nobody's, it is one that is nobody's.
pub(crate) fn not_proven(peer: &Peer, account: AccountId, why: &'static str) {
    tracing::info!(target: TARGET, { account.id = %account, peer.address = %peer.address, trace = %trace(peer), why }, "did not take somebody for {account}: {why}");
}

/// Somebody whose password was right did not come in all the same.
pub(crate) fn kept_out(peer: &Peer, account: AccountId, tenant: Option<&str>, code: &'static str) {
    // Whatever else was asked for is no tenant, and not repeated.
    let tenant = tenant.and_then(|tenant| tenant.parse::<TenantId>().ok()).map(display);
    tracing::info!(target: TARGET, { account.id = %account, tenant.id = tenant, peer.address = %peer.address, trace = %trace(peer), why = code }, "kept {account} out: {code}");
}

/// Somebody asked for what is another tenant's, and is told that there is no such thing.
pub(crate) fn hidden(peer: &Peer, who: &Principal, on: Option<TenantId>) {
    let Principal { account, tenant, .. } = who;
    let (tenant, on) = (tenant.map(display), on.map(display));
    tracing::info!(target: TARGET, { account.id = %account, tenant.id = tenant, wanted.tenant.id = on, peer.address = %peer.address, trace = %trace(peer) }, "hid a tenant from {account}");
}

/// Something was refused on a stream, which has no answer of its own that would say so.
pub(crate) fn on_stream(peer: &Peer, who: Option<&Principal>, problem: &Problem) {
    let is_denial = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::NOT_FOUND];
    if !is_denial.contains(&problem.status()) {
        return;
    }
    let (account, tenant) =
        (who.map(|who| display(who.account)), who.and_then(|who| who.tenant).map(display));
    let code = problem.code();
    tracing::info!(target: TARGET, { account.id = account, tenant.id = tenant, peer.address = %peer.address, trace = %trace(peer), why = code }, "refused on a stream: {code}");
}

/// A request was answered: if that was a refusal, it is noted.
pub(crate) fn answered(edge: &Edge, request: &HttpRequest, method: &Method, route: &str, status: StatusCode) {
    if !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return;
    }
    let who = request.extensions().get::<Who>().copied();
    let (account, tenant) =
        (who.map(|who| display(who.account)), who.and_then(|who| who.tenant).map(display));
    let peer = &Peer::of(request, edge);
    tracing::info!(target: TARGET, { account.id = account, tenant.id = tenant, peer.address = %peer.address, trace = %trace(peer), http.status = status.as_u16() }, "refused {method} {route}");
}

/// The request's trace, as answers name it.
fn trace(peer: &Peer) -> String {
    format!("{:032x}", peer.trace)
}
