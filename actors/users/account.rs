//! An account: one person on the platform.
//!
//! ```text
//! (none) ──Register──▶ Pending ──Activate──▶ Active ◀──Enable── Disabled
//!                         │                  │ ▲ └────Disable────▲
//!                         │            Leave │ │ Stay            │
//!                         │                  ▼ │                 │
//!                         └──────Close────▶ Closed ◀──Close── Leaving
//! ```
//! Appointing makes a platform admin, who may sign in at once. A closed account is about to be erased.

use std::{collections::VecDeque, time::Duration};

use prognet_supervisor::{Aggregate, Context, Decision, Entity, Kind, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    auth::credential::{self, Credential, Recipient},
    communication::{
        Message,
        message::{self, Language, Mail},
    },
    ids::AccountId,
    tenancy::role::Role,
    values::{Colour, Email, PersonName, TenantName},
};

/// A person is told of a sign-up with their address at most this often.
const KNOCKS_APART: Duration = Duration::from_secs(3600);

/// A person is told of other roles at most this often, within [`ROLES_TOLD_IN`].
const ROLES_TOLD_MAX: usize = 20;
/// See [`ROLES_TOLD_MAX`].
const ROLES_TOLD_IN: Duration = Duration::from_secs(24 * 3600);

/// One person.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Account {
    view: Option<View>,
    /// When the person was last told that somebody signed up with their address.
    knocked_at: Option<Timestamp>,
    /// When the person was last told of other roles, oldest first.
    roles_told: VecDeque<Timestamp>,
}

/// What an account shows of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The person's address.
    pub email: Email,
    /// The person's name.
    pub name: PersonName,
    /// The language the person reads.
    pub language: Language,
    /// Whether the person may sign in.
    pub status: Status,
    /// Whether the person runs the platform.
    pub is_platform_admin: bool,
    /// When it was registered.
    pub created_at: Timestamp,
}

impl View {
    /// Whom mails to the person go to.
    #[must_use]
    pub fn recipient(&self) -> Recipient {
        Recipient { to: self.email.clone(), name: self.name.clone(), language: self.language }
    }
}

/// Whether a person may sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Registered, but nobody has vouched for the address yet.
    Pending,
    /// Signs in.
    Active,
    /// Whoever runs the platform keeps the person out.
    Disabled,
    /// The person asked for its end.
    Leaving {
        /// Until then they may stay.
        until: Timestamp,
    },
    /// Nobody's any more.
    Closed,
}

/// What can be asked of an account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Command {
    /// Registers the person; repeating it with the same words changes nothing.
    Register {
        /// The person's address, reserved by whoever asks.
        email: Email,
        /// The person's name.
        name: PersonName,
        /// The language the person reads.
        language: Language,
    },
    /// Makes the person a platform admin, who may sign in at once.
    Appoint,
    /// The address is the person's: they may sign in.
    Activate {
        /// The name they gave with the sign-up that was theirs.
        name: PersonName,
    },
    /// Gives the person another name.
    Rename {
        /// The new name.
        name: PersonName,
    },
    /// Gives the person another address, which is theirs for sure.
    ChangeEmail {
        /// The new address.
        email: Email,
    },
    /// Keeps the person out.
    Disable,
    /// Lets the person in again.
    Enable,
    /// The person wants to go: they cannot sign in until they stay or are erased.
    Leave {
        /// Until when they may change their mind.
        until: Timestamp,
    },
    /// The person changed their mind.
    Stay,
    /// Ends it: what is left is to be erased.
    Close,
    /// Somebody signs up with its address: its person is told, if they were not lately.
    Knock,
    /// Its person has another role in a tenant, or none any more, and is told so (OWASP ASVS 6.3.7).
    TellRole {
        /// What the mail calls the tenant.
        tenant_name: TenantName,
        /// The tenant's colour.
        colour: Option<Colour>,
        /// The role; none if the membership has ended.
        role: Option<Role>,
    },
}

/// What has happened. Variants and fields are only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are the command's")]
pub enum Event {
    Registered {
        email: Email,
        name: PersonName,
        at: Timestamp,
        #[serde(default, skip_serializing_if = "is_default")]
        language: Language,
    },
    Appointed {
        at: Timestamp,
    },
    Activated {
        at: Timestamp,
    },
    Renamed {
        name: PersonName,
        at: Timestamp,
    },
    EmailChanged {
        email: Email,
        at: Timestamp,
    },
    Disabled {
        at: Timestamp,
    },
    Enabled {
        at: Timestamp,
    },
    Left {
        until: Timestamp,
        at: Timestamp,
    },
    Stayed {
        at: Timestamp,
    },
    Closed {
        at: Timestamp,
    },
    Knocked {
        at: Timestamp,
    },
    RoleTold {
        at: Timestamp,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape serde asks for")]
fn is_default(language: &Language) -> bool {
    *language == Language::default()
}

/// Why an account says no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// There is none with this id.
    #[error("there is no such account")]
    Unknown,
    /// The id belongs to another person.
    #[error("the account exists")]
    AlreadyRegistered,
    /// It stands in another way than this takes.
    #[error("the account is {}", .0.word())]
    Stands(Status),
    /// Whoever runs the platform does not leave it without anybody.
    #[error("a platform admin cannot be disabled or deleted")]
    RunsThePlatform,
}

impl Status {
    /// Its name.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Leaving { .. } => "leaving",
            Self::Closed => "closed",
        }
    }
}

impl Account {
    /// The account with an id.
    #[must_use]
    pub const fn at(id: AccountId) -> Entity<Self> {
        Entity::new(id.home(), id.number())
    }

    fn known(&self) -> Result<&View, Rejection> {
        self.view.as_ref().filter(|view| view.status != Status::Closed).ok_or(Rejection::Unknown)
    }

    fn register(
        &self,
        email: Email,
        name: PersonName,
        language: Language,
        ctx: &Context,
    ) -> Result<Decision<Self>, Rejection> {
        match &self.view {
            None => Ok(Decision::event(Event::Registered { email, name, at: ctx.now(), language })),
            Some(known) if known.email == email && known.name == name => Ok(Decision::nothing()),
            Some(_) => Err(Rejection::AlreadyRegistered),
        }
    }

    fn appoint(&self, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        if self.known()?.is_platform_admin {
            return Ok(Decision::nothing());
        }
        Ok(Decision::event(Event::Appointed { at: ctx.now() }))
    }

    fn activate(&self, name: PersonName, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        let known = self.known()?;
        if known.status != Status::Pending {
            return Ok(Decision::nothing());
        }
        let activated = Decision::event(Event::Activated { at: ctx.now() });
        Ok(if known.name == name { activated } else { activated.and(Event::Renamed { name, at: ctx.now() }) })
    }

    fn rename(&self, name: PersonName, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        if self.known()?.name == name {
            return Ok(Decision::nothing());
        }
        Ok(Decision::event(Event::Renamed { name, at: ctx.now() }))
    }

    fn change_email(&self, email: Email, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        if self.known()?.email == email {
            return Ok(Decision::nothing());
        }
        Ok(Decision::event(Event::EmailChanged { email, at: ctx.now() }))
    }

    /// An event that only an active person's account takes.
    fn of_active(&self, event: Event) -> Result<Decision<Self>, Rejection> {
        let known = self.known()?;
        match known.status {
            Status::Active if known.is_platform_admin => Err(Rejection::RunsThePlatform),
            Status::Active => Ok(Decision::event(event)),
            status @ (Status::Pending | Status::Disabled | Status::Leaving { .. } | Status::Closed) => {
                Err(Rejection::Stands(status))
            }
        }
    }

    fn disable(&self, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        match self.known()?.status {
            Status::Disabled => Ok(Decision::nothing()),
            Status::Pending | Status::Active | Status::Leaving { .. } | Status::Closed => {
                let disabled = self.of_active(Event::Disabled { at: ctx.now() })?;
                let credential = Credential::at(AccountId::new(ctx.entity().id));
                // Enabled again, the person signs in again.
                let end = credential::Command::EndSessions { spare: None };
                Ok(disabled.send("end_sessions", credential, &end))
            }
        }
    }

    fn enable(&self, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        match self.known()?.status {
            Status::Active => Ok(Decision::nothing()),
            Status::Disabled => Ok(Decision::event(Event::Enabled { at: ctx.now() })),
            status @ (Status::Pending | Status::Leaving { .. } | Status::Closed) => {
                Err(Rejection::Stands(status))
            }
        }
    }

    fn leave(&self, until: Timestamp, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        match self.known()?.status {
            Status::Leaving { .. } => Ok(Decision::nothing()),
            Status::Pending | Status::Active | Status::Disabled | Status::Closed => {
                self.of_active(Event::Left { until, at: ctx.now() })
            }
        }
    }

    fn stay(&self, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        match self.known()?.status {
            Status::Leaving { .. } => Ok(Decision::event(Event::Stayed { at: ctx.now() })),
            Status::Active => Ok(Decision::nothing()),
            status @ (Status::Pending | Status::Disabled | Status::Closed) => Err(Rejection::Stands(status)),
        }
    }

    fn close(&self, ctx: &Context) -> Decision<Self> {
        match self.known() {
            Ok(_) => Decision::event(Event::Closed { at: ctx.now() }),
            Err(_) => Decision::nothing(),
        }
    }

    fn knock(&self, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        let known = self.known()?;
        let is_told = self.knocked_at.is_some_and(|at| ctx.now().since(at) < KNOCKS_APART);
        if is_told {
            return Ok(Decision::nothing());
        }
        let knocked = Decision::event(Event::Knocked { at: ctx.now() });
        Ok(known.telling(knocked, |name| Mail::AlreadyRegistered { name }, ctx))
    }

    fn tell_role(
        &self,
        tenant_name: TenantName,
        colour: Option<Colour>,
        role: Option<Role>,
        ctx: &Context,
    ) -> Result<Decision<Self>, Rejection> {
        let known = self.known()?;
        // Whoever changes a role to and fro is no cannon for mail.
        let oldest = self.roles_told.iter().rev().nth(ROLES_TOLD_MAX - 1);
        if oldest.is_some_and(|at| ctx.now().since(*at) < ROLES_TOLD_IN) {
            return Ok(Decision::nothing());
        }
        let mail = |name| match role {
            Some(role) => Mail::RoleChanged { name, tenant_name, colour, role: role.name().to_owned() },
            None => Mail::MembershipEnded { name, tenant_name, colour },
        };
        Ok(known.telling(Decision::event(Event::RoleTold { at: ctx.now() }), mail, ctx))
    }
}

impl View {
    fn telling(
        &self,
        decision: Decision<Account>,
        mail: impl FnOnce(PersonName) -> Mail,
        ctx: &Context,
    ) -> Decision<Account> {
        let Recipient { to, name, language } = self.recipient();
        let message = Message::at(ctx.entity().home, ctx.fresh_id());
        decision.send("tell", message, &message::Command::Send { mail: mail(name), to, language })
    }
}

impl Aggregate for Account {
    const KIND: Kind = Kind::new("users", "account");
    type Command = Command;
    type Event = Event;
    /// `None` if there is no such account.
    type Reply = Option<View>;
    type Rejection = Rejection;

    fn decide(&self, command: Command, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        match command {
            Command::Register { email, name, language } => self.register(email, name, language, ctx),
            Command::Appoint => self.appoint(ctx),
            Command::Activate { name } => self.activate(name, ctx),
            Command::Rename { name } => self.rename(name, ctx),
            Command::ChangeEmail { email } => self.change_email(email, ctx),
            Command::Disable => self.disable(ctx),
            Command::Enable => self.enable(ctx),
            Command::Leave { until } => self.leave(until, ctx),
            Command::Stay => self.stay(ctx),
            Command::Close => Ok(self.close(ctx)),
            Command::Knock => self.knock(ctx),
            Command::TellRole { tenant_name, colour, role } => self.tell_role(tenant_name, colour, role, ctx),
        }
    }

    fn evolve(&mut self, event: &Event) {
        if let Event::Registered { email, name, at, language } = event {
            self.view = Some(View {
                email: email.clone(),
                name: name.clone(),
                language: *language,
                status: Status::Pending,
                is_platform_admin: false,
                created_at: *at,
            });
        }
        let Some(account) = &mut self.view else { return };
        match event {
            Event::Registered { .. } => {}
            Event::Appointed { .. } => {
                account.status = Status::Active;
                account.is_platform_admin = true;
            }
            Event::Activated { .. } | Event::Enabled { .. } | Event::Stayed { .. } => {
                account.status = Status::Active;
            }
            Event::Renamed { name, .. } => account.name = name.clone(),
            Event::EmailChanged { email, .. } => account.email = email.clone(),
            Event::Disabled { .. } => account.status = Status::Disabled,
            Event::Left { until, .. } => account.status = Status::Leaving { until: *until },
            Event::Closed { .. } => account.status = Status::Closed,
            Event::Knocked { at } => self.knocked_at = Some(*at),
            Event::RoleTold { at } => {
                self.roles_told.push_back(*at);
                if self.roles_told.len() > ROLES_TOLD_MAX {
                    self.roles_told.pop_front();
                }
            }
        }
    }

    fn reply(&self) -> Option<View> {
        self.view.clone()
    }

    fn publish(event: &Event) -> Option<serde_json::Value> {
        match event {
            Event::Knocked { .. } | Event::RoleTold { .. } => None,
            Event::Left { until, .. } => Some(serde_json::json!({ "until": until })),
            Event::Registered { .. }
            | Event::Appointed { .. }
            | Event::Activated { .. }
            | Event::Renamed { .. }
            | Event::EmailChanged { .. }
            | Event::Disabled { .. }
            | Event::Enabled { .. }
            | Event::Stayed { .. }
            | Event::Closed { .. } => Some(serde_json::json!({})),
        }
    }

    fn inspect(&self) -> serde_json::Value {
        serde_json::json!(self.view.as_ref().map(|account| serde_json::json!({
            "status": account.status, "is_platform_admin": account.is_platform_admin,
        })))
    }
}

#[cfg(test)]
mod tests;
