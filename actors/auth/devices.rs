//! Devices: the sessions of each person, with what they were opened on and when they were last used.
//!
//! Whether a session still goes on is its credential's epoch to say; the list leaves that to whoever reads it.

use prognet_supervisor::{Projection, Recorded, Rows, TierError, Timestamp};
use serde::{Deserialize, Serialize};

use super::session::{self, Session, Terms};
use crate::ids::{AccountId, SessionId};

/// See the module.
#[derive(Debug)]
pub struct Devices;

/// A session in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its id.
    pub id: SessionId,
    /// What it was opened on, if that was said.
    pub device: Option<String>,
    /// The epoch it was opened under.
    pub epoch: u64,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was last gone on with.
    pub used_at: Timestamp,
    /// How long it lasts.
    terms: Terms,
}

impl Row {
    /// When it ends, if nobody goes on with it.
    #[must_use]
    pub fn until(&self) -> Timestamp {
        self.opened_at.after(self.terms.lasts).min(self.used_at.after(self.terms.idle))
    }
}

impl Devices {
    /// What the keys of an account's rows begin with.
    #[must_use]
    pub fn prefix(account: AccountId) -> Vec<u8> {
        account.home().canonical().to_vec()
    }
}

impl Projection for Devices {
    const NAME: &'static str = "devices";

    async fn project(recorded: &Recorded, rows: &mut Rows<'_>) -> Result<(), TierError> {
        let Some(event) = recorded.of::<Session>()? else {
            return Ok(());
        };
        // Sessions are sorted by age as their ids are.
        let key = [&recorded.home.canonical()[..], &recorded.id.to_be_bytes()].concat();
        match event {
            session::Event::Opened { terms, at, epoch, device } => {
                let id = SessionId::new(recorded.id);
                let row = Row { id, device, epoch, opened_at: at, used_at: at, terms };
                rows.put(&key, recorded.home, &row)
            }
            session::Event::Refreshed { at, .. } => {
                let Some(row) = rows.get::<Row>(&key).await? else {
                    return Ok(());
                };
                rows.put(&key, recorded.home, &Row { used_at: at, ..row })
            }
            session::Event::Ended { .. } => {
                rows.delete(&key);
                Ok(())
            }
        }
    }
}
