//! What tenancy promises over crashes: behind whichever record a node dies, everything ends as it should.

use std::time::Duration;

use prognet_supervisor::testing::{NOON, World};

use super::{
    FoundTenant, Founder, Invitation, Membership, Role, Tenant,
    found_tenant::{self, Failure, Plan},
    invitation::{self, Status},
    membership, tenant,
};
use crate::{
    auth::access::Authority,
    communication::message::Language,
    crashes::{count, over_crashes, over_crashes_with_mails},
    ids::{AccountId, InvitationId, TenantId},
    users::{Reservation, reservation},
    values::{Email, PersonName, Slug, TenantName},
};

const TENANT: TenantId = TenantId::new(0xACE);
const ADA: AccountId = AccountId::new(0xADA);
const BOB: AccountId = AccountId::new(0xB0B);
const INVITATION: InvitationId = InvitationId::new(0x1D);
const BOBS: &str = "bob@example.org";
const SLUG: u128 = 9;
/// Another one, whose slug it is.
const OTHER: u128 = 0xBEE;
const STEP: Duration = Duration::from_millis(20);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

fn slug() -> Slug {
    Slug::parse("acme").unwrap()
}

fn name() -> TenantName {
    TenantName::parse("Acme").unwrap()
}

fn email() -> Email {
    Email::parse(BOBS).unwrap()
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

async fn start_founding(world: &World) {
    let (slug, slug_reservation, name, at_most) = (slug(), SLUG, name(), Some(1));
    let plan = Plan { tenant: TENANT, slug, slug_reservation, name, owner: ADA, at_most };
    let start = found_tenant::Command::Start(plan);
    drop(world.node.ask_to_end(&world.asking(Some(1)), FoundTenant::at(TENANT), start).await);
}

#[tokio::test]
async fn a_founding_counts_once_and_makes_its_founder_the_owner() {
    over_crashes(
        0,
        async |_: &World| {},
        start_founding,
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
async fn a_founding_that_fails_is_not_counted() {
    let taken = async |world: &World| {
        let claim = reservation::Command::Claim { owner: OTHER, lasts: WEEK };
        world.ask(Reservation::at(SLUG), claim).await.unwrap();
    };
    over_crashes(0, taken, start_founding, async |world: &World| {
        let founding = world.read(FoundTenant::at(TENANT)).await.unwrap();
        founding == found_tenant::View::Failed(Failure::SlugTaken)
            && world.read(Founder::at(ADA)).await.unwrap().tenants == 0
            && world.read(Reservation::at(SLUG)).await.unwrap().owner == Some(OTHER)
            && world.read(Tenant::at(TENANT)).await.unwrap().is_none()
    })
    .await;
}

async fn invite(world: &World) {
    let invite = invitation::Command::Invite {
        email: email(),
        role: Role::Admin,
        lasts: WEEK,
        tenant_name: name(),
        inviter_name: PersonName::parse("Ada").unwrap(),
        colour: None,
        language: Language::En,
    };
    drop(world.ask_keyed(1, Invitation::at(TENANT, INVITATION), invite).await);
}

/// Asked, and told by mail.
async fn invited(world: &World) {
    found(world).await;
    invite(world).await;
}

/// How the invitation stands, whose person has one mail, while nobody is a member but its founder.
async fn stands(world: &World) -> Option<Status> {
    let invitation = world.read(Invitation::at(TENANT, INVITATION)).await.unwrap();
    let is_alone = role_of(world, BOB).await.is_none() && count(world, "membership", "admitted") == 1;
    invitation.map(|invitation| invitation.status).filter(|_| is_alone)
}

#[tokio::test]
async fn an_invitation_is_mailed_once() {
    over_crashes_with_mails(&[(BOBS, 1)], found, invite, async |world: &World| {
        stands(world).await == Some(Status::Open)
    })
    .await;
}

#[tokio::test]
async fn an_invitation_that_is_declined_or_revoked_lets_nobody_in() {
    for (command, end) in
        [(invitation::Command::Decline, Status::Declined), (invitation::Command::Revoke, Status::Revoked)]
    {
        let answer = async |world: &World| {
            drop(world.ask_keyed(2, Invitation::at(TENANT, INVITATION), command.clone()).await);
        };
        over_crashes(1, invited, answer, async |world: &World| stands(world).await == Some(end)).await;
    }
}

/// A member that is suspended is not let in by an invitation, which stays open.
#[tokio::test]
async fn whoever_is_kept_out_is_not_let_in_by_an_invitation() {
    let suspended = async |world: &World| {
        invited(world).await;
        let (bob, by) = (Membership::at(TENANT, BOB), Authority::of_role(Role::Owner, None));
        world.ask(bob, membership::Command::Admit { role: Role::Member }).await.unwrap();
        world.ask(bob, membership::Command::Suspend { by }).await.unwrap();
    };
    over_crashes(1, suspended, accept, async |world: &World| {
        let invitation = world.read(Invitation::at(TENANT, INVITATION)).await.unwrap().unwrap();
        let member = world.read(Membership::at(TENANT, BOB)).await.unwrap().unwrap();
        (invitation.status, invitation.was_refused) == (Status::Open, true)
            && matches!(member.status, membership::Status::Suspended { .. })
    })
    .await;
}

async fn accept(world: &World) {
    let accept = invitation::Command::Accept { account: BOB, email: email() };
    drop(world.node.ask_to_end(&world.asking(Some(3)), Invitation::at(TENANT, INVITATION), accept).await);
}

#[tokio::test]
async fn an_invitation_that_is_accepted_makes_one_member() {
    over_crashes(1, invited, accept, async |world: &World| {
        let invitation = world.read(Invitation::at(TENANT, INVITATION)).await.unwrap();
        invitation.is_some_and(|invitation| invitation.status == Status::Accepted(BOB))
            && role_of(world, BOB).await == Some(Role::Admin)
            && count(world, "membership", "admitted") == 2
    })
    .await;
}

/// Security bar 43: the last owner cannot leave, whoever goes at the same moment.
#[tokio::test]
async fn of_two_last_owners_who_leave_at_once_exactly_one_goes() {
    let two_owners = async |world: &World| {
        found(world).await;
        let bob = Membership::at(TENANT, BOB);
        world.ask(bob, membership::Command::Admit { role: Role::Member }).await.unwrap();
        let by = Authority::of_role(Role::Owner, None);
        let rise = membership::Command::ChangeRole { to: Role::Owner, by };
        world.driven(STEP, world.node.ask_to_end(&world.asking(None), bob, rise)).await.unwrap();
        assert_eq!(owners(world).await, [ADA, BOB]);
    };
    let both_leave = async |world: &World| {
        let leave = async |account: AccountId| {
            let (asking, leave) = (world.asking(Some(account.number())), membership::Command::Leave);
            drop(world.node.ask_to_end(&asking, Membership::at(TENANT, account), leave).await);
        };
        tokio::join!(leave(ADA), leave(BOB));
    };
    over_crashes(0, two_owners, both_leave, async |world: &World| {
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
async fn an_invitation_nobody_answers_ends_by_itself() {
    let wait = async |world: &World| {
        let over = NOON.after(WEEK + WEEK);
        world.clock.advance(over.since(world.clock.now()));
    };
    let invited = async |world: &World| {
        invited(world).await;
        world.until(STEP, || async { count(world, "message", "delivered") == 1 }).await;
    };
    over_crashes_with_mails(&[(BOBS, 1)], invited, wait, async |world: &World| {
        stands(world).await == Some(Status::Expired)
    })
    .await;
}
