//! Session limits: what a tenant asks of its members' sign-ins beyond what the platform asks of all.

use std::{ops::RangeInclusive, time::Duration};

use prognet_supervisor::Timestamp;
use serde::{Deserialize, Serialize};

use crate::auth::session;

/// How long a sign-in is good enough for a tenant; what is none is as the platform has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionLimits {
    /// So long after it, however much it is used.
    pub lasts: Option<Duration>,
    /// Unless nobody used it for so long, once.
    pub idle: Option<Duration>,
}

impl SessionLimits {
    /// What either may be: access tokens are good for minutes, and nothing here lasts longer than a session.
    pub const RANGE: RangeInclusive<Duration> =
        Duration::from_secs(30 * 60)..=Duration::from_secs(90 * 24 * 3600);

    /// Whether a session is good enough.
    #[must_use]
    pub fn allow(&self, session: &session::View, now: Timestamp) -> bool {
        let is_within = |limit: Option<Duration>, time| limit.is_none_or(|limit| time < limit);
        is_within(self.lasts, now.since(session.opened_at)) && is_within(self.idle, session.paused(now))
    }
}
