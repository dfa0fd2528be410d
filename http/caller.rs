//! Who asks. A request without a proven caller reaches no handler, and without a scope no entity.

use std::{future::Future, pin::Pin};

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header, web};
use prognet_actors::{
    auth::access::{Authority, Denied, Principal, Right, may},
    ids::{AccountId, TenantId},
    tenancy::Permissions,
};
use prognet_supervisor::Asking;

use crate::{Edge, peer::Peer, problem::Problem, record, request, tokens::Claims};

/// A proven caller.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    principal: Principal,
    claims: Claims,
    asking: Asking,
    peer: Peer,
}

/// The right to ask something of a tenant or of the platform: made by [`Caller::may`] and nowhere else.
#[derive(Debug)]
pub(crate) struct Scope {
    asking: Asking,
}

impl Scope {
    /// What goes with its commands.
    pub(crate) const fn asking(&self) -> &Asking {
        &self.asking
    }

    /// Ids of what a keyed request creates come from its key, so that a retry meets the same entity.
    pub(crate) fn created_id(&self, edge: &Edge) -> u128 {
        created_id(&self.asking, edge)
    }
}

impl Caller {
    /// Whoever a browser's cookie stands for, as if with a token that says this. What people did a moment ago they did
    /// at any node, and expect to see: nothing that this one remembers is believed.
    pub(crate) async fn of_browser(
        request: &HttpRequest,
        edge: &Edge,
        claims: Claims,
    ) -> Result<Self, Problem> {
        let principal = edge.gate.stands_now(edge, &claims).await?;
        record::proven(request, &principal);
        let asking = asking(request, edge, principal.account)?;
        Ok(Self { principal, claims, asking, peer: Peer::of(request, edge) })
    }

    /// Its right to do something to a tenant.
    pub(crate) fn may(&self, right: Right, on: TenantId) -> Result<Scope, Problem> {
        self.scope(right, Some(on))
    }

    /// Its right to do something to the platform.
    pub(crate) fn may_on_platform(&self, right: Right) -> Result<Scope, Problem> {
        self.scope(right, None)
    }

    /// Its right to what is its own.
    pub(crate) const fn own(&self) -> Scope {
        Scope { asking: self.asking }
    }

    fn scope(&self, right: Right, on: Option<TenantId>) -> Result<Scope, Problem> {
        may(&self.principal, right, on).map_err(|why| {
            if why == Denied::Hidden {
                record::hidden(&self.peer, &self.principal, on);
            }
            denied(why)
        })?;
        Ok(self.own())
    }

    /// Its say over others in a tenant that defines its own role as `custom`.
    pub(crate) const fn authority(&self, custom: Option<Permissions>) -> Authority {
        Authority::of(&self.principal, custom)
    }

    /// The account it acts for.
    pub(crate) const fn account(&self) -> AccountId {
        self.principal.account
    }

    pub(crate) const fn principal(&self) -> &Principal {
        &self.principal
    }

    pub(crate) const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Where it asks from.
    pub(crate) const fn peer(&self) -> &Peer {
        &self.peer
    }
}

/// A denial as the caller sees it: what is not theirs does not exist.
pub(crate) fn denied(denied: Denied) -> Problem {
    match denied {
        Denied::Hidden => Problem::tenant_unknown(),
        Denied::Forbidden => Problem::forbidden(),
    }
}

/// Somebody who is not proven, at one of the few doors that take them.
#[derive(Debug)]
pub(crate) struct Stranger {
    asking: Asking,
    peer: Peer,
}

impl Stranger {
    /// What goes with its commands.
    pub(crate) const fn asking(&self) -> &Asking {
        &self.asking
    }

    /// Where they ask from.
    pub(crate) const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// See [`Scope::created_id`].
    pub(crate) fn created_id(&self, edge: &Edge) -> u128 {
        created_id(&self.asking, edge)
    }
}

type Proving<T> = Pin<Box<dyn Future<Output = Result<T, Problem>>>>;

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Proving<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Proving<Self> {
        let request = request.clone();
        Box::pin(async move {
            let edge = edge(&request)?;
            let token = bearer(&request).ok_or_else(Problem::unauthorized)?;
            let admitted = edge.gate.admit(&edge, token).await?;
            record::proven(&request, &admitted.principal);
            let asking = asking(&request, &edge, admitted.principal.account)?;
            let peer = Peer::of(&request, &edge);
            Ok(Self { principal: admitted.principal, claims: admitted.claims, asking, peer })
        })
    }
}

impl FromRequest for Stranger {
    type Error = Problem;
    type Future = std::future::Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let stranger = edge(request).and_then(|edge| {
            let asking = asking(request, &edge, AccountId::new(0))?;
            Ok(Self { asking, peer: Peer::of(request, &edge) })
        });
        std::future::ready(stranger)
    }
}

fn edge(request: &HttpRequest) -> Result<web::Data<Edge>, Problem> {
    request.app_data::<web::Data<Edge>>().cloned().ok_or_else(Problem::unauthorized)
}

fn bearer(request: &HttpRequest) -> Option<&str> {
    let given = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = given.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

fn asking(request: &HttpRequest, edge: &Edge, account: AccountId) -> Result<Asking, Problem> {
    let now = edge.node.clock().now();
    Ok(Asking {
        asker: account.number(),
        key: key(request, edge, account)?,
        trace: request::trace(request),
        deadline: now.after(edge.settings.deadline),
    })
}

/// The idempotency key, hashed with the caller, the method and the path.
fn key(request: &HttpRequest, edge: &Edge, account: AccountId) -> Result<Option<u128>, Problem> {
    let Some(key) = request.headers().get("Idempotency-Key") else {
        return Ok(None);
    };
    let is_valid = (1..=200).contains(&key.len()) && key.as_bytes().iter().all(u8::is_ascii_graphic);
    if !is_valid {
        return Err(Problem::field("Idempotency-Key", "1 to 200 visible ASCII characters"));
    }
    let mut bytes = account.number().to_be_bytes().to_vec();
    bytes.extend_from_slice(request.method().as_str().as_bytes());
    bytes.extend_from_slice(request.path().as_bytes());
    bytes.push(b' ');
    bytes.extend_from_slice(key.as_bytes());
    Ok(Some(edge.node.hash("idempotency-key", &bytes)))
}

fn created_id(asking: &Asking, edge: &Edge) -> u128 {
    asking.key.unwrap_or_else(|| edge.node.clock().fresh_id())
}
