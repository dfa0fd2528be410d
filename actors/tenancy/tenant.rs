//! A tenant: one organization, from creation on.
//!
//! ```text
//! (none) ──Create──▶ Active ──Suspend──▶ Suspended
//!                      ▲──Resume, or its `until`──┘
//! ```

use prognet_supervisor::{Aggregate, Context, Decision, Entity, Kind, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    ids::{AccountId, TenantId},
    values::{Slug, TenantName},
};

/// The timer that ends a suspension with an end.
const RESUME: &str = "resume";

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
    /// Who can do everything in it.
    pub owners: Vec<AccountId>,
    /// Rises with every change: what `ETag` carries.
    pub version: u64,
    /// Rises with every suspension: older tokens are refused.
    pub epoch: u64,
    /// When it was created.
    pub created_at: Timestamp,
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
    /// Locks everyone out; nothing is deleted.
    Suspend {
        /// Why.
        reason: Reason,
        /// When it ends by itself, if it does.
        until: Option<Timestamp>,
    },
    /// Opens it again.
    Resume,
}

/// What has happened. Variants and fields are only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are the command's")]
pub enum Event {
    Created { name: TenantName, slug: Slug, owner: AccountId, at: Timestamp },
    Renamed { name: TenantName, at: Timestamp },
    Suspended { reason: Reason, until: Option<Timestamp>, at: Timestamp },
    Resumed { at: Timestamp },
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
            Command::Suspend { reason, until } => self.suspend(reason, until, ctx),
            Command::Resume => self.resume(ctx),
        }
    }

    fn evolve(&mut self, event: &Event) {
        if let Event::Created { name, slug, owner, at } = event {
            self.0 = Some(View {
                name: name.clone(),
                slug: slug.clone(),
                status: Status::Active,
                owners: vec![*owner],
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
            Event::Suspended { reason, until, at } => {
                tenant.status = Status::Suspended { since: *at, reason: *reason, until: *until };
                tenant.epoch += 1;
            }
            Event::Resumed { .. } => tenant.status = Status::Active,
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
            Event::Suspended { reason, until, .. } => serde_json::json!({ "reason": reason, "until": until }),
            Event::Resumed { .. } => serde_json::json!({}),
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
mod tests {
    use std::time::Duration;

    use prognet_supervisor::testing::{NOON, given, holds_to_golden};
    use proptest::prelude::*;

    use super::*;

    const OWNER: AccountId = AccountId::new(7);
    const HOUR: Duration = Duration::from_secs(3600);

    fn name(text: &str) -> TenantName {
        TenantName::parse(text).unwrap()
    }

    fn created() -> Event {
        Event::Created { name: name("Acme"), slug: Slug::parse("acme").unwrap(), owner: OWNER, at: NOON }
    }

    fn suspended(until: Option<Timestamp>) -> Event {
        Event::Suspended { reason: Reason::Abuse, until, at: NOON }
    }

    #[test]
    fn a_tenant_is_created_once() {
        let create = Command::Create { name: name("Acme"), slug: Slug::parse("acme").unwrap(), owner: OWNER };
        let tenant = given::<Tenant>([]).when(create.clone()).then([created()]).state.reply().unwrap();
        assert_eq!((tenant.version, tenant.epoch, tenant.owners), (1, 0, vec![OWNER]));
        given::<Tenant>([created()]).when(create).rejects(Rejection::AlreadyExists);
    }

    #[test]
    fn a_suspended_tenant_is_not_suspended_twice() {
        given::<Tenant>([created(), suspended(None)])
            .when(Command::Suspend { reason: Reason::Other, until: None })
            .rejects(Rejection::AlreadySuspended { since: NOON });
    }

    #[test]
    fn a_suspension_raises_the_epoch_and_resuming_keeps_it() {
        let suspend = Command::Suspend { reason: Reason::Abuse, until: None };
        let tenant =
            given::<Tenant>([created()]).when(suspend).then([suspended(None)]).state.reply().unwrap();
        assert_eq!(tenant.epoch, 1);
        let resumed = Event::Resumed { at: NOON };
        let tenant =
            given::<Tenant>([created(), suspended(None)]).when(Command::Resume).then([resumed]).state;
        assert_eq!(tenant.reply().unwrap().epoch, 1);
    }

    #[test]
    fn a_suspension_with_an_end_sets_a_timer_for_it() {
        let until = Some(NOON.after(HOUR));
        given::<Tenant>([created()])
            .when(Command::Suspend { reason: Reason::Abuse, until })
            .then([suspended(until)])
            .sets(&[("resume", NOON.after(HOUR))]);
        given::<Tenant>([created()])
            .when(Command::Suspend { reason: Reason::Abuse, until: Some(NOON) })
            .rejects(Rejection::UntilInThePast);
    }

    #[test]
    fn a_rename_of_an_old_version_is_refused() {
        given::<Tenant>([created(), Event::Renamed { name: name("New"), at: NOON }])
            .when(Command::Rename { name: name("Other"), if_version: Some(1) })
            .rejects(Rejection::VersionMismatch { current: 2 });
    }

    #[test]
    fn nothing_but_creating_works_on_an_unknown_tenant() {
        given::<Tenant>([]).when(Command::Resume).rejects(Rejection::Unknown);
        given::<Tenant>([])
            .when(Command::Rename { name: name("x"), if_version: None })
            .rejects(Rejection::Unknown);
    }

    fn any_command() -> impl Strategy<Value = Command> {
        prop_oneof![
            Just(Command::Create { name: name("Acme"), slug: Slug::parse("acme").unwrap(), owner: OWNER }),
            ("[a-z]{1,9}", proptest::option::of(0..9_u64))
                .prop_map(|(text, if_version)| Command::Rename { name: name(&text), if_version }),
            proptest::option::of(-9..9_i64).prop_map(|hours| Command::Suspend {
                reason: Reason::Other,
                until: hours.map(|hours| Timestamp::from_millis(NOON.as_millis() + hours * 3_600_000)),
            }),
            Just(Command::Resume),
        ]
    }

    #[test]
    fn every_event_ever_written_is_read() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/tenant.txt");
        holds_to_golden::<Tenant>(
            file.as_ref(),
            &[
                created(),
                Event::Renamed { name: name("New"), at: NOON },
                suspended(None),
                suspended(Some(NOON)),
                Event::Resumed { at: NOON },
            ],
        );
    }

    proptest! {
        #[test]
        fn no_commands_panic_and_replay_gives_the_same_state(commands in proptest::collection::vec(any_command(), 0..30)) {
            let mut history = Vec::new();
            let mut live = Tenant::default();
            for command in commands {
                if let Some(events) = given::<Tenant>(history.clone()).when(command).accepted() {
                    for event in &events {
                        live.evolve(event);
                    }
                    history.extend(events);
                }
            }
            let mut replayed = Tenant::default();
            for event in &history {
                replayed.evolve(event);
            }
            prop_assert_eq!(replayed.reply(), live.reply());
        }
    }
}
