//! Taking shards over.

use tokio::sync::oneshot;
use uuid::Uuid;

use super::{BATCH_GROUPS, Held, Job, Writer, alarmed, rolled_back};
use crate::{
    AddressMap, ShardId,
    journal::{AppendError, Claim},
};

/// Who asked for a shard.
pub(super) type Reply = oneshot::Sender<Result<Claim, AppendError>>;

impl Writer {
    /// The claim and those behind it, of different shards.
    pub(super) fn gather_claims(&mut self, shard: ShardId, reply: Reply) -> Vec<(ShardId, Reply)> {
        let mut claims = vec![(shard, reply)];
        while claims.len() < BATCH_GROUPS {
            match self.jobs.try_recv() {
                Ok(Job::Claim(shard, reply)) if claims.iter().all(|(other, _)| *other != shard) => {
                    claims.push((shard, reply));
                }
                other => {
                    self.put_back = other.ok();
                    break;
                }
            }
        }
        claims
    }

    /// Raises the epochs of shards, each only from what it was just seen at.
    pub(super) async fn claim(&mut self, claims: Vec<(ShardId, Reply)>) {
        let shards: Vec<_> = claims.iter().map(|(shard, _)| *shard).collect();
        match self.raise(&shards).await {
            Ok(mut fates) => {
                for (shard, reply) in claims {
                    drop(reply.send(fates.remove(&shard).unwrap_or(Err(AppendError::Closed))));
                }
            }
            // An epoch that was raised for nobody harms nobody.
            Err(error) => {
                let refusal = self.failed(&error);
                for (_, reply) in claims {
                    drop(reply.send(Err(refusal.clone())));
                }
            }
        }
    }

    async fn raise(
        &mut self,
        shards: &[ShardId],
    ) -> Result<AddressMap<ShardId, Result<Claim, AppendError>>, tokio_postgres::Error> {
        let mut fates = AddressMap::default();
        let Some(session) = &self.session else {
            return Ok(fates);
        };
        if let Some(reason) = &self.ended {
            let refused = || Err(AppendError::Unreachable { reason: reason.clone() });
            return Ok(shards.iter().map(|shard| (*shard, refused())).collect());
        }
        let known = |shard| self.shards.get(shard).map(|held| held.at).unwrap_or_default();
        let asked: Vec<_> = shards.iter().enumerate().map(|(at, shard)| (at, *shard, known(shard))).collect();
        let seen = session.look(&asked, Uuid::nil()).await?;
        let mut may_be_raised = Vec::with_capacity(shards.len());
        for (at, shard, known) in asked {
            let found = seen.claim(at);
            let held = self.shards.get_mut(&shard);
            // A shard that was never claimed may not be there.
            let rolled_back = held.is_some().then(|| rolled_back(shard, known, found)).flatten();
            let stopped = held.as_ref().and_then(|held| held.stopped.clone());
            match (stopped, rolled_back, held) {
                (Some(stopped), ..) => drop(fates.insert(shard, Err(stopped))),
                (None, Some(error), Some(held)) => {
                    held.stopped = Some(alarmed(error.clone()));
                    fates.insert(shard, Err(error));
                }
                _ => may_be_raised.push((shard, found.unwrap_or_default().epoch)),
            }
        }
        let raised = session.raise(&may_be_raised).await?;
        for (shard, seen) in may_be_raised {
            let Some(claim) = raised.get(&shard).copied() else {
                let fenced = AppendError::Fenced { shard, current: seen.next(), claimed: seen };
                fates.insert(shard, Err(fenced));
                continue;
            };
            let before = self.shards.insert(shard, Held { at: claim, stopped: None });
            if before.is_some_and(|before| before.at.tail != claim.tail) {
                // Somebody else has written to its entities.
                self.seqs.clear();
            }
            fates.insert(shard, Ok(claim));
        }
        Ok(fates)
    }
}
