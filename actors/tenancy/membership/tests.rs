//! What a membership promises.

use prognet_supervisor::testing::{NOON, given, holds_to_golden};
use proptest::prelude::*;

use super::*;

const SOUGHT: Event = Event::OwnershipSought { at: NOON };
const SUSPENDED: Event = Event::Suspended { at: NOON };
const REMOVED: Event = Event::Removed { at: NOON };
/// The say of an owner, and of an admin, in a tenant without a role of its own.
const OWNER: Authority = Authority::of_role(Role::Owner, None);
const ADMIN: Authority = Authority::of_role(Role::Admin, None);

const fn admitted(role: Role) -> Event {
    Event::Admitted { role, at: NOON }
}

const fn yielded(next: Next) -> Event {
    Event::OwnershipYielded { next, at: NOON }
}

const fn change(to: Role, by: Authority) -> Command {
    Command::ChangeRole { to, by }
}

#[test]
fn a_member_is_admitted_once_and_keeps_the_role() {
    let admit = |role| Command::Admit { role };
    given::<Membership>([]).when(admit(Role::Member)).then([admitted(Role::Member)]);
    given::<Membership>([]).when(admit(Role::Owner)).rejects(Rejection::BeyondReach);
    given::<Membership>([admitted(Role::Member)]).when(admit(Role::Admin)).then([]);
    given::<Membership>([admitted(Role::Member), SUSPENDED])
        .when(admit(Role::Member))
        .rejects(Rejection::Suspended { since: NOON });
    given::<Membership>([admitted(Role::Admin), REMOVED])
        .when(admit(Role::Member))
        .then([admitted(Role::Member)]);
}

#[test]
fn whoever_is_erased_is_no_member_any_more_whatever_they_were() {
    for last in [admitted(Role::Owner), SUSPENDED, SOUGHT, yielded(Next::Suspended)] {
        let history = [admitted(Role::Admin), last];
        given::<Membership>(history).when(Command::End).then([REMOVED]).sends(&[]);
    }
    given::<Membership>([]).when(Command::End).then([]);
    given::<Membership>([admitted(Role::Admin), REMOVED]).when(Command::End).then([]);
    given::<Membership>([admitted(Role::Admin), SOUGHT, REMOVED]).when(Command::Granted).then([]);
}

#[test]
fn a_founder_owns_from_the_start_and_is_not_brought_back() {
    given::<Membership>([]).when(Command::Own).then([admitted(Role::Owner)]);
    given::<Membership>([admitted(Role::Owner)]).when(Command::Own).then([]);
    given::<Membership>([admitted(Role::Owner), REMOVED]).when(Command::Own).then([]);
}

#[test]
fn a_role_is_changed_by_whoever_has_all_that_it_gives_and_took() {
    given::<Membership>([admitted(Role::Member)])
        .when(change(Role::Admin, ADMIN))
        .then([Event::RoleChanged { role: Role::Admin, at: NOON }])
        .sends(&[]);
    given::<Membership>([admitted(Role::Admin)]).when(change(Role::Admin, ADMIN)).then([]);
    given::<Membership>([admitted(Role::Member)])
        .when(change(Role::Owner, ADMIN))
        .rejects(Rejection::BeyondReach);
    let low = Authority::of_role(Role::Member, None);
    given::<Membership>([admitted(Role::Admin)])
        .when(change(Role::Member, low))
        .rejects(Rejection::BeyondReach);
    given::<Membership>([]).when(change(Role::Admin, OWNER)).rejects(Rejection::Unknown);
}

#[test]
fn a_role_that_is_not_defined_is_nobodys() {
    given::<Membership>([admitted(Role::Member)])
        .when(change(Role::Custom, OWNER))
        .rejects(Rejection::UndefinedRole);
    let defined = Authority::of_role(Role::Owner, Some(Role::Member.permissions(None)));
    given::<Membership>([admitted(Role::Member)])
        .when(change(Role::Custom, defined))
        .then([Event::RoleChanged { role: Role::Custom, at: NOON }]);
}

#[test]
fn an_owner_is_out_of_an_admins_reach() {
    for command in
        [change(Role::Member, ADMIN), Command::Suspend { by: ADMIN }, Command::Remove { by: ADMIN }]
    {
        given::<Membership>([admitted(Role::Owner)]).when(command).rejects(Rejection::BeyondReach);
    }
}

#[test]
fn a_member_becomes_an_owner_once_the_tenant_says_so() {
    let history = [admitted(Role::Admin), SOUGHT];
    given::<Membership>([admitted(Role::Admin)])
        .when(change(Role::Owner, OWNER))
        .then([SOUGHT])
        .sends(&["rise"]);
    given::<Membership>(history).when(change(Role::Owner, OWNER)).then([]).sends(&[]);
    for other in [Command::Suspend { by: OWNER }, Command::Remove { by: OWNER }, Command::Leave] {
        given::<Membership>(history).when(other).rejects(Rejection::Changing);
    }

    let state = given::<Membership>(history)
        .hears::<Tenant>("rise", &Ok(None))
        .then([Event::RoleChanged { role: Role::Owner, at: NOON }])
        .state;
    assert!(state.has_ended() && state.reply().unwrap().role == Role::Owner);
    let state = given::<Membership>(history)
        .hears::<Tenant>("rise", &Err(tenant::Rejection::TooManyOwners))
        .then([Event::OwnershipKept { why: Refusal::TooManyOwners, at: NOON }])
        .state;
    let view = state.reply().unwrap();
    assert_eq!((view.role, view.refused), (Role::Admin, Some(Refusal::TooManyOwners)));
    given::<Membership>([admitted(Role::Admin), SUSPENDED])
        .when(change(Role::Owner, OWNER))
        .rejects(Rejection::Suspended { since: NOON });
}

#[test]
fn an_owner_goes_only_if_the_tenant_lets_go() {
    let member = Event::RoleChanged { role: Role::Member, at: NOON };
    let admin = Event::RoleChanged { role: Role::Admin, at: NOON };
    for (command, next, events) in [
        (change(Role::Member, OWNER), Next::Role(Role::Member), vec![member]),
        (Command::Suspend { by: OWNER }, Next::Suspended, vec![admin, SUSPENDED]),
        (Command::Remove { by: OWNER }, Next::Removed, vec![REMOVED]),
        (Command::Leave, Next::Removed, vec![REMOVED]),
    ] {
        let history = [admitted(Role::Owner), yielded(next)];
        given::<Membership>([admitted(Role::Owner)])
            .when(command.clone())
            .then([yielded(next)])
            .sends(&["yield"]);
        given::<Membership>(history).when(command).then([]).sends(&[]);
        given::<Membership>(history).hears::<Tenant>("yield", &Ok(None)).then(events);

        let kept = given::<Membership>(history)
            .hears::<Tenant>("yield", &Err(tenant::Rejection::LastOwner))
            .then([Event::OwnershipKept { why: Refusal::LastOwner, at: NOON }]);
        let view = kept.state.reply().unwrap();
        assert_eq!((view.role, view.status), (Role::Owner, Status::Active));
    }
}

#[test]
fn a_suspended_member_is_resumed_or_removed() {
    let history = [admitted(Role::Member), SUSPENDED];
    given::<Membership>([admitted(Role::Member)]).when(Command::Suspend { by: ADMIN }).then([SUSPENDED]);
    given::<Membership>(history)
        .when(Command::Suspend { by: ADMIN })
        .rejects(Rejection::Suspended { since: NOON });
    given::<Membership>(history).when(Command::Resume { by: ADMIN }).then([Event::Resumed { at: NOON }]);
    given::<Membership>([admitted(Role::Member)])
        .when(Command::Resume { by: ADMIN })
        .rejects(Rejection::NotSuspended);
    given::<Membership>(history).when(Command::Remove { by: ADMIN }).then([REMOVED]);
    given::<Membership>([admitted(Role::Member), REMOVED])
        .when(Command::Resume { by: ADMIN })
        .rejects(Rejection::Unknown);
}

#[test]
fn every_event_ever_written_is_read() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/membership.txt");
    holds_to_golden::<Membership>(
        file.as_ref(),
        &[
            admitted(Role::Owner),
            admitted(Role::Custom),
            Event::RoleChanged { role: Role::Admin, at: NOON },
            SUSPENDED,
            Event::Resumed { at: NOON },
            REMOVED,
            SOUGHT,
            yielded(Next::Role(Role::Member)),
            yielded(Next::Suspended),
            yielded(Next::Removed),
            Event::OwnershipKept { why: Refusal::LastOwner, at: NOON },
        ],
    );
}

fn any_command() -> impl Strategy<Value = Command> {
    let role = || (0..4_usize).prop_map(|place| Role::ALL[place]);
    let by = || role().prop_map(|role| Authority::of_role(role, Some(Role::Member.permissions(None))));
    prop_oneof![
        Just(Command::Own),
        role().prop_map(|role| Command::Admit { role }),
        (role(), by()).prop_map(|(to, by)| change(to, by)),
        by().prop_map(|by| Command::Suspend { by }),
        by().prop_map(|by| Command::Resume { by }),
        by().prop_map(|by| Command::Remove { by }),
        Just(Command::Leave),
        Just(Command::End),
        Just(Command::Granted),
        Just(Command::Refused(Refusal::LastOwner)),
    ]
}

proptest! {
    /// Whatever is asked in whatever order: a suspended member is no owner, and nobody becomes an owner or
    /// ceases to be one without the tenant's word.
    #[test]
    fn ownership_moves_by_the_tenants_word_alone(commands in proptest::collection::vec(any_command(), 0..40)) {
        let mut history = Vec::new();
        let mut member = Membership::default();
        for command in commands {
            let is_word = matches!(command, Command::Granted | Command::Own | Command::End);
            let before = member.reply();
            for event in given::<Membership>(history.clone()).when(command).accepted().unwrap_or_default() {
                member.evolve(&event);
                history.push(event);
            }
            let after = member.reply();
            let owns = |view: Option<View>| {
                view.is_some_and(|view| view.role == Role::Owner && view.status == Status::Active)
            };
            prop_assert!(is_word || owns(before) == owns(after));
            let suspended = after.filter(|view| matches!(view.status, Status::Suspended { .. }));
            prop_assert!(suspended.is_none_or(|view| view.role != Role::Owner));
        }
    }
}
