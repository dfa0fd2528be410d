//! What a tenant promises.

use std::time::Duration;

use prognet_supervisor::testing::{NOON, given, holds_to_golden};
use proptest::prelude::*;

use super::*;
use crate::tenancy::Role;

const OWNER: AccountId = AccountId::new(7);
const OTHER: AccountId = AccountId::new(8);
const HOUR: Duration = Duration::from_secs(3600);
const LIMITS: SessionLimits = SessionLimits { lasts: Some(HOUR), idle: None };

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
    let created_now = given::<Tenant>([]).when(create.clone()).then([created()]);
    let tenant = created_now.state.reply().unwrap();
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
    let tenant = given::<Tenant>([created()]).when(suspend).then([suspended(None)]).state.reply().unwrap();
    assert_eq!(tenant.epoch, 1);
    let resumed = Event::Resumed { at: NOON };
    let tenant = given::<Tenant>([created(), suspended(None)]).when(Command::Resume).then([resumed]).state;
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

fn painted(colour: Option<&str>) -> Event {
    Event::Painted { colour: colour.map(|colour| Colour::parse(colour).unwrap()), at: NOON }
}

#[test]
fn a_tenant_has_a_colour_until_it_is_taken_away() {
    let paint = |colour: Option<&str>, called: Option<&str>| Command::Paint {
        colour: colour.map(|colour| Colour::parse(colour).unwrap()),
        name: called.map(name),
        if_version: Some(1),
    };
    let renamed = Event::Renamed { name: name("New"), at: NOON };
    given::<Tenant>([created()])
        .when(paint(Some("#2A52C9"), Some("New")))
        .then([renamed.clone(), painted(Some("#2a52c9"))]);
    given::<Tenant>([created()]).when(paint(None, None)).then([]);
    given::<Tenant>([created(), painted(Some("#2a52c9"))])
        .when(paint(None, None))
        .rejects(Rejection::VersionMismatch { current: 2 });
    let bare = Command::Paint { colour: None, name: None, if_version: None };
    let taken = given::<Tenant>([created(), painted(Some("#2a52c9"))]).when(bare).then([painted(None)]);
    assert_eq!(taken.state.reply().unwrap().colour, None);
}

#[test]
fn nothing_but_creating_works_on_an_unknown_tenant() {
    given::<Tenant>([]).when(Command::Resume).rejects(Rejection::Unknown);
    given::<Tenant>([])
        .when(Command::Rename { name: name("x"), if_version: None })
        .rejects(Rejection::Unknown);
}

#[test]
fn a_tenant_never_loses_its_last_owner() {
    let added = Event::OwnerAdded { owner: OTHER, at: NOON };
    let removed = Event::OwnerRemoved { owner: OWNER, at: NOON };
    given::<Tenant>([created()]).when(Command::RemoveOwner { owner: OWNER }).rejects(Rejection::LastOwner);
    given::<Tenant>([created()]).when(Command::AddOwner { owner: OTHER }).then([added.clone()]);
    given::<Tenant>([created(), added.clone()]).when(Command::AddOwner { owner: OTHER }).then([]);
    let left = given::<Tenant>([created(), added.clone()])
        .when(Command::RemoveOwner { owner: OWNER })
        .then([removed.clone()])
        .sends(&["give_back"]);
    assert_eq!(left.state.reply().unwrap().owners, [OTHER]);
    given::<Tenant>([created(), added.clone(), removed.clone()])
        .when(Command::RemoveOwner { owner: OTHER })
        .rejects(Rejection::LastOwner);
    given::<Tenant>([created(), added, removed]).when(Command::RemoveOwner { owner: OWNER }).then([]);
}

/// Security bar 16.
#[test]
fn a_member_whose_role_changes_is_told_by_their_account() {
    let tell = Command::TellMember { account: OTHER, role: Some(Role::Admin) };
    given::<Tenant>([created()]).when(tell.clone()).then([]).sends(&["tell"]);
    given::<Tenant>([]).when(tell).rejects(Rejection::Unknown);
}

#[test]
fn an_owner_who_is_about_to_go_is_counted_on_no_longer() {
    let added = Event::OwnerAdded { owner: OTHER, at: NOON };
    let excused = |owner| Event::OwnerExcused { owner, at: NOON };
    let two = || [created(), added.clone()];
    given::<Tenant>([created()]).when(Command::Excuse { owner: OWNER }).rejects(Rejection::LastOwner);
    given::<Tenant>([created()]).when(Command::Excuse { owner: OTHER }).then([]);
    given::<Tenant>(two()).when(Command::Excuse { owner: OWNER }).then([excused(OWNER)]);
    let one_goes = || [created(), added.clone(), excused(OWNER)];
    given::<Tenant>(one_goes()).when(Command::Excuse { owner: OWNER }).then([]);
    given::<Tenant>(one_goes()).when(Command::Excuse { owner: OTHER }).rejects(Rejection::LastOwner);
    given::<Tenant>(one_goes()).when(Command::RemoveOwner { owner: OTHER }).rejects(Rejection::LastOwner);
    let removed = Event::OwnerRemoved { owner: OWNER, at: NOON };
    let gone = given::<Tenant>(one_goes()).when(Command::RemoveOwner { owner: OWNER }).then([removed]);
    let view = gone.state.reply().unwrap();
    assert_eq!((view.owners, view.excused), (vec![OTHER], vec![]));
    let back = Event::OwnerTakenBack { owner: OWNER, at: NOON };
    given::<Tenant>(one_goes()).when(Command::TakeBack { owner: OWNER }).then([back.clone()]);
    given::<Tenant>(two()).when(Command::TakeBack { owner: OWNER }).then([]);
    given::<Tenant>([created(), added.clone(), excused(OWNER), back])
        .when(Command::Excuse { owner: OTHER })
        .then([excused(OTHER)]);
}

#[test]
fn a_tenant_has_only_so_many_owners() {
    let others = (100..100 + OWNERS_MAX as u128 - 1).map(AccountId::new);
    let added = others.map(|owner| Event::OwnerAdded { owner, at: NOON });
    given::<Tenant>([created()].into_iter().chain(added))
        .when(Command::AddOwner { owner: OTHER })
        .rejects(Rejection::TooManyOwners);
}

#[test]
fn a_tenant_defines_one_role_of_its_own() {
    let permissions = Role::Member.permissions(None);
    let defined = Event::RoleDefined { permissions, at: NOON };
    let define = define(permissions);
    let tenant = given::<Tenant>([created()]).when(define.clone()).then([defined.clone()]).state;
    assert_eq!(tenant.reply().unwrap().custom_role, Some(permissions));
    given::<Tenant>([created(), defined]).when(define).then([]);
}

#[test]
fn nobody_defines_a_role_that_allows_or_allowed_more_than_they_may() {
    given::<Tenant>([created()]).when(define(Permissions::ALL)).rejects(Rejection::BeyondReach);
    let stronger = Event::RoleDefined { permissions: Permissions::ALL, at: NOON };
    given::<Tenant>([created(), stronger]).when(define(Permissions::NONE)).rejects(Rejection::BeyondReach);
}

fn define(permissions: Permissions) -> Command {
    Command::DefineRole { permissions, by: Authority::of_role(Role::Admin, None) }
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
        (7..10_u128).prop_map(|owner| Command::AddOwner { owner: AccountId::new(owner) }),
        (7..10_u128).prop_map(|owner| Command::RemoveOwner { owner: AccountId::new(owner) }),
        (7..10_u128).prop_map(|owner| Command::Excuse { owner: AccountId::new(owner) }),
        (7..10_u128).prop_map(|owner| Command::TakeBack { owner: AccountId::new(owner) }),
        Just(define(Role::Member.permissions(None))),
        Just(Command::LimitSessions { limits: LIMITS }),
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
            painted(Some("#2a52c9")),
            painted(None),
            suspended(None),
            suspended(Some(NOON)),
            Event::Resumed { at: NOON },
            Event::OwnerAdded { owner: OTHER, at: NOON },
            Event::OwnerRemoved { owner: OTHER, at: NOON },
            Event::RoleDefined { permissions: Role::Member.permissions(None), at: NOON },
            Event::OwnerExcused { owner: OTHER, at: NOON },
            Event::OwnerTakenBack { owner: OTHER, at: NOON },
            Event::SessionsLimited { limits: SessionLimits::default(), at: NOON },
            Event::SessionsLimited { limits: LIMITS, at: NOON },
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
        let is_owned = |tenant: View| tenant.owners.iter().any(|owner| !tenant.excused.contains(owner));
        prop_assert!(live.reply().is_none_or(is_owned), "it always has an owner to count on");
    }
}
