//! Access: may this caller do that? Pure, and the one place that decides it.

use crate::ids::{AccountId, TenantId};

/// What can be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Found a tenant.
    CreateTenant,
    /// See the list of all tenants.
    ListTenants,
    /// See a tenant.
    ReadTenant,
    /// Give a tenant another name.
    RenameTenant,
    /// Suspend a tenant, and end that.
    SuspendTenant,
    /// Follow what happens in a tenant.
    ReadEvents,
    /// See who did what in a tenant.
    ReadAudit,
    /// Follow what happens on the whole platform.
    WatchPlatform,
    /// Look into running entities, and release them.
    InspectActors,
    /// Look people up, see what they did, keep them out and let them in again.
    LookAfterPeople,
}

/// A proven caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Principal {
    /// Who asks.
    pub account: AccountId,
    /// Whether they run the platform.
    pub is_platform_admin: bool,
    /// The tenant their token is for, as one of its owners; without one it is for the platform.
    pub tenant: Option<TenantId>,
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// What is asked for does not exist for this caller: nobody is told whether it does for others.
    Hidden,
    /// The caller sees it, and may not do this.
    Forbidden,
}

/// Whether a caller may do something, to a tenant or (without one) to the platform.
///
/// A token for a tenant is good for that tenant alone, whoever holds it; one for the platform is good for
/// its admins.
///
/// # Errors
/// Why not.
pub fn may(who: &Principal, right: Right, on: Option<TenantId>) -> Result<(), Denied> {
    match (who.tenant, on) {
        (None, _) if who.is_platform_admin => Ok(()),
        (None, Some(_)) => Err(Denied::Hidden),
        (None | Some(_), None) => Err(Denied::Forbidden),
        (Some(own), Some(tenant)) if own != tenant => Err(Denied::Hidden),
        (Some(_), Some(_)) => of_owner(right),
    }
}

fn of_owner(right: Right) -> Result<(), Denied> {
    match right {
        Right::ReadTenant | Right::RenameTenant | Right::ReadEvents | Right::ReadAudit => Ok(()),
        Right::CreateTenant
        | Right::ListTenants
        | Right::SuspendTenant
        | Right::WatchPlatform
        | Right::InspectActors
        | Right::LookAfterPeople => Err(Denied::Forbidden),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: TenantId = TenantId::new(1);
    const OTHER: TenantId = TenantId::new(2);

    fn who(is_platform_admin: bool, tenant: Option<TenantId>) -> Principal {
        Principal { account: AccountId::new(7), is_platform_admin, tenant }
    }

    #[test]
    fn a_platform_admin_does_everything_with_a_token_for_the_platform() {
        assert_eq!(may(&who(true, None), Right::SuspendTenant, Some(OWN)), Ok(()));
        assert_eq!(may(&who(true, None), Right::ListTenants, None), Ok(()));
    }

    #[test]
    fn a_token_for_a_tenant_is_good_for_that_tenant_alone() {
        for is_platform_admin in [false, true] {
            let who = who(is_platform_admin, Some(OWN));
            assert_eq!(may(&who, Right::ReadTenant, Some(OWN)), Ok(()));
            assert_eq!(may(&who, Right::ReadTenant, Some(OTHER)), Err(Denied::Hidden));
            assert_eq!(may(&who, Right::SuspendTenant, Some(OWN)), Err(Denied::Forbidden));
            assert_eq!(may(&who, Right::ListTenants, None), Err(Denied::Forbidden));
        }
    }

    #[test]
    fn anybody_else_meets_nothing() {
        assert_eq!(may(&who(false, None), Right::ReadTenant, Some(OWN)), Err(Denied::Hidden));
        assert_eq!(may(&who(false, None), Right::CreateTenant, None), Err(Denied::Forbidden));
    }
}
