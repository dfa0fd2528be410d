//! Invitations: whom a tenant has asked and who has not answered yet, for its list.

use prognet_supervisor::{Projection, Recorded, Rows, TierError, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    invitation::{self, Invitation},
    role::Role,
};
use crate::{
    ids::{AccountId, InvitationId, TenantId},
    values::Email,
};

/// See the module.
#[derive(Debug)]
pub struct Invitations;

/// An invitation in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its id.
    pub id: InvitationId,
    /// Who is asked.
    pub email: Email,
    /// What the person is to be.
    pub role: Role,
    /// Who asks.
    pub by: AccountId,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it is over.
    pub until: Timestamp,
}

impl Invitations {
    /// What the keys of a tenant's invitations begin with.
    #[must_use]
    pub const fn of_tenant(tenant: TenantId) -> [u8; 16] {
        tenant.number().to_be_bytes()
    }
}

impl Projection for Invitations {
    const NAME: &'static str = "invitations";

    async fn project(recorded: &Recorded, rows: &mut Rows<'_>) -> Result<(), TierError> {
        let Some(event) = recorded.of::<Invitation>()? else {
            return Ok(());
        };
        let tenant = Invitations::of_tenant(TenantId::new(recorded.home.id));
        let key = [tenant, recorded.id.to_be_bytes()].concat();
        match event {
            invitation::Event::Invited { email, role, by, until, at } => {
                let id = InvitationId::new(recorded.id);
                rows.put(&key, recorded.home, &Row { id, email, role, by, created_at: at, until })?;
            }
            invitation::Event::Accepted { .. }
            | invitation::Event::Declined { .. }
            | invitation::Event::Revoked { .. }
            | invitation::Event::Expired { .. } => rows.delete(&key),
            invitation::Event::Taken { .. } | invitation::Event::NotAdmitted { .. } => {}
        }
        std::future::ready(Ok(())).await
    }
}
