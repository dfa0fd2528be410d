//! A session: one sign-in, from the first token to its end.
//!
//! ```text
//! (none) ──Open──▶ Live ──End, or its time is over──▶ Ended
//!                  │  ▲ Refresh: generation + 1
//!                  └──┴── a spent generation, after its grace ──▶ Ended (reused)
//! ```
//! Refresh tokens are numbered by generation and derived from that number at the edge, so none is kept. A
//! generation is spent once; within a short grace spending it again gives the same successor, so that
//! parallel requests of one client do not log it out. After that somebody has stolen a token, and nobody
//! knows who: the session ends (RFC 9700 s. 4.14.2).

use std::{collections::VecDeque, time::Duration};

use prognet_supervisor::{Aggregate, Context, Decision, Entity, Kind, Timestamp};
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, SessionId, TenantId};

/// The timer of the absolute end.
const EXPIRE: &str = "expire";
/// Spent generations remembered for their grace; a client with more requests under way than that is none.
const SPENT_MAX: usize = 16;

/// One sign-in.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Session(Option<Open>);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Open {
    terms: Terms,
    epoch: u64,
    opened_at: Timestamp,
    used_at: Timestamp,
    /// The longest time nobody used it.
    longest_pause: Duration,
    generation: u64,
    /// Generations spent lately, and when.
    spent: VecDeque<(u64, Timestamp)>,
    ended: Option<End>,
}

/// How long a session lasts; fixed when it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// It ends this long after it was opened, whatever happens.
    pub lasts: Duration,
    /// It ends when nobody refreshed it for this long.
    pub idle: Duration,
    /// A spent generation gives its successor again for this long.
    pub grace: Duration,
}

/// How long after a sign-in its session is fresh (OWASP ASVS 7.5.1).
pub const FRESH: Duration = Duration::from_secs(10 * 60);

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Its person signed out.
    SignedOut,
    /// Its time was over.
    Expired,
    /// A spent refresh token came back.
    Reused,
    /// Its person, or whoever runs the platform, ended it from elsewhere.
    Revoked,
}

/// What a session shows of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The epoch of the account's credential it was opened under.
    pub epoch: u64,
    /// When its person proved who they are.
    #[serde(default)]
    pub opened_at: Timestamp,
    /// When it was used last.
    #[serde(default)]
    pub used_at: Timestamp,
    /// The longest time nobody used it, until then.
    #[serde(default)]
    pub longest_pause: Duration,
    /// The generation of the refresh token that is good now.
    pub generation: u64,
    /// When it ends, if it is not refreshed before.
    pub until: Timestamp,
    /// Why it ended, if it did.
    pub ended: Option<End>,
}

impl View {
    /// Whether its person proved just now who they are: refreshing proves nothing.
    #[must_use]
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now.since(self.opened_at) < FRESH
    }

    /// The longest time nobody used it, the one up to now too.
    #[must_use]
    pub fn paused(&self, now: Timestamp) -> Duration {
        self.longest_pause.max(now.since(self.used_at))
    }
}

/// What can be asked of a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Command {
    /// Opens it.
    Open {
        /// How long it lasts.
        terms: Terms,
        /// The tenant its first token is for: tells a retry from another request.
        tenant: Option<TenantId>,
        /// The epoch of the credential whose password was right.
        epoch: u64,
        /// What it is opened on, in words for its person.
        device: Option<String>,
    },
    /// Spends a generation.
    Refresh {
        /// The refresh token's.
        generation: u64,
    },
    /// Ends it; once ended it stays so, for the first reason.
    End(End),
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are the command's")]
pub enum Event {
    Opened {
        terms: Terms,
        at: Timestamp,
        #[serde(default, skip_serializing_if = "is_first")]
        epoch: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        device: Option<String>,
    },
    Refreshed {
        spent: u64,
        at: Timestamp,
    },
    Ended {
        why: End,
        at: Timestamp,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape serde asks for")]
const fn is_first(epoch: &u64) -> bool {
    *epoch == 0
}

/// Why a session says no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// There is none with this id, or it never had this generation.
    #[error("there is no such session")]
    Unknown,
    /// It was opened before.
    #[error("the session exists")]
    AlreadyOpen,
}

impl Session {
    /// A session of an account.
    #[must_use]
    pub const fn at(account: AccountId, id: SessionId) -> Entity<Self> {
        Entity::new(account.home(), id.number())
    }

    fn open(
        &self,
        terms: Terms,
        epoch: u64,
        device: Option<String>,
        ctx: &Context,
    ) -> Result<Decision<Self>, Rejection> {
        if self.0.is_some() {
            return Err(Rejection::AlreadyOpen);
        }
        let end = ctx.now().after(terms.lasts);
        let opened = Event::Opened { terms, at: ctx.now(), epoch, device };
        Ok(Decision::event(opened).timer(EXPIRE, end, Command::End(End::Expired)))
    }

    fn refresh(&self, generation: u64, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        let open = self.0.as_ref().ok_or(Rejection::Unknown)?;
        if open.ended.is_some() {
            return Ok(Decision::nothing());
        }
        if ctx.now() >= open.until() {
            return self.end(End::Expired, ctx);
        }
        if generation == open.generation {
            return Ok(Decision::event(Event::Refreshed { spent: generation, at: ctx.now() }));
        }
        if generation > open.generation {
            return Err(Rejection::Unknown);
        }
        let spent_at = open.spent.iter().find(|(spent, _)| *spent == generation).map(|(_, at)| *at);
        let is_in_grace = spent_at.is_some_and(|at| ctx.now().since(at) <= open.terms.grace);
        if is_in_grace { Ok(Decision::nothing()) } else { self.end(End::Reused, ctx) }
    }

    fn end(&self, why: End, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        match self.0.as_ref().ok_or(Rejection::Unknown)?.ended {
            Some(_) => Ok(Decision::nothing()),
            None => Ok(Decision::event(Event::Ended { why, at: ctx.now() }).clear(EXPIRE)),
        }
    }
}

impl Open {
    fn until(&self) -> Timestamp {
        self.opened_at.after(self.terms.lasts).min(self.used_at.after(self.terms.idle))
    }
}

impl Aggregate for Session {
    const KIND: Kind = Kind::new("auth", "session");
    type Command = Command;
    type Event = Event;
    /// `None` if there is no such session.
    type Reply = Option<View>;
    type Rejection = Rejection;

    fn decide(&self, command: Command, ctx: &Context) -> Result<Decision<Self>, Rejection> {
        match command {
            Command::Open { terms, tenant: _, epoch, device } => self.open(terms, epoch, device, ctx),
            Command::Refresh { generation } => self.refresh(generation, ctx),
            Command::End(why) => self.end(why, ctx),
        }
    }

    fn evolve(&mut self, event: &Event) {
        if let Event::Opened { terms, at, epoch, device: _ } = event {
            self.0 = Some(Open {
                terms: *terms,
                epoch: *epoch,
                opened_at: *at,
                used_at: *at,
                longest_pause: Duration::ZERO,
                generation: 0,
                spent: VecDeque::new(),
                ended: None,
            });
        }
        let Some(open) = &mut self.0 else { return };
        match event {
            Event::Opened { .. } => {}
            Event::Refreshed { spent, at } => {
                open.generation = spent + 1;
                open.longest_pause = open.longest_pause.max(at.since(open.used_at));
                open.used_at = *at;
                open.spent.push_back((*spent, *at));
                if open.spent.len() > SPENT_MAX {
                    open.spent.pop_front();
                }
            }
            Event::Ended { why, .. } => open.ended = Some(*why),
        }
    }

    fn reply(&self) -> Option<View> {
        self.0.as_ref().map(|open| View {
            epoch: open.epoch,
            opened_at: open.opened_at,
            used_at: open.used_at,
            longest_pause: open.longest_pause,
            generation: open.generation,
            until: open.until(),
            ended: open.ended,
        })
    }

    fn publish(event: &Event) -> Option<serde_json::Value> {
        match event {
            Event::Opened { device, .. } => Some(serde_json::json!({ "device": device })),
            Event::Refreshed { .. } => None,
            Event::Ended { why, .. } => Some(serde_json::json!({ "why": why })),
        }
    }

    fn inspect(&self) -> serde_json::Value {
        serde_json::json!(self.reply())
    }
}

#[cfg(test)]
mod tests {
    use prognet_supervisor::testing::{NOON, given, holds_to_golden};
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const GRACE: Duration = Duration::from_secs(30);
    const TERMS: Terms = Terms { lasts: HOUR.saturating_mul(100), idle: HOUR, grace: GRACE };
    const OPENED: Event = Event::Opened { terms: TERMS, at: NOON, epoch: 0, device: None };

    const OPEN: Command = Command::Open { terms: TERMS, tenant: None, epoch: 0, device: None };

    fn refreshed(spent: u64) -> Event {
        Event::Refreshed { spent, at: NOON }
    }

    fn refresh(generation: u64) -> Command {
        Command::Refresh { generation }
    }

    #[test]
    fn a_session_is_opened_once_and_has_an_end() {
        given::<Session>([]).when(OPEN).then([OPENED]).sets(&[("expire", NOON.after(TERMS.lasts))]);
        given::<Session>([OPENED]).when(OPEN).rejects(Rejection::AlreadyOpen);
    }

    #[test]
    fn a_token_spent_again_within_its_grace_gives_the_same_successor() {
        let once = given::<Session>([OPENED]).when(refresh(0)).then([refreshed(0)]).state;
        let again = given::<Session>([OPENED, refreshed(0)]).after(GRACE).when(refresh(0)).then([]).state;
        assert_eq!(once.reply().unwrap().generation, again.reply().unwrap().generation);
        // Even if somebody was so quick as to spend the successor meanwhile.
        given::<Session>([OPENED, refreshed(0), refreshed(1)]).after(GRACE).when(refresh(0)).then([]);
    }

    #[test]
    fn a_token_spent_again_after_its_grace_ends_the_session() {
        let late = GRACE + Duration::from_millis(1);
        let reused = Event::Ended { why: End::Reused, at: NOON.after(late) };
        given::<Session>([OPENED, refreshed(0)]).after(late).when(refresh(0)).then([reused.clone()]);
        // From then on the good token is worth nothing either.
        let state = given::<Session>([OPENED, refreshed(0), reused]).when(refresh(1)).then([]).state;
        assert_eq!(state.reply().unwrap().ended, Some(End::Reused));
    }

    #[test]
    fn a_session_nobody_refreshes_ends() {
        let expired = Event::Ended { why: End::Expired, at: NOON.after(HOUR) };
        given::<Session>([OPENED]).after(HOUR).when(refresh(0)).then([expired]);
        given::<Session>([OPENED]).when(refresh(1)).rejects(Rejection::Unknown);
    }

    /// Security bar 16.
    #[test]
    fn a_session_is_fresh_for_ten_minutes_however_often_it_is_refreshed() {
        let mut session = Session::default();
        session.evolve(&OPENED);
        session.evolve(&Event::Refreshed { spent: 0, at: NOON.after(FRESH - Duration::from_millis(1)) });
        let view = session.reply().unwrap();
        assert!(view.is_fresh(NOON.after(FRESH - Duration::from_millis(1))));
        assert!(!view.is_fresh(NOON.after(FRESH)));
    }

    #[test]
    fn an_ended_session_keeps_its_first_reason() {
        let ended = Event::Ended { why: End::SignedOut, at: NOON };
        given::<Session>([OPENED]).when(Command::End(End::SignedOut)).then([ended.clone()]);
        let state = given::<Session>([OPENED, ended]).when(Command::End(End::Expired)).then([]).state;
        assert_eq!(state.reply().unwrap().ended, Some(End::SignedOut));
    }

    #[test]
    fn every_event_ever_written_is_read() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/session.txt");
        holds_to_golden::<Session>(
            file.as_ref(),
            &[
                OPENED,
                Event::Opened {
                    terms: TERMS,
                    at: NOON,
                    epoch: 3,
                    device: Some("Firefox on Linux".to_owned()),
                },
                refreshed(0),
                Event::Ended { why: End::Reused, at: NOON },
                Event::Ended { why: End::Revoked, at: NOON },
            ],
        );
    }

    proptest! {
        /// Whatever tokens come back when: the generation never falls, and an ended session stays ended.
        #[test]
        fn generations_only_rise(steps in proptest::collection::vec((0..6_u64, 0..4_000_u64), 0..40)) {
            let (mut history, mut now) = (vec![OPENED], Duration::ZERO);
            let mut last = (0, false);
            for (generation, seconds) in steps {
                now += Duration::from_secs(seconds);
                let given = given::<Session>(history.clone()).after(now);
                history.extend(given.when(refresh(generation)).accepted().unwrap_or_default());
                let mut session = Session::default();
                for event in &history {
                    session.evolve(event);
                }
                let view = session.reply().unwrap();
                let next = (view.generation, view.ended.is_some());
                prop_assert!(next.0 >= last.0 && next.0 <= last.0 + 1 && (next.1 || !last.1));
                last = next;
            }
        }
    }
}
