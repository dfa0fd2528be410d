//! Access: may this caller do that? Pure, and the one place that decides it.
//!
//! Within a tenant a right takes a permission, which the caller has by what it is there (`tenancy/role.rs`);
//! outside of one, rights are the platform's.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{AccountId, TenantId},
    tenancy::{
        membership::{self, Status},
        role::{Permission, Permissions, Role},
        tenant,
    },
};

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
    /// See who belongs to a tenant, and what its roles allow.
    ReadMembers,
    /// Invite people to a tenant, see invitations and revoke them.
    InviteMembers,
    /// Change the roles of members of a tenant, suspend and remove them.
    ManageMembers,
    /// Leave a tenant.
    Leave,
    /// Define a tenant's own role.
    DefineRole,
    /// Say how old a sign-in may be for a tenant.
    LimitSessions,
    /// See the tenants one belongs to.
    ListOwnTenants,
    /// Follow what happens on the whole platform.
    WatchPlatform,
    /// Look into running entities, and release them.
    InspectActors,
    /// Revoke the keys that sign access tokens.
    RevokeKeys,
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
    /// The tenant their token is for; without one it is for the platform.
    pub tenant: Option<TenantId>,
    /// What they may do in that tenant, as its owner or as its member.
    pub permissions: Permissions,
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
/// A token for a tenant is good for that tenant alone, whoever holds it; one for the platform is good for what
/// is its holder's own, and for everything if that is one of the platform's admins.
///
/// # Errors
/// Why not.
pub fn may(who: &Principal, right: Right, on: Option<TenantId>) -> Result<(), Denied> {
    match (who.tenant, on) {
        (None, _) if who.is_platform_admin => Ok(()),
        (None, None) => of_anybody(right),
        (None, Some(_)) => Err(Denied::Hidden),
        (Some(_), None) => Err(Denied::Forbidden),
        (Some(own), Some(tenant)) if own != tenant => Err(Denied::Hidden),
        (Some(_), Some(_)) => of_member(who.permissions, right),
    }
}

/// How far somebody's say over others goes in a tenant: nobody gives or takes what they lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    own: Permissions,
    /// What the tenant's own role allows, once it is defined.
    custom: Option<Permissions>,
}

impl Authority {
    /// Everybody's over themselves.
    pub const OWN: Self = Self { own: Permissions::ALL, custom: None };

    /// A caller's, in the tenant of the token or, for a platform admin, in any.
    #[must_use]
    pub const fn of(who: &Principal, custom: Option<Permissions>) -> Self {
        let is_operator = who.is_platform_admin && who.tenant.is_none();
        Self { own: if is_operator { Permissions::ALL } else { who.permissions }, custom }
    }

    /// That of a role.
    #[must_use]
    pub const fn of_role(role: Role, custom: Option<Permissions>) -> Self {
        Self { own: role.permissions(custom), custom }
    }

    /// Whether these permissions are theirs to give and take.
    #[must_use]
    pub const fn covers(self, permissions: Permissions) -> bool {
        self.own.cover(permissions)
    }

    /// Whether the role is theirs to give and take.
    #[must_use]
    pub const fn is_over(self, role: Role) -> bool {
        self.covers(role.permissions(self.custom))
    }

    /// Whether the tenant has a role of its own.
    #[must_use]
    pub const fn has_custom(self) -> bool {
        self.custom.is_some()
    }
}

/// What everybody with an account may do on the platform.
const fn of_anybody(right: Right) -> Result<(), Denied> {
    match right {
        Right::CreateTenant | Right::ListOwnTenants => Ok(()),
        Right::ListTenants
        | Right::ReadTenant
        | Right::RenameTenant
        | Right::SuspendTenant
        | Right::ReadEvents
        | Right::ReadAudit
        | Right::ReadMembers
        | Right::InviteMembers
        | Right::ManageMembers
        | Right::Leave
        | Right::DefineRole
        | Right::LimitSessions
        | Right::WatchPlatform
        | Right::InspectActors
        | Right::RevokeKeys
        | Right::LookAfterPeople => Err(Denied::Forbidden),
    }
}

const fn of_member(permissions: Permissions, right: Right) -> Result<(), Denied> {
    let takes = match right {
        // Nobody is held.
        Right::Leave => return Ok(()),
        Right::ReadTenant => Permission::ReadTenant,
        Right::RenameTenant => Permission::RenameTenant,
        Right::ReadEvents => Permission::ReadEvents,
        Right::ReadAudit => Permission::ReadAudit,
        Right::ReadMembers => Permission::ReadMembers,
        Right::InviteMembers => Permission::InviteMembers,
        Right::ManageMembers => Permission::ManageMembers,
        // Whoever says what others may do says how they prove that it is them.
        Right::DefineRole | Right::LimitSessions => Permission::DefineRole,
        Right::CreateTenant
        | Right::ListTenants
        | Right::ListOwnTenants
        | Right::SuspendTenant
        | Right::WatchPlatform
        | Right::InspectActors
        | Right::RevokeKeys
        | Right::LookAfterPeople => return Err(Denied::Forbidden),
    };
    if permissions.has(takes) { Ok(()) } else { Err(Denied::Forbidden) }
}

/// Why an account has no place in a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barred {
    /// It is no member.
    Stranger,
    /// It is suspended.
    Suspended,
    /// It was a member.
    Removed,
}

/// What an account may do in a tenant, by what the tenant and the membership say of themselves.
///
/// Who owns it, the tenant alone says; a membership that says so for a moment longer gives nothing.
///
/// # Errors
/// Why it has no place there.
pub fn place_in(
    tenant: &tenant::View,
    account: AccountId,
    membership: Option<&membership::View>,
) -> Result<Permissions, Barred> {
    if tenant.owners.contains(&account) {
        return Ok(Role::Owner.permissions(None));
    }
    let member = membership.ok_or(Barred::Stranger)?;
    match (member.status, member.role) {
        (Status::Suspended { .. }, _) => Err(Barred::Suspended),
        (Status::Removed { .. }, _) => Err(Barred::Removed),
        (Status::Active, Role::Owner) => Ok(Permissions::NONE),
        (Status::Active, role) => Ok(role.permissions(tenant.custom_role)),
    }
}

#[cfg(test)]
mod tests {
    use prognet_supervisor::testing::NOON;

    use super::*;
    use crate::values::{Slug, TenantName};

    const OWN: TenantId = TenantId::new(1);
    const OTHER: TenantId = TenantId::new(2);
    const OWNER: AccountId = AccountId::new(7);
    const MEMBER: AccountId = AccountId::new(8);

    fn who(is_platform_admin: bool, tenant: Option<TenantId>, role: Role) -> Principal {
        Principal { account: OWNER, is_platform_admin, tenant, permissions: role.permissions(None) }
    }

    #[test]
    fn a_platform_admin_does_everything_with_a_token_for_the_platform() {
        let admin = who(true, None, Role::Custom);
        assert_eq!(may(&admin, Right::SuspendTenant, Some(OWN)), Ok(()));
        assert_eq!(may(&admin, Right::ListTenants, None), Ok(()));
        assert!(Authority::of(&admin, None).is_over(Role::Owner));
    }

    #[test]
    fn a_token_for_a_tenant_is_good_for_that_tenant_alone() {
        for is_platform_admin in [false, true] {
            let who = who(is_platform_admin, Some(OWN), Role::Owner);
            assert_eq!(may(&who, Right::ReadTenant, Some(OWN)), Ok(()));
            assert_eq!(may(&who, Right::ReadTenant, Some(OTHER)), Err(Denied::Hidden));
            assert_eq!(may(&who, Right::SuspendTenant, Some(OWN)), Err(Denied::Forbidden));
            assert_eq!(may(&who, Right::ListTenants, None), Err(Denied::Forbidden));
            assert_eq!(may(&who, Right::ListOwnTenants, None), Err(Denied::Forbidden));
        }
    }

    #[test]
    fn anybody_founds_tenants_and_meets_nothing_else() {
        let anybody = who(false, None, Role::Owner);
        assert_eq!(may(&anybody, Right::CreateTenant, None), Ok(()));
        assert_eq!(may(&anybody, Right::ReadTenant, Some(OWN)), Err(Denied::Hidden));
        assert_eq!(may(&anybody, Right::WatchPlatform, None), Err(Denied::Forbidden));
    }

    #[test]
    fn a_member_does_what_the_role_allows_and_may_always_leave() {
        let is_allowed = |role, right| may(&who(false, Some(OWN), role), right, Some(OWN)).is_ok();
        assert!(is_allowed(Role::Member, Right::ReadMembers));
        assert!(!is_allowed(Role::Member, Right::ManageMembers));
        assert!(is_allowed(Role::Admin, Right::ManageMembers));
        assert!(!is_allowed(Role::Custom, Right::ReadTenant), "an undefined role allows nothing");
        assert!(Role::ALL.into_iter().all(|role| is_allowed(role, Right::Leave)));
    }

    /// Security bar 43: nobody grants what they lack.
    #[test]
    fn nobody_grants_what_they_lack() {
        let is_over =
            |own: Role, other: Role| Authority::of(&who(false, Some(OWN), own), None).is_over(other);
        assert!(is_over(Role::Owner, Role::Owner) && is_over(Role::Admin, Role::Admin));
        assert!(!is_over(Role::Admin, Role::Owner) && !is_over(Role::Member, Role::Admin));
        let operator = who(true, Some(OWN), Role::Member);
        assert!(!Authority::of(&operator, None).is_over(Role::Admin), "a tenant's token is no more");
        let custom = Some(Permissions::NONE.with(Permission::DefineRole));
        assert!(!Authority::of(&who(false, Some(OWN), Role::Member), custom).is_over(Role::Custom));
    }

    #[test]
    fn a_place_comes_from_the_tenants_owners_and_the_membership() {
        let custom = Permissions::NONE.with(Permission::ReadAudit);
        let tenant = tenant::View {
            name: TenantName::parse("Acme").unwrap(),
            slug: Slug::parse("acme").unwrap(),
            status: tenant::Status::Active,
            colour: None,
            owners: vec![OWNER],
            excused: Vec::new(),
            custom_role: Some(custom),
            session_limits: crate::tenancy::SessionLimits::default(),
            version: 1,
            epoch: 0,
            created_at: NOON,
        };
        let member = |role, status| {
            Some(membership::View { role, status, joined_at: NOON, pending: None, refused: None })
        };
        let place =
            |account, membership: Option<membership::View>| place_in(&tenant, account, membership.as_ref());
        assert_eq!(place(OWNER, None), Ok(Permissions::ALL), "from before there were memberships");
        assert_eq!(place(MEMBER, None), Err(Barred::Stranger));
        assert_eq!(place(MEMBER, member(Role::Custom, Status::Active)), Ok(custom));
        assert_eq!(place(MEMBER, member(Role::Owner, Status::Active)), Ok(Permissions::NONE));
        let (suspended, removed) = (Status::Suspended { since: NOON }, Status::Removed { since: NOON });
        assert_eq!(place(MEMBER, member(Role::Admin, suspended)), Err(Barred::Suspended));
        assert_eq!(place(MEMBER, member(Role::Admin, removed)), Err(Barred::Removed));
    }
}
