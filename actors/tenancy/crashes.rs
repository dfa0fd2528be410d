//! What tenancy promises over crashes: behind whichever record a node dies, everything ends as it should.

use std::time::Duration;

use prognet_supervisor::testing::{NOON, World};

use super::{
    FoundTenant, Founder, Invitation, Membership, Role, Tenant,
    found_tenant::{self, Plan},
    invitation::{self, Status},
    membership, tenant,
};
use crate::{
    auth::access::Authority,
    communication::message::Language,
    ids::{AccountId, InvitationId, TenantId},
    users::Reservation,
    values::{Email, PersonName, Slug, TenantName},
};

const TENANT: TenantId = TenantId::new(0xACE);
const ADA: AccountId = AccountId::new(0xADA);
const BOB: AccountId = AccountId::new(0xB0B);
const INVITATION: InvitationId = InvitationId::new(0x1D);
const SLUG: u128 = 9;
/// Records after which a node dies: more than any of these needs.
const DEATHS_MAX: usize = 60;

/// Prepares, acts, and dies behind the first, the second, ... record of that; on the next node the same is asked
/// again, as a client would, and then everything is as it should be.
async fn over_crashes(
    prepare: impl AsyncFn(&World),
    act: impl AsyncFn(&World),
    is_right: impl AsyncFn(&World) -> bool,
) {
    for deaths_after in 0..DEATHS_MAX {
        let mut world = World::new(crate::services).await;
        prepare(&world).await;
        let last = world.memory.records() + deaths_after;
        let has_ended = tokio::select! {
            biased;
            () = async {
                while world.memory.records() <= last {
                    tokio::task::yield_now().await;
                }
            } => false,
            () = act(&world) => true,
        };
        if !has_ended {
            world.die();
            world.start().await;
            driven(&world, act(&world)).await;
        }
        world.until(Duration::from_millis(5), || async { is_right(&world).await }).await;
        if has_ended {
            assert!(deaths_after > 0, "it died at least once");
            return;
        }
    }
    panic!("it takes more records than anybody thought");
}

/// Lets the clock run while something waits for it.
async fn driven<T>(world: &World, work: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        done = work => done,
        () = world.until(Duration::from_millis(5), || async { false }) => unreachable!("it panics first"),
    }
}

fn slug() -> Slug {
    Slug::parse("acme").unwrap()
}

fn name() -> TenantName {
    TenantName::parse("Acme").unwrap()
}

fn email() -> Email {
    Email::parse("bob@example.org").unwrap()
}

async fn found(world: &World) {
    let create = tenant::Command::Create { name: name(), slug: slug(), owner: ADA };
    world.ask(Tenant::at(TENANT), create).await.unwrap();
    world.ask(Membership::at(TENANT, ADA), membership::Command::Own).await.unwrap();
}

async fn role_of(world: &World, account: AccountId) -> Option<Role> {
    let member = world.read(Membership::at(TENANT, account)).await.unwrap()?;
    (member.status == membership::Status::Active && member.pending.is_none()).then_some(member.role)
}

async fn owners(world: &World) -> Vec<AccountId> {
    world.read(Tenant::at(TENANT)).await.unwrap().map(|tenant| tenant.owners).unwrap_or_default()
}

/// How often something happened to entities of a kind.
fn count(world: &World, kind: &str, event: &str) -> usize {
    let log = world.memory.log();
    let records = log.iter().map(|stored| &stored.record);
    let events =
        records.filter(|record| record.entity.kind.as_str() == kind && record.name.as_str() == event);
    events.count()
}

#[tokio::test]
async fn a_founding_counts_once_and_makes_its_founder_the_owner() {
    let found = async |world: &World| {
        let (slug, slug_reservation, name, at_most) = (slug(), SLUG, name(), Some(1));
        let plan = Plan { tenant: TENANT, slug, slug_reservation, name, owner: ADA, at_most };
        let start = found_tenant::Command::Start(plan);
        let asking = world.asking(Some(1));
        drop(world.node.ask_to_end(&asking, FoundTenant::at(TENANT), start).await);
    };
    over_crashes(
        async |_: &World| {},
        found,
        async |world: &World| {
            let held = world.read(Reservation::at(SLUG)).await.unwrap();
            held.is_confirmed
                && owners(world).await == [ADA]
                && role_of(world, ADA).await == Some(Role::Owner)
                && world.read(Founder::at(ADA)).await.unwrap().tenants == 1
                && count(world, "membership", "admitted") == 1
        },
    )
    .await;
}

#[tokio::test]
async fn an_invitation_that_is_accepted_makes_one_member() {
    let invite = async |world: &World| {
        found(world).await;
        let invite = invitation::Command::Invite {
            email: email(),
            role: Role::Admin,
            lasts: Duration::from_secs(3600),
            tenant_name: name(),
            inviter_name: PersonName::parse("Ada").unwrap(),
            colour: None,
            language: Language::En,
        };
        world.ask(Invitation::at(TENANT, INVITATION), invite).await.unwrap();
    };
    let accept = async |world: &World| {
        let accept = invitation::Command::Accept { account: BOB, email: email() };
        let asking = world.asking(Some(1));
        drop(world.node.ask_to_end(&asking, Invitation::at(TENANT, INVITATION), accept).await);
    };
    over_crashes(invite, accept, async |world: &World| {
        let invitation = world.read(Invitation::at(TENANT, INVITATION)).await.unwrap();
        invitation.is_some_and(|invitation| invitation.status == Status::Accepted(BOB))
            && role_of(world, BOB).await == Some(Role::Admin)
            && count(world, "membership", "admitted") == 2
            && count(world, "message", "requested") == 1
    })
    .await;
}

/// Identity checklist, line 43: the last owner cannot leave, whoever goes at the same moment.
#[tokio::test]
async fn of_two_last_owners_who_leave_at_once_exactly_one_goes() {
    let two_owners = async |world: &World| {
        found(world).await;
        let bob = Membership::at(TENANT, BOB);
        world.ask(bob, membership::Command::Admit { role: Role::Member }).await.unwrap();
        let by = Authority::of_role(Role::Owner, None);
        let rise = membership::Command::ChangeRole { to: Role::Owner, by };
        driven(world, world.node.ask_to_end(&world.asking(None), bob, rise)).await.unwrap();
        assert_eq!(owners(world).await, [ADA, BOB]);
    };
    let both_leave = async |world: &World| {
        let leave = async |account: AccountId| {
            let (asking, leave) = (world.asking(Some(account.number())), membership::Command::Leave);
            drop(world.node.ask_to_end(&asking, Membership::at(TENANT, account), leave).await);
        };
        tokio::join!(leave(ADA), leave(BOB));
    };
    over_crashes(two_owners, both_leave, async |world: &World| {
        let left = owners(world).await;
        let roles = (role_of(world, ADA).await, role_of(world, BOB).await);
        match left.as_slice() {
            [one] if *one == ADA => roles == (Some(Role::Owner), None),
            [one] if *one == BOB => roles == (None, Some(Role::Owner)),
            _ => false,
        }
    })
    .await;
}

#[tokio::test]
async fn an_invitation_nobody_answers_ends_by_itself_even_over_a_crash() {
    let mut world = World::new(crate::services).await;
    found(&world).await;
    let invite = invitation::Command::Invite {
        email: email(),
        role: Role::Member,
        lasts: Duration::from_secs(7 * 24 * 3600),
        tenant_name: name(),
        inviter_name: PersonName::parse("Ada").unwrap(),
        colour: None,
        language: Language::En,
    };
    world.ask(Invitation::at(TENANT, INVITATION), invite).await.unwrap();

    world.die();
    world.clock.advance(Duration::from_secs(8 * 24 * 3600));
    world.start().await;

    let is_over = || async {
        let invitation = world.read(Invitation::at(TENANT, INVITATION)).await.unwrap();
        invitation.is_some_and(|invitation| invitation.status == Status::Expired)
    };
    world.until(Duration::from_millis(5), is_over).await;
    assert!(world.clock.now() > NOON);
}
