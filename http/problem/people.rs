//! What people meet on their way in, through and out: links, passwords, accounts as they stand.

use std::time::Duration;

use actix_web::http::StatusCode;
use prognet_actors::{
    auth::credential,
    users::{account, change_email, leaving, reservation, sign_up},
    values::password::Unfit,
};
use prognet_sdk::FieldError;
use prognet_supervisor::{Refused, Timestamp};

use super::Problem;
use crate::limits::Over;

impl Problem {
    /// A new password is not one; the field says why.
    pub(crate) fn new_password(field: &str, unfit: Unfit) -> Self {
        let mut problem = Self::new(StatusCode::BAD_REQUEST, "account/password", "That is no good password");
        problem.errors.push(FieldError { field: field.to_owned(), detail: unfit.to_string() });
        problem
    }

    /// A mailed link that is used, replaced, too old or made up.
    pub(crate) fn link() -> Self {
        Self::new(StatusCode::FORBIDDEN, "account/link", "The link is not good (any more)")
    }

    /// What was asked with a mailed link was refused; one about somebody who is erased is as old as any.
    pub(crate) fn behind_link<R: Into<Self>>(refused: Refused<R>) -> Self {
        match refused {
            Refused::Erased => Self::link(),
            Refused::Rejected(_)
            | Refused::KeyReused
            | Refused::Poison
            | Refused::Unavailable(_)
            | Refused::Fault => refused.into(),
        }
    }

    /// The account is to be deleted, and its person may still stay.
    pub(crate) fn leaving(until: Timestamp) -> Self {
        Self::new(StatusCode::FORBIDDEN, "account/leaving", "The account is about to be deleted")
            .detail(format!("until {until} it can be kept"))
    }

    /// The password that was to prove the caller is another.
    pub(crate) fn wrong_password() -> Self {
        Self::new(StatusCode::FORBIDDEN, "account/wrong-password", "The password is wrong")
    }

    /// The caller proved too long ago who they are.
    pub(crate) fn not_fresh() -> Self {
        let title = "A sign-in of the last 10 minutes is needed";
        Self::new(StatusCode::UNAUTHORIZED, "session/not-fresh", title)
            .detail("sign in again, and ask with the new token")
    }

    /// The tenant wants a newer sign-in than the platform does.
    pub(crate) fn session_outlived() -> Self {
        let title = "The tenant wants a newer sign-in";
        Self::new(StatusCode::UNAUTHORIZED, "session/outlived", title)
            .detail("sign in again; for the platform and other tenants the session goes on")
    }

    /// Somebody tries too many passwords.
    pub(crate) fn slow_down(wait: Duration) -> Self {
        let title = "Too many wrong passwords: wait a little";
        let mut problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "session/slow-down", title);
        problem.retry_after_s = u16::try_from(wait.as_millis().div_ceil(1_000)).ok();
        problem
    }

    /// Whoever is the only owner of tenants, these and some more, does not leave them without anybody.
    pub(crate) fn needed_in(named: &[String], more: usize) -> Self {
        let title = "A tenant would be left without an owner";
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        Self::new(StatusCode::CONFLICT, "account/only-owner", title)
            .detail(format!("first make somebody else an owner of {}{more}", named.join(", ")))
    }

    /// A script or a form of another site sent it.
    pub(crate) fn foreign() -> Self {
        Self::new(StatusCode::FORBIDDEN, "request/foreign", "Another site sent this")
    }

    /// One network asks too often at a door for everybody.
    pub(crate) fn too_many(over: Over) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "request/too-many", "Too many requests: wait a little")
            .over(over)
    }

    /// As many mails were asked for to one address as may be.
    pub(crate) fn too_many_mails(over: Over) -> Self {
        let title = "This address was to be written to very often: wait a little";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "mail/too-many", title).over(over)
    }

    fn over(mut self, Over { standing, wait }: Over) -> Self {
        self.retry_after_s = Some(u16::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u16::MAX));
        self.limit = Some(Box::new(standing));
        self
    }

    /// Whoever runs the platform does not leave it without anybody.
    pub(crate) fn runs_platform() -> Self {
        let title = "A platform admin's account stays as it is";
        Self::new(StatusCode::CONFLICT, "account/runs-platform", title)
    }
}

impl From<account::Rejection> for Problem {
    fn from(rejection: account::Rejection) -> Self {
        match rejection {
            account::Rejection::Unknown => {
                Self::new(StatusCode::NOT_FOUND, "account/unknown", "There is no such account")
            }
            account::Rejection::AlreadyRegistered => Self::key_reused(),
            account::Rejection::Stands(_) => {
                Self::new(StatusCode::CONFLICT, "account/status", "Not as the account stands")
                    .detail(rejection)
            }
            account::Rejection::RunsThePlatform => Self::runs_platform(),
        }
    }
}

impl From<credential::Rejection> for Problem {
    fn from(rejection: credential::Rejection) -> Self {
        match rejection {
            credential::Rejection::AlreadyExists => Self::key_reused(),
            credential::Rejection::Link => Self::link(),
            // Somebody changed it between the check and the change: what was right is wrong now.
            credential::Rejection::Unknown | credential::Rejection::Outdated => Self::wrong_password(),
        }
    }
}

impl From<change_email::Rejection> for Problem {
    fn from(rejection: change_email::Rejection) -> Self {
        match rejection {
            change_email::Rejection::TooSoon => Self::new(
                StatusCode::CONFLICT,
                "account/email-changed-lately",
                "The address was changed lately, or is just being changed",
            ),
            change_email::Rejection::Link => Self::link(),
        }
    }
}

impl From<leaving::Rejection> for Problem {
    fn from(leaving::Rejection::NotLeaving: leaving::Rejection) -> Self {
        Self::new(StatusCode::CONFLICT, "account/not-leaving", "The account stays, or it is too late")
    }
}

/// A reservation says no to sagas; what is asked of it here it never refuses.
impl From<reservation::Rejection> for Problem {
    fn from(rejection: reservation::Rejection) -> Self {
        Self::new(StatusCode::CONFLICT, "account/status", "Not as the account stands").detail(rejection)
    }
}

impl From<sign_up::Rejection> for Problem {
    fn from(rejection: sign_up::Rejection) -> Self {
        match rejection {
            sign_up::Rejection::AnotherPlan => Self::key_reused(),
            sign_up::Rejection::Link => Self::link(),
            sign_up::Rejection::Password => Self::new(
                StatusCode::FORBIDDEN,
                "account/sign-up-password",
                "The password is not that of the sign-up",
            )
            .detail("if you do not know it, sign up again: the new mail's link goes with the new password"),
        }
    }
}
