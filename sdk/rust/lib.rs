//! Wire types of the API: what crosses the door, promised to strangers. Times are RFC 3339 in UTC.
//!
//! With the feature `client` there is a client that speaks them.

mod accounts;
mod audit;
#[cfg(feature = "client")]
pub mod client;
mod cluster;
mod dev;
mod events;
mod invitations;
mod live;
mod members;
mod problem;
mod roles;
mod sessions;
mod setup;
mod system;
mod tenants;

pub use accounts::{
    Accepted, AccountExport, AccountLeaving, AccountList, AccountView, ChangeEmail, ChangeProfile,
    DeleteAccount, ForgotPassword, KeepAccount, OpenAccount, ResetPassword, SignUp, VerifyAddress,
};
pub use audit::{AuditEntry, AuditHead, AuditPage};
pub use cluster::{NodeList, NodeView, ShardList, ShardView};
pub use dev::{DevHeader, DevMessage, DevMessages};
pub use events::{EventPage, EventView};
pub use invitations::{AnswerInvitation, InvitationLook, InvitationPage, InvitationView, InvitePerson};
pub use live::{LiveFrame, LiveRequest};
pub use members::{ChangeMember, MemberPage, MemberStatus, MemberView, OwnTenant, OwnTenantPage};
pub use problem::{FieldError, Problem};
pub use roles::{DefineRole, RoleList, RoleView};
pub use sessions::{ChangePassword, Me, Refresh, SessionPage, SessionView, SignIn, Tokens};
pub use setup::{SetUp, SetUpDone};
pub use system::{ActorCount, ActorCounts, ActorView};
pub use tenants::{
    ChangeTenant, CreateTenant, SessionLimits, SuspendTenant, Suspension, TenantPage, TenantStatus,
    TenantView,
};
