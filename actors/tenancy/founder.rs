//! A founder: the tenants that one person has founded and still owns, so that there are not too many.
//!
//! ```text
//! (none) ──Take──▶ one more ──GiveBack──▶ one less
//! ```

use std::collections::BTreeSet;

use prognet_supervisor::{Aggregate, Context, Decision, Entity, Kind, Timestamp};
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, TenantId};

/// See the module.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Founder {
    tenants: BTreeSet<TenantId>,
}

/// What a founder shows: how many tenants there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// How many.
    pub tenants: usize,
}

/// What can be asked of a founder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Command {
    /// Counts a tenant that is being founded.
    Take {
        /// Which.
        tenant: TenantId,
        /// How many there may be, with this one.
        at_most: usize,
    },
    /// Counts it no longer: it was not founded after all, or has other owners.
    GiveBack {
        /// Which.
        tenant: TenantId,
    },
}

/// What has happened. Variants and fields are only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are the command's")]
pub enum Event {
    Taken { tenant: TenantId, at: Timestamp },
    GivenBack { tenant: TenantId, at: Timestamp },
}

/// Why a founder says no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// There are as many as there may be.
    #[error("one person founds at most {at_most} tenants")]
    TooMany {
        /// How many there may be.
        at_most: usize,
    },
}

impl Founder {
    /// What an account has founded.
    #[must_use]
    pub const fn at(account: AccountId) -> Entity<Self> {
        Entity::new(account.home(), account.number())
    }

    fn take(&self, tenant: TenantId, at_most: usize, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        if self.tenants.contains(&tenant) {
            return Ok(Decision::nothing());
        }
        if self.tenants.len() >= at_most {
            return Err(Rejection::TooMany { at_most });
        }
        Ok(Decision::event(Event::Taken { tenant, at: ctx.now() }))
    }

    fn give_back(&self, tenant: TenantId, ctx: &Context) -> Decision<Self> {
        if self.tenants.contains(&tenant) {
            Decision::event(Event::GivenBack { tenant, at: ctx.now() })
        } else {
            Decision::nothing()
        }
    }
}

impl Aggregate for Founder {
    const KIND: Kind = Kind::new("tenancy", "founder");
    type Command = Command;
    type Event = Event;
    type Reply = View;
    type Rejection = Rejection;

    fn decide(&self, command: Command, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        match command {
            Command::Take { tenant, at_most } => self.take(tenant, at_most, ctx),
            Command::GiveBack { tenant } => Ok(self.give_back(tenant, ctx)),
        }
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Taken { tenant, .. } => self.tenants.insert(*tenant),
            Event::GivenBack { tenant, .. } => self.tenants.remove(tenant),
        };
    }

    fn reply(&self) -> View {
        View { tenants: self.tenants.len() }
    }

    fn inspect(&self) -> serde_json::Value {
        serde_json::json!(self.reply())
    }
}

#[cfg(test)]
mod tests {
    use prognet_supervisor::testing::{NOON, given, holds_to_golden};

    use super::*;

    const ONE: TenantId = TenantId::new(1);
    const TWO: TenantId = TenantId::new(2);

    const fn taken(tenant: TenantId) -> Event {
        Event::Taken { tenant, at: NOON }
    }

    #[test]
    fn a_person_founds_so_many_tenants_and_another_once_one_is_given_back() {
        let take = |tenant| Command::Take { tenant, at_most: 1 };
        given::<Founder>([]).when(take(ONE)).then([taken(ONE)]);
        given::<Founder>([taken(ONE)]).when(take(ONE)).then([]);
        given::<Founder>([taken(ONE)]).when(take(TWO)).rejects(Rejection::TooMany { at_most: 1 });
        let given_back = Event::GivenBack { tenant: ONE, at: NOON };
        given::<Founder>([taken(ONE)]).when(Command::GiveBack { tenant: ONE }).then([given_back.clone()]);
        given::<Founder>([]).when(Command::GiveBack { tenant: ONE }).then([]);
        given::<Founder>([taken(ONE), given_back]).when(take(TWO)).then([taken(TWO)]);
    }

    #[test]
    fn every_event_ever_written_is_read() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/founder.txt");
        holds_to_golden::<Founder>(file.as_ref(), &[taken(ONE), Event::GivenBack { tenant: ONE, at: NOON }]);
    }
}
