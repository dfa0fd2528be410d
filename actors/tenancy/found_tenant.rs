//! Founding a tenant: a saga that counts it with its founder's, claims the slug, creates the tenant, and keeps
//! the slug for good. What the platform's admins found is not counted.
//!
//! ```text
//! (none) ──Start──▶ Counting ──counted──▶ Claiming ──claimed──▶ Creating ──created──▶ Confirming ──owned, confirmed──▶ Founded
//!                      │ too many            │ taken
//!                      ▼     or too late     ▼
//!                    Failed (what was counted or claimed is given back)
//! ```

use std::time::Duration;

use prognet_supervisor::{Aggregate, Answer, Context, Decision, Entity, Kind};
use serde::{Deserialize, Serialize};

use super::{
    founder::{self, Founder},
    membership::{self, Membership},
    tenant::{self, Tenant},
};
use crate::{
    ids::{AccountId, TenantId},
    users::reservation::{self, Reservation},
    values::{Slug, TenantName},
};

/// How long counting and claiming may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// A claim outlives the saga's patience, so that it cannot end between creating and confirming.
const CLAIM_LASTS: Duration = Duration::from_secs(24 * 3600);
const GIVE_UP: &str = "give_up";

/// See the module.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct FoundTenant {
    plan: Option<Plan>,
    stage: Stage,
}

/// What is to be founded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The tenant's id.
    pub tenant: TenantId,
    /// Its slug.
    pub slug: Slug,
    /// The slug's keyed hash, which is its reservation's id.
    pub slug_reservation: u128,
    /// Its name.
    pub name: TenantName,
    /// Its first owner.
    pub owner: AccountId,
    /// How many tenants the owner may have founded with this one; none if that is not counted.
    #[serde(default)]
    pub at_most: Option<usize>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    #[default]
    Claiming,
    Creating,
    Confirming,
    Founded,
    Failed(Failure),
    Counting,
}

/// Why no tenant was founded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// Another tenant has the slug.
    SlugTaken,
    /// The slug could not be claimed in time.
    TimedOut,
    /// The founder has as many tenants as one may have founded.
    TooMany,
}

/// How the founding stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum View {
    /// It goes on.
    Running,
    /// The tenant is there.
    Founded,
    /// There will be none.
    Failed(Failure),
}

/// What moves the founding on; only `Start` comes from outside.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the steps of the diagram")]
pub enum Command {
    Start(Plan),
    Counted,
    TooMany,
    SlugClaimed,
    SlugTaken,
    Created,
    Owned,
    Confirmed,
    GiveUp,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the steps of the diagram")]
pub enum Event {
    Started(Plan),
    Counted {},
    SlugClaimed {},
    TenantCreated {},
    Founded {},
    Failed { failure: Failure },
}

/// Why the founding says no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// The id was used for another plan.
    #[error("the id belongs to another founding")]
    AnotherPlan,
}

impl FoundTenant {
    /// The founding of the tenant with an id.
    #[must_use]
    pub const fn at(id: TenantId) -> Entity<Self> {
        Entity::new(id.home(), id.number())
    }

    fn start(&self, plan: &Plan, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        match &self.plan {
            Some(known) if known == plan => Ok(Decision::nothing()),
            Some(_) => Err(Rejection::AnotherPlan),
            None => {
                let started = Decision::event(Event::Started(plan.clone()));
                let begun = match plan.at_most {
                    Some(at_most) => {
                        let take = founder::Command::Take { tenant: plan.tenant, at_most };
                        started.send("count", Founder::at(plan.owner), &take)
                    }
                    None => Self::claiming(started, plan),
                };
                Ok(begun.timer(GIVE_UP, ctx.now().after(PATIENCE), Command::GiveUp))
            }
        }
    }

    fn counted(&self, plan: &Plan) -> Decision<Self> {
        match self.stage {
            Stage::Counting => Self::claiming(Decision::event(Event::Counted {}), plan),
            // Too late: give it back.
            Stage::Failed(_) => Self::giving_back(Decision::nothing(), plan),
            Stage::Claiming | Stage::Creating | Stage::Confirming | Stage::Founded => Decision::nothing(),
        }
    }

    fn slug_claimed(&self, plan: &Plan) -> Decision<Self> {
        match self.stage {
            Stage::Claiming => {
                let Plan { tenant, slug, name, owner, .. } = plan.clone();
                Decision::event(Event::SlugClaimed {}).clear(GIVE_UP).send(
                    "create",
                    Tenant::at(tenant),
                    &tenant::Command::Create { name, slug, owner },
                )
            }
            // Too late: give it back.
            Stage::Failed(_) => Self::releasing(Decision::nothing(), plan),
            Stage::Counting | Stage::Creating | Stage::Confirming | Stage::Founded => Decision::nothing(),
        }
    }

    fn created(&self, plan: &Plan) -> Decision<Self> {
        if self.stage != Stage::Creating {
            return Decision::nothing();
        }
        let member = Membership::at(plan.tenant, plan.owner);
        Decision::event(Event::TenantCreated {}).send("own", member, &membership::Command::Own)
    }

    fn owned(&self, plan: &Plan) -> Decision<Self> {
        if self.stage != Stage::Confirming {
            return Decision::nothing();
        }
        let confirm = reservation::Command::Confirm { owner: plan.tenant.number() };
        Decision::nothing().send("confirm", Reservation::at(plan.slug_reservation), &confirm)
    }

    fn failed(&self, plan: &Plan, failure: Failure) -> Decision<Self> {
        let failed = Decision::event(Event::Failed { failure }).clear(GIVE_UP);
        match self.stage {
            Stage::Counting => failed,
            Stage::Claiming if plan.at_most.is_some() => Self::giving_back(failed, plan),
            Stage::Claiming => failed,
            Stage::Creating | Stage::Confirming | Stage::Founded | Stage::Failed(_) => Decision::nothing(),
        }
    }

    fn claiming(decision: Decision<Self>, plan: &Plan) -> Decision<Self> {
        let claim = reservation::Command::Claim { owner: plan.tenant.number(), lasts: CLAIM_LASTS };
        decision.send("claim", Reservation::at(plan.slug_reservation), &claim)
    }

    fn releasing(decision: Decision<Self>, plan: &Plan) -> Decision<Self> {
        let release = reservation::Command::Release { owner: plan.tenant.number() };
        decision.send("release", Reservation::at(plan.slug_reservation), &release)
    }

    fn giving_back(decision: Decision<Self>, plan: &Plan) -> Decision<Self> {
        let give_back = founder::Command::GiveBack { tenant: plan.tenant };
        decision.send("give_back", Founder::at(plan.owner), &give_back)
    }
}

impl Aggregate for FoundTenant {
    const KIND: Kind = Kind::new("tenancy", "found_tenant");
    type Command = Command;
    type Event = Event;
    type Reply = View;
    type Rejection = Rejection;

    fn decide(&self, command: Command, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        let Some(plan) = &self.plan else {
            return match command {
                Command::Start(plan) => self.start(&plan, ctx),
                Command::Counted
                | Command::TooMany
                | Command::SlugClaimed
                | Command::SlugTaken
                | Command::Created
                | Command::Owned
                | Command::Confirmed
                | Command::GiveUp => Ok(Decision::nothing()),
            };
        };
        Ok(match command {
            Command::Start(plan) => return self.start(&plan, ctx),
            Command::Counted => self.counted(plan),
            Command::TooMany => self.failed(plan, Failure::TooMany),
            Command::SlugClaimed => self.slug_claimed(plan),
            Command::SlugTaken => self.failed(plan, Failure::SlugTaken),
            Command::GiveUp => self.failed(plan, Failure::TimedOut),
            Command::Created => self.created(plan),
            Command::Owned => self.owned(plan),
            Command::Confirmed if self.stage == Stage::Confirming => Decision::event(Event::Founded {}),
            Command::Confirmed => Decision::nothing(),
        })
    }

    fn evolve(&mut self, event: &Event) {
        match event {
            Event::Started(plan) => {
                self.stage = if plan.at_most.is_some() { Stage::Counting } else { Stage::Claiming };
                self.plan = Some(plan.clone());
            }
            Event::Counted {} => self.stage = Stage::Claiming,
            Event::SlugClaimed {} => self.stage = Stage::Creating,
            Event::TenantCreated {} => self.stage = Stage::Confirming,
            Event::Founded {} => self.stage = Stage::Founded,
            Event::Failed { failure } => self.stage = Stage::Failed(*failure),
        }
    }

    fn reply(&self) -> View {
        match self.stage {
            Stage::Counting | Stage::Claiming | Stage::Creating | Stage::Confirming => View::Running,
            Stage::Founded => View::Founded,
            Stage::Failed(failure) => View::Failed(failure),
        }
    }

    fn heard(&self, answer: &Answer) -> Option<Command> {
        match (answer.step(), answer.is_accepted()) {
            ("count", true) => Some(Command::Counted),
            ("count", false) => Some(Command::TooMany),
            ("claim", true) => Some(Command::SlugClaimed),
            ("claim", false) => Some(Command::SlugTaken),
            // The only no of a tenant to its creation is that this saga has created it already.
            ("create", _) => Some(Command::Created),
            ("own", _) => Some(Command::Owned),
            ("confirm", _) => Some(Command::Confirmed),
            _ => None,
        }
    }

    fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Founded | Stage::Failed(_))
    }

    fn inspect(&self) -> serde_json::Value {
        serde_json::json!({ "stage": self.stage })
    }
}

#[cfg(test)]
mod tests {
    use prognet_supervisor::testing::{NOON, given, holds_to_golden};

    use super::*;

    fn plan() -> Plan {
        Plan {
            tenant: TenantId::new(1),
            slug: Slug::parse("acme").unwrap(),
            slug_reservation: 9,
            name: TenantName::parse("Acme").unwrap(),
            owner: AccountId::new(7),
            at_most: None,
        }
    }

    fn counted_plan() -> Plan {
        Plan { at_most: Some(10), ..plan() }
    }

    const HELD: reservation::View = reservation::View { owner: Some(1), is_confirmed: false };

    #[test]
    fn a_founding_claims_creates_and_confirms() {
        let started = Event::Started(plan());
        given::<FoundTenant>([])
            .when(Command::Start(plan()))
            .then([started.clone()])
            .sends(&["claim"])
            .sets(&[("give_up", NOON.after(PATIENCE))]);
        given::<FoundTenant>([started.clone()])
            .hears::<Reservation>("claim", &Ok(HELD))
            .then([Event::SlugClaimed {}])
            .sends(&["create"]);
        let claimed = [started, Event::SlugClaimed {}];
        given::<FoundTenant>(claimed.clone())
            .hears::<Tenant>("create", &Ok(None))
            .then([Event::TenantCreated {}])
            .sends(&["own"]);
        given::<FoundTenant>(claimed.clone().into_iter().chain([Event::TenantCreated {}]))
            .hears::<Membership>("own", &Ok(None))
            .then([])
            .sends(&["confirm"]);
        let founded = given::<FoundTenant>(claimed.into_iter().chain([Event::TenantCreated {}]))
            .hears::<Reservation>("confirm", &Ok(HELD))
            .then([Event::Founded {}]);
        assert!(founded.state.has_ended());
    }

    #[test]
    fn a_founding_is_counted_first_and_given_back_if_it_fails() {
        let started = Event::Started(counted_plan());
        let counted = [started.clone(), Event::Counted {}];
        given::<FoundTenant>([])
            .when(Command::Start(counted_plan()))
            .then([started.clone()])
            .sends(&["count"]);
        given::<FoundTenant>([started.clone()])
            .hears::<Founder>("count", &Ok(founder::View { tenants: 1 }))
            .then([Event::Counted {}])
            .sends(&["claim"]);
        given::<FoundTenant>(counted)
            .hears::<Reservation>("claim", &Err(reservation::Rejection::Taken { by: 2 }))
            .then([Event::Failed { failure: Failure::SlugTaken }])
            .sends(&["give_back"]);
        given::<FoundTenant>([started.clone()])
            .hears::<Founder>("count", &Err(founder::Rejection::TooMany { at_most: 10 }))
            .then([Event::Failed { failure: Failure::TooMany }])
            .sends(&[]);
        given::<FoundTenant>([started, Event::Failed { failure: Failure::TimedOut }])
            .hears::<Founder>("count", &Ok(founder::View { tenants: 1 }))
            .then([])
            .sends(&["give_back"]);
    }

    #[test]
    fn a_taken_slug_ends_it() {
        let failed = given::<FoundTenant>([Event::Started(plan())])
            .hears::<Reservation>("claim", &Err(reservation::Rejection::Taken { by: 2 }))
            .then([Event::Failed { failure: Failure::SlugTaken }]);
        assert_eq!(failed.state.reply(), View::Failed(Failure::SlugTaken));
    }

    #[test]
    fn a_claim_that_comes_too_late_is_given_back() {
        let timed_out = Event::Failed { failure: Failure::TimedOut };
        given::<FoundTenant>([Event::Started(plan())]).when(Command::GiveUp).then([timed_out.clone()]);
        given::<FoundTenant>([Event::Started(plan()), timed_out])
            .hears::<Reservation>("claim", &Ok(HELD))
            .then([])
            .sends(&["release"]);
    }

    #[test]
    fn the_same_plan_again_changes_nothing_and_another_is_refused() {
        given::<FoundTenant>([Event::Started(plan())]).when(Command::Start(plan())).then([]);
        let other = Plan { slug: Slug::parse("other").unwrap(), ..plan() };
        given::<FoundTenant>([Event::Started(plan())])
            .when(Command::Start(other))
            .rejects(Rejection::AnotherPlan);
    }

    #[test]
    fn every_event_ever_written_is_read() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/found_tenant.txt");
        holds_to_golden::<FoundTenant>(
            file.as_ref(),
            &[
                Event::Started(plan()),
                Event::Started(counted_plan()),
                Event::Counted {},
                Event::SlugClaimed {},
                Event::TenantCreated {},
                Event::Founded {},
                Event::Failed { failure: Failure::SlugTaken },
                Event::Failed { failure: Failure::TooMany },
            ],
        );
    }
}
