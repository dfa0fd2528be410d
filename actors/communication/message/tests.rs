//! What a message promises.

use prognet_supervisor::testing::{NOON, given, holds_to_golden};
use proptest::prelude::*;

use super::*;
use crate::{
    ids::{AccountId, TenantId},
    values::{PersonName, TenantName},
};

const LASTS: Duration = Duration::from_secs(60);
const BEGIN: Command = Command::Begin { lasts: LASTS };

fn mail() -> Mail {
    let name = PersonName::parse("Ada").unwrap();
    Mail::VerifyAddress { name, account: AccountId::new(1), id: 2 }
}

fn to() -> Email {
    Email::parse("ada@example.org").unwrap()
}

fn requested() -> Event {
    Event::Requested { mail: mail(), to: to(), language: Language::En, at: NOON }
}

fn attempted(number: u32) -> Event {
    Event::Attempted { number, at: NOON }
}

fn deferred(number: u32, until: Timestamp) -> Event {
    Event::Deferred { number, why: "451 later".to_owned(), until, at: NOON }
}

fn failed(number: u32) -> Command {
    Command::Report { number, outcome: Outcome::Failed("451 later".to_owned()) }
}

#[test]
fn a_message_is_requested_once() {
    let send = || Command::Send { mail: mail(), to: to(), language: Language::En };
    given::<Message>([]).when(send()).then([requested()]).sets(&[("next", NOON.after(ASK_AGAIN))]);
    given::<Message>([requested()]).when(send()).then([]);
    let other = Command::Send { mail: mail(), to: to(), language: Language::De };
    given::<Message>([requested()]).when(other).rejects(Rejection::AnotherMessage);
    given::<Message>([]).when(BEGIN).rejects(Rejection::Unknown);
}

#[test]
fn an_attempt_is_begun_once_and_only_then_shows_its_letter() {
    let begun = given::<Message>([requested()])
        .when(BEGIN)
        .then([attempted(1)])
        .sets(&[("next", NOON.after(LASTS))])
        .state;
    let letter = begun.reply().unwrap().letter.unwrap();
    assert_eq!((letter.mail, letter.to), (mail(), to()));
    given::<Message>([requested(), attempted(1)]).when(BEGIN).rejects(Rejection::NotDue);
    assert_eq!(given::<Message>([]).when(BEGIN).accepted(), None);
}

#[test]
fn what_the_server_takes_is_delivered_however_late_the_report() {
    let accepted = Command::Report { number: 1, outcome: Outcome::Accepted };
    let delivered = Event::Delivered { number: 1, at: NOON };
    let history = [requested(), attempted(1), Event::Due { at: NOON }, attempted(2)];
    given::<Message>(history[..2].to_vec()).when(accepted.clone()).then([delivered.clone()]);
    given::<Message>(history.clone()).when(accepted.clone()).then([delivered.clone()]);
    // Once it has ended nothing changes it.
    let ended: Vec<_> = history.into_iter().chain([delivered]).collect();
    for late in [accepted, failed(2), Command::Retry, Command::Overdue { number: 2 }] {
        given::<Message>(ended.clone()).when(late).then([]);
    }
    given::<Message>(ended).when(BEGIN).rejects(Rejection::NotDue);
}

#[test]
fn what_failed_is_tried_again_after_a_growing_pause() {
    let until = NOON.after(FIRST_PAUSE);
    given::<Message>([requested(), attempted(1)])
        .when(failed(1))
        .then([deferred(1, until)])
        .sets(&[("next", until)]);
    let waiting = [requested(), attempted(1), deferred(1, until)];
    given::<Message>(waiting.clone()).when(BEGIN).rejects(Rejection::NotDue);
    given::<Message>(waiting)
        .when(Command::Retry)
        .then([Event::Due { at: NOON }])
        .sets(&[("next", NOON.after(ASK_AGAIN))]);
    let pauses: Vec<_> = (1..=9).map(|attempts| pause(attempts).as_secs()).collect();
    assert_eq!(pauses, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
    assert_eq!(pause(u32::MAX), PAUSE_MAX);
}

#[test]
fn an_attempt_nobody_reports_is_followed_by_another() {
    let history = [requested(), attempted(1)];
    let due = Event::Due { at: NOON };
    given::<Message>(history.clone()).when(Command::Overdue { number: 1 }).then([due.clone()]);
    // Its report of failure comes too late to count.
    let second = [requested(), attempted(1), due, attempted(2)];
    given::<Message>(second.clone()).when(failed(1)).then([]);
    given::<Message>(second).when(Command::Overdue { number: 1 }).then([]);
}

#[test]
fn an_attempt_nobody_begins_is_asked_for_again() {
    given::<Message>([requested()]).when(Command::Retry).then([Event::Due { at: NOON }]);
    let late = Event::GivenUp { why: "not sent within a day".to_owned(), at: NOON.after(PATIENCE) };
    given::<Message>([requested()]).after(PATIENCE).when(Command::Retry).then([late]);
}

#[test]
fn what_is_refused_for_good_is_given_up_at_once() {
    let refused = Command::Report { number: 1, outcome: Outcome::Refused("550 no such user".to_owned()) };
    let given_up = Event::GivenUp { why: "550 no such user".to_owned(), at: NOON };
    let message = given::<Message>([requested(), attempted(1)]).when(refused).then([given_up]).state;
    let view = message.reply().unwrap();
    assert_eq!((view.stage, view.trouble.as_deref()), (Stage::GivenUp, Some("550 no such user")));
}

#[test]
fn after_a_day_it_is_given_up_with_the_last_reason() {
    let late = PATIENCE.checked_sub(PAUSE_MAX).unwrap();
    let given_up = |after: Duration| Event::GivenUp { why: "451 later".to_owned(), at: NOON.after(after) };
    let history: Vec<_> = [requested()].into_iter().chain((1..=9).map(attempted)).collect();
    given::<Message>(history).after(late).when(failed(9)).then([given_up(late)]).sets(&[]);
    let due = [requested(), attempted(1), deferred(1, NOON), Event::Due { at: NOON }];
    given::<Message>(due.clone()).after(PATIENCE).when(BEGIN).then([given_up(PATIENCE)]);
    given::<Message>(due).after(PATIENCE).when(Command::Retry).then([given_up(PATIENCE)]);
}

#[test]
fn every_event_ever_written_is_read() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/message.txt");
    let name = || PersonName::parse("Ada").unwrap();
    let account = AccountId::new(1);
    let mails = [
        mail(),
        Mail::AlreadyRegistered { name: name() },
        Mail::ResetPassword { name: name(), account, id: 2 },
        Mail::PasswordChanged { name: name() },
        Mail::EmailChangeConfirm { name: name(), account, id: 2 },
        Mail::EmailChangeNotice { name: name(), account, id: 2, new: "b***@example.org".to_owned() },
        Mail::Invitation {
            tenant: TenantId::new(3),
            id: 4,
            tenant_name: TenantName::parse("Acme").unwrap(),
            colour: None,
            inviter_name: name(),
            role: "admin".to_owned(),
        },
        Mail::AccountDeletion { name: name(), until: NOON },
        Mail::EmailChangeUndone { name: name() },
    ];
    let requests =
        mails.into_iter().map(|mail| Event::Requested { mail, to: to(), language: Language::De, at: NOON });
    let others = [
        attempted(1),
        deferred(1, NOON),
        Event::Due { at: NOON },
        Event::Delivered { number: 1, at: NOON },
        Event::GivenUp { why: "550".to_owned(), at: NOON },
    ];
    holds_to_golden::<Message>(file.as_ref(), &requests.chain(others).collect::<Vec<_>>());
}

fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        Just(Command::Send { mail: mail(), to: to(), language: Language::En }),
        Just(BEGIN),
        (0..5_u32).prop_map(failed),
        (0..5_u32).prop_map(|number| Command::Report { number, outcome: Outcome::Refused("550".to_owned()) }),
        Just(Command::Retry),
        (0..5_u32).prop_map(|number| Command::Overdue { number }),
    ]
}

proptest! {
    /// Whatever comes when: attempts are numbered without a gap, and the end is the end.
    #[test]
    fn attempts_come_one_after_another(
        commands in proptest::collection::vec((any_command(), 0..40_000_u64), 0..60),
    ) {
        let (mut history, mut now) = (Vec::new(), Duration::ZERO);
        let (mut attempts, mut has_ended) = (0, false);
        for (command, seconds) in commands {
            now += Duration::from_secs(seconds);
            let given = given::<Message>(history.clone()).after(now);
            let events = given.when(command).accepted().unwrap_or_default();
            prop_assert!(events.is_empty() || !has_ended);
            for event in &events {
                if let Event::Attempted { number, .. } = event {
                    attempts += 1;
                    prop_assert_eq!(*number, attempts);
                }
                has_ended = matches!(event, Event::Delivered { .. } | Event::GivenUp { .. });
            }
            history.extend(events);
        }
    }
}
