//! Shards that this process may append to: others say which, the writer looks where they end.

use tokio::sync::oneshot;

use super::{Held, Writer, alarmed, reach::in_time, rolled_back};
use crate::{
    Epoch, ShardId,
    journal::{AppendError, Claim},
};

/// Shards, and the epochs they are owned under.
pub(in super::super) type Owned = Vec<(ShardId, Epoch)>;
/// Who waits for a grant: the shards that are owned under those epochs indeed, and where they end.
pub(in super::super) type Reply = oneshot::Sender<Result<Vec<(ShardId, Claim)>, AppendError>>;

impl Writer {
    /// What was granted of a shard.
    pub(super) fn granted(&self, shard: ShardId) -> Result<Claim, AppendError> {
        let held = self.shards.get(&shard);
        if let Some(stopped) = held.and_then(|held| held.stopped.clone()) {
            return Err(stopped);
        }
        let current = held.map(|held| held.at.epoch).unwrap_or_default();
        let granted = held.filter(|held| held.is_granted).map(|held| held.at);
        granted.ok_or(AppendError::Fenced { shard, current, claimed: Epoch::default() })
    }

    /// Lets this process append to shards under these epochs; those that the store has under others are left out.
    pub(super) async fn grant(&mut self, shards: Owned) -> Result<Vec<(ShardId, Claim)>, AppendError> {
        let at = |(place, (shard, epoch)): (usize, &(ShardId, Epoch))| {
            (place, *shard, Claim { epoch: *epoch, ..Claim::default() })
        };
        let asked: Vec<_> = shards.iter().enumerate().map(at).collect();
        let Some(session) = &self.session else {
            return Err(AppendError::Unreachable { reason: "there is no connection".to_owned() });
        };
        let seen = match in_time(&self.shared, session.look(&asked, None)).await {
            Ok(seen) => seen,
            Err(error) => return Err(self.failed(&error)),
        };
        let mut granted = Vec::with_capacity(shards.len());
        for (place, (shard, epoch)) in shards.into_iter().enumerate() {
            if let Some(claim) = seen.claim(place).filter(|claim| claim.epoch == epoch)
                && self.take(shard, claim)
            {
                granted.push((shard, claim));
            }
        }
        Ok(granted)
    }

    /// Goes on with a shard where it is; not if that is behind where it was left.
    fn take(&mut self, shard: ShardId, claim: Claim) -> bool {
        let held = self.shards.get(&shard);
        let known = held.map(|held| held.at).unwrap_or_default();
        let stopped = held.and_then(|held| held.stopped.clone());
        let stopped = stopped.or_else(|| rolled_back(shard, known, Some(claim)).map(alarmed));
        let is_granted = stopped.is_none();
        // What the store has forgotten is still known when it is asked for the next time.
        let at = if is_granted { claim } else { known };
        self.shards.insert(shard, Held { at, is_granted, stopped });
        is_granted
    }

    /// Takes shards back: what comes for them is fenced.
    pub(super) fn revoke(&mut self, shards: &[ShardId]) {
        for shard in shards {
            if let Some(held) = self.shards.get_mut(shard) {
                held.is_granted = false;
            }
        }
    }
}
