//! Places: which tenant a token is for, and what its holder may do there.

use prognet_actors::{
    auth::{
        access::{Barred, place_in},
        session,
    },
    ids::{AccountId, TenantId},
    tenancy::{Membership, Permissions, Tenant, membership, tenant},
};
use prognet_supervisor::Asking;

use crate::{Edge, gate, problem::Problem};

/// What an account may do in a tenant.
///
/// Owners have no need of a membership: it is read for all others, by `read`.
pub(crate) async fn permissions(
    tenant: &tenant::View,
    account: AccountId,
    read: impl Future<Output = Result<Option<membership::View>, Problem>>,
) -> Result<Result<Permissions, Barred>, Problem> {
    let membership = if tenant.owners.contains(&account) { None } else { read.await? };
    Ok(place_in(tenant, account, membership.as_ref()))
}

/// The tenant a token is asked for, at its epoch: one that the account belongs to, that is open, and for which the
/// session is good enough, unless it is a new one.
pub(crate) async fn tenant_for(
    account: AccountId,
    session: Option<&session::View>,
    tenant: Option<&str>,
    asking: &Asking,
    edge: &Edge,
) -> Result<Option<(TenantId, u64)>, Problem> {
    let Some(id) = tenant else { return Ok(None) };
    let id: TenantId = id.parse().map_err(|error| Problem::field("tenant", error))?;
    let tenant = edge.node.read(asking, Tenant::at(id)).await?.ok_or_else(Problem::tenant_unknown)?;
    let membership = async { Ok(edge.node.read(asking, Membership::at(id, account)).await?) };
    match permissions(&tenant, account, membership).await? {
        Ok(_) => {}
        // Who never was or is no longer a member is not told that there is such a tenant.
        Err(Barred::Stranger | Barred::Removed) => return Err(Problem::tenant_unknown()),
        Err(Barred::Suspended) => return Err(Problem::member_suspended()),
    }
    gate::is_open(&tenant)?;
    let now = edge.node.clock().now();
    if session.is_some_and(|session| !tenant.session_limits.allow(session, now)) {
        return Err(Problem::session_outlived());
    }
    Ok(Some((id, tenant.epoch)))
}

/// Why a token for a tenant stands no longer.
pub(crate) fn barred(why: Barred) -> Problem {
    match why {
        Barred::Stranger => Problem::unauthorized(),
        Barred::Suspended => Problem::member_suspended(),
        Barred::Removed => Problem::member_removed(),
    }
}
