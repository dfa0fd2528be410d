//! What an invitation promises.

use prognet_supervisor::testing::{ASKER, NOON, given, holds_to_golden};

use super::*;

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
const ACCOUNT: AccountId = AccountId::new(8);
const TAKEN: Event = Event::Taken { account: ACCOUNT, at: NOON };
const ACCEPTED: Event = Event::Accepted { account: ACCOUNT, at: NOON };

fn email(text: &str) -> Email {
    Email::parse(text).unwrap()
}

fn invited() -> Event {
    let (email, by) = (email("bob@example.org"), AccountId::new(ASKER));
    Event::Invited { email, role: Role::Member, by, until: NOON.after(WEEK), at: NOON }
}

fn invite() -> Command {
    Command::Invite {
        email: email("bob@example.org"),
        role: Role::Member,
        lasts: WEEK,
        tenant_name: TenantName::parse("Acme").unwrap(),
        inviter_name: PersonName::parse("Ada").unwrap(),
        colour: None,
        language: Language::En,
    }
}

fn accept() -> Command {
    Command::Accept { account: ACCOUNT, email: email("BOB@example.org") }
}

fn member() -> membership::View {
    let status = membership::Status::Active;
    membership::View { role: Role::Member, status, joined_at: NOON, pending: None, refused: None }
}

#[test]
fn an_address_is_asked_once_at_a_time_by_mail_and_for_its_time() {
    given::<Invitation>([])
        .when(invite())
        .then([invited()])
        .sends(&["mail"])
        .sets(&[("expire", NOON.after(WEEK))]);
    given::<Invitation>([invited()])
        .when(invite())
        .rejects(Rejection::AlreadyOpen { until: NOON.after(WEEK) });
    for end in
        [Event::Declined { at: NOON }, Event::Revoked { at: NOON }, Event::Expired { at: NOON }, ACCEPTED]
    {
        given::<Invitation>([invited(), end]).when(invite()).then([invited()]).sends(&["mail"]);
    }
}

#[test]
fn whoever_has_the_address_becomes_a_member_once() {
    given::<Invitation>([invited()]).when(accept()).then([TAKEN]).sends(&["admit"]);
    given::<Invitation>([invited(), TAKEN]).when(accept()).then([]).sends(&[]);
    let state = given::<Invitation>([invited(), TAKEN])
        .hears::<Membership>("admit", &Ok(Some(member())))
        .then([ACCEPTED])
        .state;
    assert!(state.has_ended());
    given::<Invitation>([invited(), TAKEN, ACCEPTED]).when(accept()).then([]).sends(&[]);
}

#[test]
fn nobody_else_accepts_it() {
    let other = Command::Accept { account: ACCOUNT, email: email("eve@example.org") };
    given::<Invitation>([invited()]).when(other.clone()).rejects(Rejection::OtherAddress);
    given::<Invitation>([]).when(other).rejects(Rejection::Unknown);
    // The address has moved on to another account meanwhile.
    let later = Command::Accept { account: AccountId::new(9), email: email("bob@example.org") };
    given::<Invitation>([invited(), TAKEN, ACCEPTED])
        .when(later)
        .rejects(Rejection::Over { how: How::Accepted });
}

#[test]
fn an_invitation_that_ended_is_not_accepted() {
    for (end, how) in [
        (Event::Declined { at: NOON }, How::Declined),
        (Event::Revoked { at: NOON }, How::Revoked),
        (Event::Expired { at: NOON }, How::Expired),
    ] {
        given::<Invitation>([invited(), end]).when(accept()).rejects(Rejection::Over { how });
    }
    // Its time counts, not its timer.
    given::<Invitation>([invited()])
        .after(WEEK)
        .when(accept())
        .rejects(Rejection::Over { how: How::Expired });
}

#[test]
fn declining_and_revoking_end_it_once() {
    let ends = [
        (Command::Decline, Event::Declined { at: NOON }),
        (Command::Revoke, Event::Revoked { at: NOON }),
        (Command::Expire, Event::Expired { at: NOON }),
    ];
    for (command, event) in ends {
        given::<Invitation>([invited()]).when(command.clone()).then([event.clone()]);
        given::<Invitation>([invited(), event]).when(command).then([]);
    }
    given::<Invitation>([invited(), TAKEN])
        .when(Command::Revoke)
        .rejects(Rejection::Over { how: How::Accepted });
}

#[test]
fn a_suspended_member_does_not_come_in_by_an_invitation() {
    let suspended = Err(membership::Rejection::Suspended { since: NOON });
    let refused = Event::NotAdmitted { at: NOON };
    let state = given::<Invitation>([invited(), TAKEN])
        .hears::<Membership>("admit", &suspended)
        .then([refused.clone()])
        .state;
    let view = state.reply().unwrap();
    assert!(view.was_refused && view.status == Status::Open);
    given::<Invitation>([invited(), TAKEN, refused]).when(accept()).then([TAKEN]);
    // Over meanwhile: the timer met it while it was being accepted.
    given::<Invitation>([invited(), TAKEN]).after(WEEK).when(Command::Expire).then([]);
    let later = NOON.after(WEEK);
    given::<Invitation>([invited(), TAKEN])
        .after(WEEK)
        .hears::<Membership>("admit", &suspended)
        .then([Event::NotAdmitted { at: later }, Event::Expired { at: later }]);
}

#[test]
fn every_event_ever_written_is_read() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/invitation.txt");
    holds_to_golden::<Invitation>(
        file.as_ref(),
        &[
            invited(),
            TAKEN,
            ACCEPTED,
            Event::NotAdmitted { at: NOON },
            Event::Declined { at: NOON },
            Event::Revoked { at: NOON },
            Event::Expired { at: NOON },
        ],
    );
}
