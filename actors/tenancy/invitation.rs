//! An invitation: one address asked into one tenant, until it is accepted, declined, revoked or over.
//!
//! ```text
//! (none), ended ──Invite──▶ Open ──Accept──▶ Accepting ──admitted──▶ Accepted
//!                            │ ▲───not let in────┘
//!                            ├──Decline──▶ Declined
//!                            ├──Revoke───▶ Revoked
//!                            └──its time──▶ Expired
//! ```
//! There is one of it for a tenant and an address, so nobody is asked twice at once. It tells nobody whether
//! the address has an account, and waits for whoever makes one: only an account whose address this is accepts.

use std::time::Duration;

use prognet_supervisor::{Aggregate, Answer, Context, Decision, Entity, Kind, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    membership::{self, Membership},
    role::Role,
};
use crate::{
    communication::message::{self, Language, Mail, Message},
    ids::{AccountId, InvitationId, TenantId},
    values::{Colour, Email, PersonName, TenantName},
};

/// The timer of its end.
const EXPIRE: &str = "expire";

/// One address asked into one tenant.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Invitation(Option<View>);

/// What an invitation shows of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Who is asked.
    pub email: Email,
    /// What the person is to be.
    pub role: Role,
    /// Who asks.
    pub by: AccountId,
    /// How it stands.
    pub status: Status,
    /// Whether whoever accepted it last was not let in.
    pub was_refused: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it is over.
    pub until: Timestamp,
}

/// How an invitation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It waits for an answer.
    Open,
    /// The account is being let in.
    Accepting(AccountId),
    /// The account is a member.
    Accepted(AccountId),
    /// The person does not want it.
    Declined,
    /// The tenant does not want it any more.
    Revoked,
    /// Nobody answered.
    Expired,
}

/// What can be asked of an invitation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Command {
    /// Asks the person, by mail.
    Invite {
        /// Who.
        email: Email,
        /// What the person is to be: anything but an owner.
        role: Role,
        /// For how long.
        lasts: Duration,
        /// What the mail calls the tenant.
        tenant_name: TenantName,
        /// The tenant's colour, if it has one.
        colour: Option<Colour>,
        /// What the mail calls whoever asks.
        inviter_name: PersonName,
        /// The language of the mail.
        language: Language,
    },
    /// Lets the account in.
    Accept {
        /// Which.
        account: AccountId,
        /// Its address, which it has shown to be its own.
        email: Email,
    },
    /// Ends it by the person's wish.
    Decline,
    /// Ends it by the tenant's wish.
    Revoke,
    /// Its time is over.
    Expire,
    /// The account is a member.
    Admitted,
    /// The account was not let in.
    NotAdmitted,
}

/// What has happened. Variants and fields are only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are the command's")]
pub enum Event {
    Invited { email: Email, role: Role, by: AccountId, until: Timestamp, at: Timestamp },
    Taken { account: AccountId, at: Timestamp },
    Accepted { account: AccountId, at: Timestamp },
    NotAdmitted { at: Timestamp },
    Declined { at: Timestamp },
    Revoked { at: Timestamp },
    Expired { at: Timestamp },
}

/// Why an invitation says no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// There is none with this id.
    #[error("there is no such invitation")]
    Unknown,
    /// The address is asked already.
    #[error("the address is invited until {until}")]
    AlreadyOpen {
        /// Until when.
        until: Timestamp,
    },
    /// It was answered, revoked, or not answered in time.
    #[error("the invitation is over: {how}")]
    Over {
        /// How it ended.
        how: How,
    },
    /// The account's address is another one.
    #[error("the invitation is for another address")]
    OtherAddress,
}

/// How an invitation ended, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words of the diagram")]
pub enum How {
    Accepted,
    Declined,
    Revoked,
    Expired,
}

impl std::fmt::Display for How {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Accepted => "accepted",
            Self::Declined => "declined",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        })
    }
}

impl Status {
    /// How it ended, if it did.
    #[must_use]
    pub const fn ended(self) -> Option<How> {
        match self {
            Self::Open | Self::Accepting(_) => None,
            Self::Accepted(_) => Some(How::Accepted),
            Self::Declined => Some(How::Declined),
            Self::Revoked => Some(How::Revoked),
            Self::Expired => Some(How::Expired),
        }
    }
}

impl Invitation {
    /// An invitation of a tenant.
    #[must_use]
    pub const fn at(tenant: TenantId, id: InvitationId) -> Entity<Self> {
        Entity::new(tenant.home(), id.number())
    }

    fn known(&self) -> Result<&View, Rejection> {
        self.0.as_ref().ok_or(Rejection::Unknown)
    }

    /// It can be answered now.
    fn open(&self, ctx: &Context) -> Result<&View, Rejection> {
        let invitation = self.known()?;
        let is_late = invitation.status == Status::Open && ctx.now() >= invitation.until;
        match invitation.status.ended() {
            Some(how) => Err(Rejection::Over { how }),
            None if is_late => Err(Rejection::Over { how: How::Expired }),
            // Somebody is being let in by it.
            None if invitation.status != Status::Open => Err(Rejection::Over { how: How::Accepted }),
            None => Ok(invitation),
        }
    }

    fn invite(
        &self,
        email: Email,
        role: Role,
        lasts: Duration,
        words: (TenantName, Option<Colour>, PersonName, Language),
        ctx: &Context,
    ) -> Result<Decision<Self>, Rejection> {
        if let Some(known) = self.0.as_ref().filter(|known| known.status.ended().is_none()) {
            return Err(Rejection::AlreadyOpen { until: known.until });
        }
        let (home, id, until) = (ctx.entity().home, ctx.entity().id, ctx.now().after(lasts));
        let (tenant, (tenant_name, colour, inviter_name, language)) = (TenantId::new(home.id), words);
        let role_name = role.name().to_owned();
        let mail = Mail::Invitation { tenant, id, tenant_name, colour, inviter_name, role: role_name };
        let send = message::Command::Send { mail, to: email.clone(), language };
        let by = AccountId::new(ctx.asker());
        Ok(Decision::event(Event::Invited { email, role, by, until, at: ctx.now() })
            .send("mail", Message::at(home, ctx.fresh_id()), &send)
            .timer(EXPIRE, until, Command::Expire))
    }

    fn accept(&self, account: AccountId, email: &Email, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        let known = self.known()?;
        if known.email.key() != email.key() {
            return Err(Rejection::OtherAddress);
        }
        if matches!(known.status, Status::Accepting(by) | Status::Accepted(by) if by == account) {
            return Ok(Decision::nothing());
        }
        let role = self.open(ctx)?.role;
        let member = Membership::at(TenantId::new(ctx.entity().home.id), account);
        let taken = Decision::event(Event::Taken { account, at: ctx.now() });
        Ok(taken.send("admit", member, &membership::Command::Admit { role }))
    }

    fn decline(&self, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        if self.known()?.status == Status::Declined {
            return Ok(Decision::nothing());
        }
        self.open(ctx)?;
        Ok(Decision::event(Event::Declined { at: ctx.now() }).clear(EXPIRE))
    }

    fn revoke(&self, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        if self.known()?.status == Status::Revoked {
            return Ok(Decision::nothing());
        }
        self.open(ctx)?;
        Ok(Decision::event(Event::Revoked { at: ctx.now() }).clear(EXPIRE))
    }

    fn expire(&self, ctx: &Context) -> Decision<Self> {
        match self.0.as_ref().map(|invitation| invitation.status) {
            Some(Status::Open) => Decision::event(Event::Expired { at: ctx.now() }),
            // While somebody is being let in, `not_admitted` looks at the time.
            Some(
                Status::Accepting(_)
                | Status::Accepted(_)
                | Status::Declined
                | Status::Revoked
                | Status::Expired,
            )
            | None => Decision::nothing(),
        }
    }

    fn admitted(&self, ctx: &Context) -> Decision<Self> {
        match self.accepting() {
            Some((_, account)) => Decision::event(Event::Accepted { account, at: ctx.now() }).clear(EXPIRE),
            None => Decision::nothing(),
        }
    }

    fn not_admitted(&self, ctx: &Context) -> Decision<Self> {
        let Some((invitation, _)) = self.accepting() else {
            return Decision::nothing();
        };
        let refused = Decision::event(Event::NotAdmitted { at: ctx.now() });
        if ctx.now() < invitation.until { refused } else { refused.and(Event::Expired { at: ctx.now() }) }
    }

    fn accepting(&self) -> Option<(&View, AccountId)> {
        let invitation = self.0.as_ref()?;
        if let Status::Accepting(account) = invitation.status { Some((invitation, account)) } else { None }
    }
}

impl Aggregate for Invitation {
    const KIND: Kind = Kind::new("tenancy", "invitation");
    type Command = Command;
    type Event = Event;
    /// `None` if there is no such invitation.
    type Reply = Option<View>;
    type Rejection = Rejection;

    fn decide(&self, command: Command, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        match command {
            Command::Invite { email, role, lasts, tenant_name, colour, inviter_name, language } => {
                self.invite(email, role, lasts, (tenant_name, colour, inviter_name, language), ctx)
            }
            Command::Accept { account, email } => self.accept(account, &email, ctx),
            Command::Decline => self.decline(ctx),
            Command::Revoke => self.revoke(ctx),
            Command::Expire => Ok(self.expire(ctx)),
            Command::Admitted => Ok(self.admitted(ctx)),
            Command::NotAdmitted => Ok(self.not_admitted(ctx)),
        }
    }

    fn evolve(&mut self, event: &Event) {
        if let Event::Invited { email, role, by, until, at } = event {
            self.0 = Some(View {
                email: email.clone(),
                role: *role,
                by: *by,
                status: Status::Open,
                was_refused: false,
                created_at: *at,
                until: *until,
            });
        }
        let Some(invitation) = &mut self.0 else { return };
        invitation.status = match event {
            Event::Invited { .. } => Status::Open,
            Event::Taken { account, .. } => Status::Accepting(*account),
            Event::Accepted { account, .. } => Status::Accepted(*account),
            Event::NotAdmitted { .. } => Status::Open,
            Event::Declined { .. } => Status::Declined,
            Event::Revoked { .. } => Status::Revoked,
            Event::Expired { .. } => Status::Expired,
        };
        invitation.was_refused = matches!(event, Event::NotAdmitted { .. });
    }

    fn reply(&self) -> Option<View> {
        self.0.clone()
    }

    fn heard(&self, answer: &Answer) -> Option<Command> {
        match (answer.step(), answer.is_accepted()) {
            ("admit", true) => Some(Command::Admitted),
            ("admit", false) => Some(Command::NotAdmitted),
            // What becomes of the mail is the message's business.
            _ => None,
        }
    }

    /// Whoever accepts is answered once the membership has said whether it lets them in.
    fn has_ended(&self) -> bool {
        self.accepting().is_none()
    }

    fn publish(event: &Event) -> Option<serde_json::Value> {
        match event {
            Event::Invited { role, by, until, .. } => {
                Some(serde_json::json!({ "role": role, "by": by, "until": until }))
            }
            Event::Accepted { account, .. } => Some(serde_json::json!({ "account": account })),
            Event::Declined { .. } | Event::Revoked { .. } | Event::Expired { .. } => {
                Some(serde_json::json!({}))
            }
            Event::Taken { .. } | Event::NotAdmitted { .. } => None,
        }
    }

    fn inspect(&self) -> serde_json::Value {
        serde_json::json!(self.0.as_ref().map(|invitation| serde_json::json!({
            "status": invitation.status, "role": invitation.role, "until": invitation.until,
        })))
    }
}

#[cfg(test)]
mod tests;
