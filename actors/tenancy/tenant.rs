//! A tenant: one organization, from creation on, and who owns it.
//!
//! ```text
//! (none) ──Create──▶ Active ──Suspend──▶ Suspended
//!                      ▲──Resume, or its `until`──┘
//! ```
//! It always has an owner to count on. Its members are entities of their own (`membership.rs`), which ask here
//! before one of them becomes an owner or ceases to be one; an owner whose account is about to be deleted is
//! excused first, owns on, and is counted on no longer.

use prognet_supervisor::{Aggregate, Context, Decision, Entity, Kind, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    founder::{self, Founder},
    role::{Permissions, Role},
    session_limits::SessionLimits,
};
use crate::{
    auth::access::Authority,
    ids::{AccountId, TenantId},
    users::account::{self, Account},
    values::{Colour, Slug, TenantName},
};

/// The timer that ends a suspension with an end.
const RESUME: &str = "resume";
/// Owners of one tenant: more than any board has, few enough to be read with every token.
const OWNERS_MAX: usize = 50;

/// One organization.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Tenant(Option<View>);

/// What a tenant shows of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Its name.
    pub name: TenantName,
    /// Its name in addresses.
    pub slug: Slug,
    /// Whether it is open.
    pub status: Status,
    /// Its colour in mails, if it has one.
    #[serde(default)]
    pub colour: Option<Colour>,
    /// Who can do everything in it; never nobody.
    pub owners: Vec<AccountId>,
    /// Those of them whose accounts are about to be deleted; never all.
    #[serde(default)]
    pub excused: Vec<AccountId>,
    /// What its own role allows, once it has defined one.
    pub custom_role: Option<Permissions>,
    /// What it asks of its members' sign-ins.
    #[serde(default)]
    pub session_limits: SessionLimits,
    /// Rises with every change: what `ETag` carries.
    pub version: u64,
    /// Rises with every suspension: older tokens are refused.
    pub epoch: u64,
    /// When it was created.
    pub created_at: Timestamp,
}

impl View {
    /// Whether there is an owner to count on beside this one.
    fn has_another(&self, owner: AccountId) -> bool {
        self.owners.iter().any(|known| *known != owner && !self.excused.contains(known))
    }
}

/// Whether a tenant is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Open.
    Active,
    /// Closed to everyone; nothing is deleted.
    Suspended {
        /// Since when.
        since: Timestamp,
        /// Why.
        reason: Reason,
        /// Until when, if it ends by itself.
        until: Option<Timestamp>,
    },
}

/// Why a tenant is suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It harmed others.
    Abuse,
    /// It did not pay.
    Nonpayment,
    /// Its owner asked for it.
    Request,
    /// Something else.
    Other,
}

/// What can be asked of a tenant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Command {
    /// Creates it.
    Create {
        /// Its name.
        name: TenantName,
        /// Its slug, reserved already.
        slug: Slug,
        /// Its first owner.
        owner: AccountId,
    },
    /// Gives it another name.
    Rename {
        /// The new name.
        name: TenantName,
        /// Only if it is still at this version.
        if_version: Option<u64>,
    },
    /// Gives it a colour or takes it away, and another name with that if wanted.
    Paint {
        /// The colour; none takes it away.
        colour: Option<Colour>,
        /// The new name.
        name: Option<TenantName>,
        /// Only if it is still at this version.
        if_version: Option<u64>,
    },
    /// Locks everyone out; nothing is deleted.
    Suspend {
        /// Why.
        reason: Reason,
        /// When it ends by itself, if it does.
        until: Option<Timestamp>,
    },
    /// Opens it again.
    Resume,
    /// Adds an owner, whose membership asks for it.
    AddOwner {
        /// Who.
        owner: AccountId,
    },
    /// Lets go of an owner, whose membership asks for it; not of the last one.
    RemoveOwner {
        /// Who.
        owner: AccountId,
    },
    /// An owner's account is about to be deleted: refused if there is no other owner to count on.
    Excuse {
        /// Who.
        owner: AccountId,
    },
    /// An excused owner stays after all.
    TakeBack {
        /// Who.
        owner: AccountId,
    },
    /// Defines what its own role allows.
    DefineRole {
        /// What.
        permissions: Permissions,
        /// Whose say it is: over what it allowed, and over what it is to allow.
        by: Authority,
    },
    /// Asks more of its members' sign-ins, or less.
    LimitSessions {
        /// What.
        limits: SessionLimits,
    },
    /// Has a member told by mail what it is now, whose membership asks for it.
    TellMember {
        /// Who.
        account: AccountId,
        /// The role; none if the membership has ended.
        role: Option<Role>,
    },
}

/// What has happened. Variants and fields are only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are the command's")]
pub enum Event {
    Created { name: TenantName, slug: Slug, owner: AccountId, at: Timestamp },
    Renamed { name: TenantName, at: Timestamp },
    Painted { colour: Option<Colour>, at: Timestamp },
    Suspended { reason: Reason, until: Option<Timestamp>, at: Timestamp },
    Resumed { at: Timestamp },
    OwnerAdded { owner: AccountId, at: Timestamp },
    OwnerRemoved { owner: AccountId, at: Timestamp },
    RoleDefined { permissions: Permissions, at: Timestamp },
    OwnerExcused { owner: AccountId, at: Timestamp },
    OwnerTakenBack { owner: AccountId, at: Timestamp },
    SessionsLimited { limits: SessionLimits, at: Timestamp },
}

/// Why a tenant says no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// There is none with this id.
    #[error("there is no such tenant")]
    Unknown,
    /// The id is taken.
    #[error("the tenant exists")]
    AlreadyExists,
    /// Suspended already.
    #[error("already suspended since {since}")]
    AlreadySuspended {
        /// Since when.
        since: Timestamp,
    },
    /// Not suspended.
    #[error("not suspended")]
    NotSuspended,
    /// Somebody changed it meanwhile.
    #[error("the tenant is at version {current}")]
    VersionMismatch {
        /// Its version.
        current: u64,
    },
    /// A suspension cannot end before it begins.
    #[error("`until` lies in the past")]
    UntilInThePast,
    /// Nobody would own it any more.
    #[error("a tenant keeps at least one owner")]
    LastOwner,
    /// It has as many owners as a tenant may have.
    #[error("a tenant has at most 50 owners")]
    TooManyOwners,
    /// Whoever defines its role lacks something that the role allows or is to allow.
    #[error("nobody gives or takes what they lack")]
    BeyondReach,
}

impl Tenant {
    /// The tenant with an id.
    #[must_use]
    pub const fn at(id: TenantId) -> Entity<Self> {
        Entity::new(id.home(), id.number())
    }

    fn known(&self) -> Result<&View, Rejection> {
        self.0.as_ref().ok_or(Rejection::Unknown)
    }

    fn create(
        &self,
        name: TenantName,
        slug: Slug,
        owner: AccountId,
        ctx: &Context,
    ) -> Result<Decision<Self>, Rejection> {
        match &self.0 {
            Some(_) => Err(Rejection::AlreadyExists),
            None => Ok(Decision::event(Event::Created { name, slug, owner, at: ctx.now() })),
        }
    }

    fn rename(
        &self,
        name: TenantName,
        if_version: Option<u64>,
        ctx: &Context,
    ) -> Result<Decision<Self>, Rejection> {
        let tenant = self.known()?;
        if if_version.is_some_and(|version| version != tenant.version) {
            return Err(Rejection::VersionMismatch { current: tenant.version });
        }
        if tenant.name == name {
            return Ok(Decision::nothing());
        }
        Ok(Decision::event(Event::Renamed { name, at: ctx.now() }))
    }

    fn paint(
        &self,
        colour: Option<Colour>,
        name: Option<TenantName>,
        if_version: Option<u64>,
        ctx: &Context,
    ) -> Result<Decision<Self>, Rejection> {
        let tenant = self.known()?;
        let renamed = self.rename(name.unwrap_or_else(|| tenant.name.clone()), if_version, ctx)?;
        if tenant.colour == colour {
            return Ok(renamed);
        }
        Ok(renamed.and(Event::Painted { colour, at: ctx.now() }))
    }

    fn suspend(
        &self,
        reason: Reason,
        until: Option<Timestamp>,
        ctx: &Context,
    ) -> Result<Decision<Self>, Rejection> {
        if let Status::Suspended { since, .. } = self.known()?.status {
            return Err(Rejection::AlreadySuspended { since });
        }
        if until.is_some_and(|until| until <= ctx.now()) {
            return Err(Rejection::UntilInThePast);
        }
        let decision = Decision::event(Event::Suspended { reason, until, at: ctx.now() });
        Ok(match until {
            Some(until) => decision.timer(RESUME, until, Command::Resume),
            None => decision,
        })
    }

    fn resume(&self, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        match self.known()?.status {
            Status::Active => Err(Rejection::NotSuspended),
            Status::Suspended { .. } => Ok(Decision::event(Event::Resumed { at: ctx.now() }).clear(RESUME)),
        }
    }

    fn add_owner(&self, owner: AccountId, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        let tenant = self.known()?;
        if tenant.owners.contains(&owner) {
            return Ok(Decision::nothing());
        }
        if tenant.owners.len() >= OWNERS_MAX {
            return Err(Rejection::TooManyOwners);
        }
        Ok(Decision::event(Event::OwnerAdded { owner, at: ctx.now() }))
    }

    fn remove_owner(&self, owner: AccountId, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        let tenant = self.known()?;
        if !tenant.owners.contains(&owner) {
            return Ok(Decision::nothing());
        }
        if !tenant.has_another(owner) {
            return Err(Rejection::LastOwner);
        }
        // Whoever founded it and lets go of it may found another.
        let give_back = founder::Command::GiveBack { tenant: TenantId::new(ctx.entity().home.id) };
        let removed = Decision::event(Event::OwnerRemoved { owner, at: ctx.now() });
        Ok(removed.send("give_back", Founder::at(owner), &give_back))
    }

    fn excuse(&self, owner: AccountId, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        let tenant = self.known()?;
        if !tenant.owners.contains(&owner) || tenant.excused.contains(&owner) {
            return Ok(Decision::nothing());
        }
        if !tenant.has_another(owner) {
            return Err(Rejection::LastOwner);
        }
        Ok(Decision::event(Event::OwnerExcused { owner, at: ctx.now() }))
    }

    fn take_back(&self, owner: AccountId, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        if !self.known()?.excused.contains(&owner) {
            return Ok(Decision::nothing());
        }
        Ok(Decision::event(Event::OwnerTakenBack { owner, at: ctx.now() }))
    }

    fn define_role(
        &self,
        permissions: Permissions,
        by: Authority,
        ctx: &Context,
    ) -> Result<Decision<Self>, Rejection> {
        let known = self.known()?.custom_role;
        if !by.covers(permissions.and(known.unwrap_or_default())) {
            return Err(Rejection::BeyondReach);
        }
        if known == Some(permissions) {
            return Ok(Decision::nothing());
        }
        Ok(Decision::event(Event::RoleDefined { permissions, at: ctx.now() }))
    }

    fn limit_sessions(&self, limits: SessionLimits, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        if self.known()?.session_limits == limits {
            return Ok(Decision::nothing());
        }
        Ok(Decision::event(Event::SessionsLimited { limits, at: ctx.now() }))
    }

    fn tell_member(&self, account: AccountId, role: Option<Role>) -> Result<Decision<Self>, Rejection> {
        let View { name: tenant_name, colour, .. } = self.known()?.clone();
        let tell = account::Command::TellRole { tenant_name, colour, role };
        Ok(Decision::nothing().send("tell", Account::at(account), &tell))
    }
}

impl Aggregate for Tenant {
    const KIND: Kind = Kind::new("tenancy", "tenant");
    type Command = Command;
    type Event = Event;
    /// `None` if there is no such tenant.
    type Reply = Option<View>;
    type Rejection = Rejection;

    fn decide(&self, command: Command, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        match command {
            Command::Create { name, slug, owner } => self.create(name, slug, owner, ctx),
            Command::Rename { name, if_version } => self.rename(name, if_version, ctx),
            Command::Paint { colour, name, if_version } => self.paint(colour, name, if_version, ctx),
            Command::Suspend { reason, until } => self.suspend(reason, until, ctx),
            Command::Resume => self.resume(ctx),
            Command::AddOwner { owner } => self.add_owner(owner, ctx),
            Command::RemoveOwner { owner } => self.remove_owner(owner, ctx),
            Command::Excuse { owner } => self.excuse(owner, ctx),
            Command::TakeBack { owner } => self.take_back(owner, ctx),
            Command::DefineRole { permissions, by } => self.define_role(permissions, by, ctx),
            Command::LimitSessions { limits } => self.limit_sessions(limits, ctx),
            Command::TellMember { account, role } => self.tell_member(account, role),
        }
    }

    fn evolve(&mut self, event: &Event) {
        if let Event::Created { name, slug, owner, at } = event {
            self.0 = Some(View {
                name: name.clone(),
                slug: slug.clone(),
                status: Status::Active,
                colour: None,
                owners: vec![*owner],
                excused: Vec::new(),
                custom_role: None,
                session_limits: SessionLimits::default(),
                version: 0,
                epoch: 0,
                created_at: *at,
            });
        }
        let Some(tenant) = &mut self.0 else { return };
        tenant.version += 1;
        match event {
            Event::Created { .. } => {}
            Event::Renamed { name, .. } => tenant.name = name.clone(),
            Event::Painted { colour, .. } => tenant.colour.clone_from(colour),
            Event::Suspended { reason, until, at } => {
                tenant.status = Status::Suspended { since: *at, reason: *reason, until: *until };
                tenant.epoch += 1;
            }
            Event::Resumed { .. } => tenant.status = Status::Active,
            Event::OwnerAdded { owner, .. } => tenant.owners.push(*owner),
            Event::OwnerRemoved { owner, .. } => {
                tenant.owners.retain(|known| known != owner);
                tenant.excused.retain(|known| known != owner);
            }
            Event::OwnerExcused { owner, .. } => tenant.excused.push(*owner),
            Event::OwnerTakenBack { owner, .. } => tenant.excused.retain(|known| known != owner),
            Event::RoleDefined { permissions, .. } => tenant.custom_role = Some(*permissions),
            Event::SessionsLimited { limits, .. } => tenant.session_limits = *limits,
        }
    }

    fn reply(&self) -> Option<View> {
        self.0.clone()
    }

    fn publish(event: &Event) -> Option<serde_json::Value> {
        Some(match event {
            Event::Created { name, slug, owner, .. } => {
                serde_json::json!({ "name": name, "slug": slug, "owner": owner })
            }
            Event::Renamed { name, .. } => serde_json::json!({ "name": name }),
            Event::Painted { colour, .. } => serde_json::json!({ "colour": colour }),
            Event::Suspended { reason, until, .. } => serde_json::json!({ "reason": reason, "until": until }),
            Event::Resumed { .. } => serde_json::json!({}),
            Event::OwnerAdded { owner, .. } | Event::OwnerRemoved { owner, .. } => {
                serde_json::json!({ "owner": owner })
            }
            Event::RoleDefined { permissions, .. } => serde_json::json!({ "permissions": permissions }),
            Event::SessionsLimited { limits, .. } => {
                let seconds = |limit: Option<std::time::Duration>| limit.map(|limit| limit.as_secs());
                serde_json::json!({ "lasts_s": seconds(limits.lasts), "idle_s": seconds(limits.idle) })
            }
            Event::OwnerExcused { .. } | Event::OwnerTakenBack { .. } => return None,
        })
    }

    fn inspect(&self) -> serde_json::Value {
        let tenant = self.0.as_ref();
        serde_json::json!(tenant.map(|tenant| serde_json::json!({
            "status": tenant.status, "version": tenant.version, "epoch": tenant.epoch, "owners": tenant.owners.len(),
        })))
    }
}

#[cfg(test)]
mod tests;
