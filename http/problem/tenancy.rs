//! How tenants, their members and their founding say no.

use actix_web::http::StatusCode;
use prognet_actors::tenancy::{found_tenant, invitation, membership, tenant};

use super::Problem;

impl From<tenant::Rejection> for Problem {
    fn from(rejection: tenant::Rejection) -> Self {
        use tenant::Rejection;
        let (status, code) = match rejection {
            Rejection::Unknown => (StatusCode::NOT_FOUND, "tenant/unknown"),
            Rejection::AlreadyExists => (StatusCode::CONFLICT, "tenant/already-exists"),
            Rejection::AlreadySuspended { .. } => (StatusCode::CONFLICT, "tenant/already-suspended"),
            Rejection::NotSuspended => (StatusCode::CONFLICT, "tenant/not-suspended"),
            Rejection::VersionMismatch { .. } => (StatusCode::PRECONDITION_FAILED, "tenant/version-mismatch"),
            Rejection::UntilInThePast => (StatusCode::BAD_REQUEST, "tenant/until-in-the-past"),
            Rejection::LastOwner => (StatusCode::CONFLICT, "tenant/last-owner"),
            Rejection::TooManyOwners => (StatusCode::CONFLICT, "tenant/too-many-owners"),
            Rejection::BeyondReach => return Self::forbidden().detail(rejection),
        };
        Self::new(status, code, "The tenant says no").detail(rejection)
    }
}

impl From<membership::Rejection> for Problem {
    fn from(rejection: membership::Rejection) -> Self {
        use membership::Rejection;
        let (status, code) = match rejection {
            Rejection::Unknown => (StatusCode::NOT_FOUND, "member/unknown"),
            Rejection::Suspended { .. } => (StatusCode::CONFLICT, "member/suspended"),
            Rejection::NotSuspended => (StatusCode::CONFLICT, "member/not-suspended"),
            Rejection::Changing => (StatusCode::CONFLICT, "member/changing"),
            Rejection::UndefinedRole => (StatusCode::CONFLICT, "role/undefined"),
            Rejection::BeyondReach => return Self::forbidden().detail(rejection),
        };
        Self::new(status, code, "The membership says no").detail(rejection)
    }
}

impl From<membership::Refusal> for Problem {
    fn from(why: membership::Refusal) -> Self {
        match why {
            membership::Refusal::LastOwner => tenant::Rejection::LastOwner.into(),
            membership::Refusal::TooManyOwners => tenant::Rejection::TooManyOwners.into(),
        }
    }
}

impl From<found_tenant::Rejection> for Problem {
    fn from(found_tenant::Rejection::AnotherPlan: found_tenant::Rejection) -> Self {
        Self::key_reused()
    }
}

impl From<found_tenant::Failure> for Problem {
    fn from(failure: found_tenant::Failure) -> Self {
        match failure {
            found_tenant::Failure::SlugTaken => {
                Self::new(StatusCode::CONFLICT, "tenant/slug-taken", "Another tenant has this slug")
                    .at("slug", "taken: choose another")
            }
            found_tenant::Failure::TimedOut => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "tenant/founding-timed-out",
                "The founding took too long",
            ),
            found_tenant::Failure::TooMany => Self::new(
                StatusCode::CONFLICT,
                "tenant/too-many",
                "You own as many tenants as one person may found",
            ),
        }
    }
}

impl From<invitation::Rejection> for Problem {
    fn from(rejection: invitation::Rejection) -> Self {
        use invitation::Rejection;
        let (status, code) = match rejection {
            Rejection::Unknown => (StatusCode::NOT_FOUND, "invitation/unknown"),
            Rejection::AlreadyOpen { .. } => (StatusCode::CONFLICT, "invitation/open"),
            Rejection::Over { .. } => (StatusCode::CONFLICT, "invitation/over"),
            Rejection::OtherAddress => (StatusCode::FORBIDDEN, "invitation/other-address"),
        };
        let is_about_address = matches!(rejection, Rejection::AlreadyOpen { .. });
        let problem = Self::new(status, code, "The invitation says no").detail(&rejection);
        if is_about_address { problem.at("email", "invited already") } else { problem }
    }
}

impl Problem {
    /// The caller is a member that the tenant does not let in for now.
    pub(crate) fn member_suspended() -> Self {
        Self::new(StatusCode::FORBIDDEN, "member/suspended", "Your membership is suspended")
    }

    /// The caller was a member when the token was made.
    pub(crate) fn member_removed() -> Self {
        Self::new(StatusCode::FORBIDDEN, "member/removed", "You are no member any more")
    }

    /// As many invitations of the tenant wait for an answer as may.
    pub(crate) fn too_many_invitations(open_max: usize) -> Self {
        Self::new(StatusCode::CONFLICT, "invitation/too-many", "Too many invitations wait for an answer")
            .detail(format!("at most {open_max} at once"))
    }
}
