//! The gate: whether a token still stands for somebody who may come in.
//!
//! A token tells who it was made for; since then the session may have ended, the account or its place in the
//! tenant have changed, or the tenant been suspended. The entities know; their answers are kept for a second,
//! which bounds how long a revoked token goes on (promised: 5 s) and what a busy caller costs.

use std::time::Duration;

use prognet_actors::{
    auth::{Credential, Session, access::Principal, session},
    ids::{AccountId, SessionId, TenantId},
    tenancy::{
        Membership, Permissions, Tenant, membership,
        tenant::{self, Status},
    },
    users::{Account, account},
};
use prognet_supervisor::Asking;

use crate::{
    Edge,
    kept::Kept,
    place,
    problem::Problem,
    tokens::{self, Claims},
};

/// How long an entity's answer is believed.
const FRESH: Duration = Duration::from_secs(1);
/// How long the gate waits for an entity: with the time above and a stream's looks well within the promise.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// Signatures found good are remembered: checking one costs more than the rest of a request.
const SIGNATURE_KEPT: Duration = Duration::from_secs(60);
/// Sessions, tenants, memberships and signatures remembered, each.
const REMEMBERED_MAX: usize = 50_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Gate {
    signatures: Kept<u128, Claims>,
    people: Kept<(AccountId, SessionId), Result<Person, Gone>>,
    tenants: Kept<TenantId, Option<tenant::View>>,
    memberships: Kept<(TenantId, AccountId), Option<membership::View>>,
}

#[derive(Debug, Clone, Copy)]
struct Person {
    is_platform_admin: bool,
    session: session::View,
}

/// There is no such session any more.
#[derive(Debug, Clone, Copy)]
struct Gone;

/// Somebody who may come in.
#[derive(Debug, Clone)]
pub(crate) struct Admitted {
    pub(crate) principal: Principal,
    pub(crate) claims: Claims,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            signatures: Kept::new(SIGNATURE_KEPT, REMEMBERED_MAX),
            people: Kept::new(FRESH, REMEMBERED_MAX),
            tenants: Kept::new(FRESH, REMEMBERED_MAX),
            memberships: Kept::new(FRESH, REMEMBERED_MAX),
        }
    }
}

impl Gate {
    /// Proves a token.
    pub(crate) async fn admit(&self, edge: &Edge, token: &str) -> Result<Admitted, Problem> {
        let (now, print) = (edge.node.clock().now(), edge.node.hash("bearer", token.as_bytes()));
        let claims = match self.signatures.get(&print, now) {
            Some(claims) if now < claims.until() => claims,
            Some(_) => return Err(Problem::unauthorized()),
            None => {
                let claims = tokens::verified(edge, token).ok_or_else(Problem::unauthorized)?;
                self.signatures.put(print, now, claims.clone());
                claims
            }
        };
        let principal = self.stands(edge, &claims).await?;
        Ok(Admitted { principal, claims })
    }

    /// Whether a token that was proven still stands, and for whom; whoever holds a door open asks again.
    pub(crate) async fn stands(&self, edge: &Edge, claims: &Claims) -> Result<Principal, Problem> {
        let person = self.person(edge, claims).await?;
        let permissions = match claims.tid {
            Some(tenant) => self.place(edge, tenant, claims, &person.session).await?,
            None => Permissions::NONE,
        };
        let Person { is_platform_admin, .. } = person;
        Ok(Principal { account: claims.sub, is_platform_admin, tenant: claims.tid, permissions })
    }

    /// The same, whatever was remembered: it may have changed at another node.
    pub(crate) async fn stands_now(&self, edge: &Edge, claims: &Claims) -> Result<Principal, Problem> {
        self.forget_session(claims.sub, claims.sid);
        if let Some(tenant) = claims.tid {
            self.forget_member(tenant, claims.sub);
        }
        self.stands(edge, claims).await
    }

    /// Every token is checked anew: the keys are others.
    pub(crate) fn forget_signatures(&self) {
        self.signatures.forget_all(|_| true);
    }

    /// What was remembered of a session is asked anew.
    pub(crate) fn forget_session(&self, account: AccountId, session: SessionId) {
        self.people.forget(&(account, session));
    }

    /// What was remembered of all sessions of an account is asked anew.
    pub(crate) fn forget_account(&self, account: AccountId) {
        self.people.forget_all(|(known, _)| *known == account);
    }

    /// What was remembered of a tenant is asked anew.
    pub(crate) fn forget_tenant(&self, tenant: TenantId) {
        self.tenants.forget(&tenant);
    }

    /// What was remembered of a member, and of who owns the tenant, is asked anew.
    pub(crate) fn forget_member(&self, tenant: TenantId, account: AccountId) {
        self.memberships.forget(&(tenant, account));
        self.forget_tenant(tenant);
    }

    async fn person(&self, edge: &Edge, claims: &Claims) -> Result<Person, Problem> {
        let (now, key) = (edge.node.clock().now(), (claims.sub, claims.sid));
        let person = match self.people.get(&key, now) {
            Some(person) => person,
            None => {
                let asking = asking(edge);
                let session = edge.node.read(&asking, Session::at(claims.sub, claims.sid)).await?;
                let account = edge.node.read(&asking, Account::at(claims.sub)).await?;
                let credential = edge.node.read(&asking, Credential::at(claims.sub)).await?;
                let live = session.filter(|session| {
                    session.ended.is_none()
                        && now < session.until
                        && credential.carries(claims.sid, session.epoch)
                });
                let active = account.filter(|account| account.status == account::Status::Active).zip(live);
                let person = active.map(|(account, session)| Person {
                    is_platform_admin: account.is_platform_admin,
                    session,
                });
                let person = person.ok_or(Gone);
                self.people.put(key, now, person);
                person
            }
        };
        person.map_err(|Gone| Problem::session_ended())
    }

    /// What the token's holder may do in its tenant, if it is open and lets the holder in.
    async fn place(
        &self,
        edge: &Edge,
        id: TenantId,
        claims: &Claims,
        session: &session::View,
    ) -> Result<Permissions, Problem> {
        let now = edge.node.clock().now();
        let tenant = match self.tenants.get(&id, now) {
            Some(tenant) => tenant,
            None => {
                let tenant = edge.node.read(&asking(edge), Tenant::at(id)).await?;
                self.tenants.put(id, now, tenant.clone());
                tenant
            }
        };
        let tenant = tenant.ok_or_else(Problem::unauthorized)?;
        is_open(&tenant)?;
        if claims.tep != Some(tenant.epoch) {
            return Err(Problem::unauthorized());
        }
        if !tenant.session_limits.allow(session, now) {
            return Err(Problem::session_outlived());
        }
        let membership = self.membership(edge, id, claims.sub);
        place::permissions(&tenant, claims.sub, membership).await?.map_err(place::barred)
    }

    async fn membership(
        &self,
        edge: &Edge,
        tenant: TenantId,
        account: AccountId,
    ) -> Result<Option<membership::View>, Problem> {
        let (now, key) = (edge.node.clock().now(), (tenant, account));
        if let Some(membership) = self.memberships.get(&key, now) {
            return Ok(membership);
        }
        let membership = edge.node.read(&asking(edge), Membership::at(tenant, account)).await?;
        self.memberships.put(key, now, membership);
        Ok(membership)
    }
}

/// A suspended tenant lets nobody in, and says why.
pub(crate) fn is_open(tenant: &tenant::View) -> Result<(), Problem> {
    match tenant.status {
        Status::Active => Ok(()),
        Status::Suspended { since, reason, until } => Err(Problem::tenant_suspended(since, reason, until)),
    }
}

/// What the gate asks entities with.
pub(crate) fn asking(edge: &Edge) -> Asking {
    let deadline = edge.node.clock().now().after(edge.settings.deadline.min(PATIENCE));
    Asking { asker: 0, key: None, trace: 0, deadline }
}
