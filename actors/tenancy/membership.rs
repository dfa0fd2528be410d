//! A membership: one account's place in one tenant.
//!
//! ```text
//! (none), Removed ──Admit──▶ Active ──Suspend──▶ Suspended
//!                    ▲        │  ▲────Resume───────┘  │
//!                    │        └────Remove──▶ Removed ◀┘
//! ```
//! Who owns a tenant is the tenant's own to say, so that the last owner cannot go: becoming an owner, and any
//! step by which one ceases to be one, asks the tenant first. Until it has answered, nothing else changes here.

use prognet_supervisor::{Aggregate, Answer, Context, Decision, Entity, Kind, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    role::Role,
    tenant::{self, Tenant},
};
use crate::{
    auth::access::Authority,
    ids::{AccountId, TenantId},
};

/// One account's place in one tenant.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Membership(Option<View>);

/// What a membership shows of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// What the account is in the tenant.
    pub role: Role,
    /// Whether it is let in.
    pub status: Status,
    /// When it was admitted last.
    pub joined_at: Timestamp,
    /// What the tenant has been asked and has not answered yet.
    pub pending: Option<Pending>,
    /// What the tenant said, if it refused what it was asked last.
    pub refused: Option<Refusal>,
}

/// Whether a member is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Let in.
    Active,
    /// Not let in for now.
    Suspended {
        /// Since when.
        since: Timestamp,
    },
    /// No member any more.
    Removed {
        /// Since when.
        since: Timestamp,
    },
}

/// A change that the tenant decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pending {
    /// It is to become an owner.
    Rise,
    /// It is to be an owner no longer, but this.
    Yield(Next),
}

/// What comes after an ownership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// Another role.
    Role(Role),
    /// A suspension, as an admin.
    Suspended,
    /// Nothing: it leaves, or is removed.
    Removed,
}

/// Why a tenant kept things as they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Nobody would own it any more.
    LastOwner,
    /// It has as many owners as a tenant may have.
    TooManyOwners,
}

/// What can be asked of a membership. `by` is how far the say of whoever asks goes over other members.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Command {
    /// The tenant was founded by the account: its first membership is an owner's.
    Own,
    /// Lets the account in; a member keeps its role.
    Admit {
        /// What it is to be: anything but an owner.
        role: Role,
    },
    /// Makes it something else.
    ChangeRole {
        /// What it is to be.
        to: Role,
        /// Whose say it is.
        by: Authority,
    },
    /// Does not let it in for now.
    Suspend {
        /// Whose say it is.
        by: Authority,
    },
    /// Lets it in again.
    Resume {
        /// Whose say it is.
        by: Authority,
    },
    /// Ends it.
    Remove {
        /// Whose say it is.
        by: Authority,
    },
    /// Ends it by the member's own wish.
    Leave,
    /// Ends it whatever it is: its account is being erased, and its tenant has let go of an owner.
    End,
    /// The tenant has done what it was asked.
    Granted,
    /// The tenant keeps things as they were.
    Refused(Refusal),
}

/// What has happened. Variants and fields are only ever added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are the command's")]
pub enum Event {
    Admitted { role: Role, at: Timestamp },
    RoleChanged { role: Role, at: Timestamp },
    Suspended { at: Timestamp },
    Resumed { at: Timestamp },
    Removed { at: Timestamp },
    OwnershipSought { at: Timestamp },
    OwnershipYielded { next: Next, at: Timestamp },
    OwnershipKept { why: Refusal, at: Timestamp },
}

/// Why a membership says no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// The account is no member.
    #[error("there is no such member")]
    Unknown,
    /// The member is suspended.
    #[error("suspended since {since}")]
    Suspended {
        /// Since when.
        since: Timestamp,
    },
    /// The member is not suspended.
    #[error("not suspended")]
    NotSuspended,
    /// The tenant is being asked about its owners.
    #[error("another change is under way")]
    Changing,
    /// Whoever asks lacks something that the member has or is to have.
    #[error("nobody gives or takes what they lack")]
    BeyondReach,
    /// The tenant has defined no role of its own.
    #[error("the tenant has no custom role")]
    UndefinedRole,
}

impl Membership {
    /// An account's membership of a tenant.
    #[must_use]
    pub const fn at(tenant: TenantId, account: AccountId) -> Entity<Self> {
        Entity::new(tenant.home(), account.number())
    }

    /// The membership, if there is one within reach, and nothing is under way.
    fn settled(&self, by: Authority) -> Result<&View, Rejection> {
        let member = self.member()?;
        if !by.is_over(member.role) {
            return Err(Rejection::BeyondReach);
        }
        if member.pending.is_some() { Err(Rejection::Changing) } else { Ok(member) }
    }

    fn member(&self) -> Result<&View, Rejection> {
        let is_member = |member: &&View| !matches!(member.status, Status::Removed { .. });
        self.0.as_ref().filter(is_member).ok_or(Rejection::Unknown)
    }

    /// Asked again, perhaps long after, it brings nobody back.
    fn own(&self, ctx: &Context) -> Decision<Self> {
        match self.0 {
            None => Decision::event(Event::Admitted { role: Role::Owner, at: ctx.now() }),
            Some(_) => Decision::nothing(),
        }
    }

    fn admit(&self, role: Role, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        if role == Role::Owner {
            return Err(Rejection::BeyondReach);
        }
        match self.0.map(|member| member.status) {
            None | Some(Status::Removed { .. }) => {
                Ok(Decision::event(Event::Admitted { role, at: ctx.now() }))
            }
            Some(Status::Active) => Ok(Decision::nothing()),
            Some(Status::Suspended { since }) => Err(Rejection::Suspended { since }),
        }
    }

    fn change_role(&self, to: Role, by: Authority, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        let is_asked = match self.member()?.pending {
            Some(Pending::Rise) => to == Role::Owner,
            Some(Pending::Yield(next)) => next == Next::Role(to),
            None => false,
        };
        if is_asked {
            return Ok(Decision::nothing());
        }
        let member = self.settled(by)?;
        if to == Role::Custom && !by.has_custom() {
            return Err(Rejection::UndefinedRole);
        }
        if !by.is_over(to) {
            return Err(Rejection::BeyondReach);
        }
        match (member.role, to, member.status) {
            (role, to, _) if role == to => Ok(Decision::nothing()),
            (Role::Owner, _, _) => Ok(yielding(Next::Role(to), ctx)),
            (_, Role::Owner, Status::Suspended { since } | Status::Removed { since }) => {
                Err(Rejection::Suspended { since })
            }
            (_, Role::Owner, Status::Active) => {
                let (tenant, owner) = names(ctx);
                let sought = Decision::event(Event::OwnershipSought { at: ctx.now() });
                Ok(sought.send("rise", Tenant::at(tenant), &tenant::Command::AddOwner { owner }))
            }
            (Role::Admin | Role::Member | Role::Custom, _, _) => {
                Ok(Decision::event(Event::RoleChanged { role: to, at: ctx.now() }))
            }
        }
    }

    fn suspend(&self, by: Authority, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        let member = self.member()?;
        if let Status::Suspended { since } = member.status {
            return Err(Rejection::Suspended { since });
        }
        if member.pending == Some(Pending::Yield(Next::Suspended)) {
            return Ok(Decision::nothing());
        }
        match self.settled(by)?.role {
            Role::Owner => Ok(yielding(Next::Suspended, ctx)),
            Role::Admin | Role::Member | Role::Custom => {
                Ok(Decision::event(Event::Suspended { at: ctx.now() }))
            }
        }
    }

    fn resume(&self, by: Authority, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        match self.settled(by)?.status {
            Status::Suspended { .. } => Ok(Decision::event(Event::Resumed { at: ctx.now() })),
            Status::Active | Status::Removed { .. } => Err(Rejection::NotSuspended),
        }
    }

    fn remove(&self, by: Authority, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        if self.member()?.pending == Some(Pending::Yield(Next::Removed)) {
            return Ok(Decision::nothing());
        }
        match self.settled(by)?.role {
            Role::Owner => Ok(yielding(Next::Removed, ctx)),
            Role::Admin | Role::Member | Role::Custom => {
                Ok(Decision::event(Event::Removed { at: ctx.now() }))
            }
        }
    }

    fn end(&self, ctx: &Context) -> Decision<Self> {
        match self.member() {
            Ok(_) => Decision::event(Event::Removed { at: ctx.now() }),
            Err(_) => Decision::nothing(),
        }
    }

    fn granted(&self, ctx: &Context) -> Decision<Self> {
        let at = ctx.now();
        match self.0.and_then(|member| member.pending) {
            None => Decision::nothing(),
            Some(Pending::Rise) => Decision::event(Event::RoleChanged { role: Role::Owner, at }),
            Some(Pending::Yield(Next::Role(role))) => Decision::event(Event::RoleChanged { role, at }),
            // Whoever resumes it brings no owner back.
            Some(Pending::Yield(Next::Suspended)) => {
                Decision::event(Event::RoleChanged { role: Role::Admin, at }).and(Event::Suspended { at })
            }
            Some(Pending::Yield(Next::Removed)) => Decision::event(Event::Removed { at }),
        }
    }

    fn refused(&self, why: Refusal, ctx: &Context) -> Decision<Self> {
        match self.0.and_then(|member| member.pending) {
            None => Decision::nothing(),
            Some(_) => Decision::event(Event::OwnershipKept { why, at: ctx.now() }),
        }
    }
}

/// An owner asks its tenant to let go of it.
fn yielding(next: Next, ctx: &Context) -> Decision<Membership> {
    let (tenant, owner) = names(ctx);
    let yielded = Decision::event(Event::OwnershipYielded { next, at: ctx.now() });
    yielded.send("yield", Tenant::at(tenant), &tenant::Command::RemoveOwner { owner })
}

/// The tenant it is in, and the account it is of.
const fn names(ctx: &Context) -> (TenantId, AccountId) {
    let entity = ctx.entity();
    (TenantId::new(entity.home.id), AccountId::new(entity.id))
}

impl Aggregate for Membership {
    const KIND: Kind = Kind::new("tenancy", "membership");
    type Command = Command;
    type Event = Event;
    /// `None` if the account never was a member.
    type Reply = Option<View>;
    type Rejection = Rejection;

    fn decide(&self, command: Command, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        match command {
            Command::Own => Ok(self.own(ctx)),
            Command::Admit { role } => self.admit(role, ctx),
            Command::ChangeRole { to, by } => self.change_role(to, by, ctx),
            Command::Suspend { by } => self.suspend(by, ctx),
            Command::Resume { by } => self.resume(by, ctx),
            Command::Remove { by } => self.remove(by, ctx),
            Command::Leave => self.remove(Authority::OWN, ctx),
            Command::End => Ok(self.end(ctx)),
            Command::Granted => Ok(self.granted(ctx)),
            Command::Refused(why) => Ok(self.refused(why, ctx)),
        }
    }

    fn evolve(&mut self, event: &Event) {
        if let Event::Admitted { role, at } = event {
            let (role, joined_at, status) = (*role, *at, Status::Active);
            self.0 = Some(View { role, status, joined_at, pending: None, refused: None });
        }
        let Some(member) = &mut self.0 else { return };
        (member.pending, member.refused) = (None, None);
        match event {
            Event::Admitted { .. } => {}
            Event::RoleChanged { role, .. } => member.role = *role,
            Event::Suspended { at } => member.status = Status::Suspended { since: *at },
            Event::Resumed { .. } => member.status = Status::Active,
            Event::Removed { at } => member.status = Status::Removed { since: *at },
            Event::OwnershipSought { .. } => member.pending = Some(Pending::Rise),
            Event::OwnershipYielded { next, .. } => member.pending = Some(Pending::Yield(*next)),
            Event::OwnershipKept { why, .. } => member.refused = Some(*why),
        }
    }

    fn reply(&self) -> Option<View> {
        self.0
    }

    fn heard(&self, answer: &Answer) -> Option<Command> {
        match answer.of::<Tenant>()? {
            Ok(_) => Some(Command::Granted),
            Err(tenant::Rejection::TooManyOwners) => Some(Command::Refused(Refusal::TooManyOwners)),
            Err(
                tenant::Rejection::LastOwner
                | tenant::Rejection::Unknown
                | tenant::Rejection::AlreadyExists
                | tenant::Rejection::AlreadySuspended { .. }
                | tenant::Rejection::NotSuspended
                | tenant::Rejection::VersionMismatch { .. }
                | tenant::Rejection::UntilInThePast
                | tenant::Rejection::BeyondReach,
            ) => Some(Command::Refused(Refusal::LastOwner)),
        }
    }

    /// Whoever changes an owner is answered once the tenant has said what becomes of it.
    fn has_ended(&self) -> bool {
        self.0.is_none_or(|member| member.pending.is_none())
    }

    fn publish(event: &Event) -> Option<serde_json::Value> {
        match event {
            Event::Admitted { role, .. } | Event::RoleChanged { role, .. } => {
                Some(serde_json::json!({ "role": role }))
            }
            Event::Suspended { .. } | Event::Resumed { .. } | Event::Removed { .. } => {
                Some(serde_json::json!({}))
            }
            Event::OwnershipSought { .. } | Event::OwnershipYielded { .. } | Event::OwnershipKept { .. } => {
                None
            }
        }
    }

    fn inspect(&self) -> serde_json::Value {
        serde_json::json!(self.0)
    }
}

#[cfg(test)]
mod tests;
