//! Roles, and what they allow: three that every tenant has, and one that a tenant defines itself.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What somebody is in a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Does everything, and appoints other owners. A tenant always has one.
    Owner,
    /// Does everything but appointing owners.
    Admin,
    /// Sees the tenant, its events and its members.
    Member,
    /// Does what the tenant's own definition lists; nothing, as long as there is none.
    Custom,
}

impl Role {
    /// All roles, the strongest first.
    pub const ALL: [Self; 4] = [Self::Owner, Self::Admin, Self::Member, Self::Custom];

    /// What the role allows, in a tenant that defines its own as `custom`.
    #[must_use]
    pub const fn permissions(self, custom: Option<Permissions>) -> Permissions {
        match (self, custom) {
            (Self::Owner, _) => Permissions::ALL,
            (Self::Admin, _) => Permissions::ALL.without(Permission::AppointOwners),
            (Self::Member, _) => Permissions::NONE
                .with(Permission::ReadTenant)
                .with(Permission::ReadEvents)
                .with(Permission::ReadMembers),
            (Self::Custom, Some(custom)) => custom,
            (Self::Custom, None) => Permissions::NONE,
        }
    }

    /// Its public name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Member => "member",
            Self::Custom => "custom",
        }
    }

    /// The role with a public name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

macro_rules! permissions {
    ($($(#[$meta:meta])* $variant:ident = $name:literal,)*) => {
        /// One thing that can be allowed in a tenant. Names are a promise: they stand in events and requests.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Permission {
            $($(#[$meta])* #[serde(rename = $name)] $variant,)*
        }

        impl Permission {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its public name, e.g. `members:read`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

permissions! {
    /// See the tenant.
    ReadTenant = "tenant:read",
    /// Give the tenant another name.
    RenameTenant = "tenant:rename",
    /// Follow what happens in the tenant.
    ReadEvents = "events:read",
    /// See who did what in the tenant.
    ReadAudit = "audit:read",
    /// See who belongs to the tenant, and what its roles allow.
    ReadMembers = "members:read",
    /// Invite people, see invitations and revoke them.
    InviteMembers = "members:invite",
    /// Change the roles of members, suspend and remove them.
    ManageMembers = "members:manage",
    /// Define the tenant's own role.
    DefineRole = "roles:define",
    /// Make members owners, and end that.
    AppointOwners = "owners:appoint",
}

impl Permission {
    /// The permission with a public name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|permission| permission.name() == name)
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// A set of permissions: a bit each in memory, a list of names wherever it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions(u16);

impl Permissions {
    /// None at all.
    pub const NONE: Self = Self(0);
    /// All there are.
    pub const ALL: Self = Self((1 << Permission::ALL.len()) - 1);

    /// These, and one more.
    #[must_use]
    pub const fn with(self, permission: Permission) -> Self {
        Self(self.0 | permission.bit())
    }

    /// These, but one.
    #[must_use]
    pub const fn without(self, permission: Permission) -> Self {
        Self(self.0 & !permission.bit())
    }

    /// Whether it is among them.
    #[must_use]
    pub const fn has(self, permission: Permission) -> bool {
        self.0 & permission.bit() != 0
    }

    /// Whether all of the others are among them.
    #[must_use]
    pub const fn cover(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// These and those.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// One after the other.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.iter().copied().filter(move |permission| self.has(*permission))
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        permissions.into_iter().fold(Self::NONE, Self::with)
    }
}

impl Serialize for Permissions {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_seq(self.iter().collect::<Vec<_>>())
    }
}

impl<'de> Deserialize<'de> for Permissions {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Vec::deserialize(input).map(|permissions: Vec<Permission>| permissions.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_permission_has_a_bit_and_a_name_of_its_own() {
        for (place, permission) in Permission::ALL.iter().enumerate() {
            assert_eq!(permission.bit(), 1 << place);
            assert_eq!(Permission::named(permission.name()), Some(*permission));
            assert_eq!(serde_json::json!(permission), permission.name(), "events have the public name");
        }
        assert_eq!(Permissions::ALL.iter().count(), Permission::ALL.len());
        assert_eq!(Permission::named("members:*"), None);
    }

    #[test]
    fn a_set_is_written_as_names_and_read_back() {
        let set: Permissions = [Permission::ReadAudit, Permission::ReadTenant].into_iter().collect();
        let written = serde_json::to_string(&set).unwrap();
        assert_eq!(written, r#"["tenant:read","audit:read"]"#);
        assert_eq!(serde_json::from_str::<Permissions>(&written).unwrap(), set);
    }

    #[test]
    fn an_admin_does_everything_but_appointing_owners_and_a_member_looks() {
        let of = |role: Role| role.permissions(None);
        assert!(of(Role::Owner).cover(of(Role::Admin)) && of(Role::Admin).cover(of(Role::Member)));
        let beyond: Vec<_> = Permissions::ALL.iter().filter(|one| !of(Role::Admin).has(*one)).collect();
        assert_eq!(beyond, [Permission::AppointOwners]);
        assert!(!of(Role::Member).has(Permission::InviteMembers));
        assert_eq!(of(Role::Custom), Permissions::NONE, "as long as it is not defined");
        let custom = Permissions::NONE.with(Permission::ReadAudit);
        assert_eq!(Role::Custom.permissions(Some(custom)), custom);
        for role in Role::ALL {
            assert_eq!(Role::named(role.name()), Some(role));
        }
    }
}
