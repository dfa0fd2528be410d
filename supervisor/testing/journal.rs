//! The journal's contract over [`Memory`].

use std::sync::Arc;

use futures_util::future::{BoxFuture, ready};
use prognet_storage::{
    EntityRef, Home, Journal, Lsn, Name, Offset, ShardId,
    journal::{AppendError, Claim, Done, Group, Health, Limit, ReadError, Stored},
};
use tokio::sync::watch;

use super::memory::Memory;

/// One start's hold on the journal.
pub(crate) struct MemoryJournal {
    pub(super) memory: Memory,
    pub(super) start: u64,
}

type Page = Result<Vec<Arc<Stored>>, ReadError>;

impl MemoryJournal {
    /// The first records that are meant; a node that lost the disk finds none.
    fn page(&self, limit: Limit, is_meant: impl Fn(&Stored) -> bool) -> BoxFuture<'static, Page> {
        let kept = self.memory.lock();
        let all: &[_] = if kept.start == self.start { &kept.log } else { &[] };
        let meant = all.iter().filter(|stored| is_meant(stored));
        Box::pin(ready(Ok(meant.take(limit.records).cloned().collect())))
    }
}

impl Journal for MemoryJournal {
    fn claim(&self, shard: ShardId) -> BoxFuture<'_, Result<Claim, AppendError>> {
        let mut kept = self.memory.lock();
        if kept.start != self.start {
            return Box::pin(ready(Err(AppendError::Closed)));
        }
        let epoch = kept.epochs.get(&shard).map_or(kept.epoch, |held| held.next());
        kept.epochs.insert(shard, epoch);
        Box::pin(ready(Ok(Claim { epoch, tail: kept.tail(shard) })))
    }

    fn append(&self, group: Group, done: Done) {
        let is_mine = self.memory.lock().start == self.start;
        if is_mine {
            self.memory.append(group, done);
        }
    }

    fn read(&self, shard: ShardId, after: Offset, limit: Limit) -> BoxFuture<'_, Page> {
        self.page(limit, |stored| stored.shard == shard && stored.offset > after)
    }

    fn read_home(&self, service: Name, home: Home, after: Offset, limit: Limit) -> BoxFuture<'_, Page> {
        self.page(limit, |stored| {
            stored.shard.service == service && stored.record.entity.home == home && stored.offset > after
        })
    }

    fn read_entity(
        &self,
        service: Name,
        entity: EntityRef,
        after: Offset,
        limit: Limit,
    ) -> BoxFuture<'_, Page> {
        let page = self.page(limit, |stored| {
            stored.shard.service == service && stored.record.entity == entity && stored.offset > after
        });
        Box::pin(async move {
            if self.memory.fails_to_read() {
                let source = std::io::Error::other("told to");
                return Err(ReadError::Engine { position: entity.to_string(), source });
            }
            let page = page.await;
            self.memory.was_read(&entity.home).await;
            page
        })
    }

    fn walk(&self, after: Lsn, limit: Limit) -> BoxFuture<'_, Page> {
        self.page(limit, |stored| stored.lsn > after)
    }

    fn durable(&self) -> watch::Receiver<Lsn> {
        self.memory.lock().durable.subscribe()
    }

    fn health(&self) -> Health {
        if self.memory.lock().is_poisoned { Health::Poisoned("told to".to_owned()) } else { Health::Writable }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.memory.cut_off();
        Box::pin(ready(()))
    }
}
