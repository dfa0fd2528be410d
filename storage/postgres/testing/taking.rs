//! A journal that takes shards over by itself, as tests of one engine want it: in the product a cluster does that.

use std::{ops::Deref, sync::Arc};

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::{
    EntityRef, Epoch, Home, Journal, Lsn, Name, Offset, ShardId,
    journal::{AppendError, Claim, Done, Group, Health, Limit, ReadError, Stored},
    postgres::{PostgresJournal, Store, StoreError, numbers::unsigned},
};

const RAISE: &str = "insert into shard (service, number, epoch, tail) values ($1, $2, 1, 0)
    on conflict (service, number) do update set epoch = shard.epoch + 1
    returning epoch";

/// See the module.
pub(crate) struct Taking {
    journal: PostgresJournal,
    store: Store,
}

type Page = Result<Vec<Arc<Stored>>, ReadError>;

impl Taking {
    pub(crate) async fn open(store: Store) -> Self {
        Self { journal: PostgresJournal::open(&store).await.unwrap(), store }
    }

    async fn raise(&self, shard: ShardId) -> Result<Epoch, StoreError> {
        let client = self.store.client().await?;
        let row = client.query_one(RAISE, &[&shard.service.as_str(), &i32::from(shard.number)]).await?;
        Ok(Epoch(unsigned(row.try_get(0)?)))
    }
}

impl Deref for Taking {
    type Target = PostgresJournal;

    fn deref(&self) -> &PostgresJournal {
        &self.journal
    }
}

impl Journal for Taking {
    fn claim(&self, shard: ShardId) -> BoxFuture<'_, Result<Claim, AppendError>> {
        Box::pin(async move {
            if let Err(error @ AppendError::RolledBack { .. }) = self.journal.claim(shard).await {
                return Err(error);
            }
            let raised = self.raise(shard).await;
            let epoch = raised.map_err(|error| AppendError::Unreachable { reason: error.to_string() })?;
            let granted = self.journal.grant(vec![(shard, epoch)]).await?;
            let (_, claim) = granted.first().ok_or(AppendError::Closed)?;
            Ok(*claim)
        })
    }

    fn append(&self, group: Group, done: Done) {
        self.journal.append(group, done);
    }

    fn read(&self, shard: ShardId, after: Offset, limit: Limit) -> BoxFuture<'_, Page> {
        self.journal.read(shard, after, limit)
    }

    fn read_home(&self, service: Name, home: Home, after: Offset, limit: Limit) -> BoxFuture<'_, Page> {
        self.journal.read_home(service, home, after, limit)
    }

    fn read_entity(
        &self,
        service: Name,
        entity: EntityRef,
        after: Offset,
        limit: Limit,
    ) -> BoxFuture<'_, Page> {
        self.journal.read_entity(service, entity, after, limit)
    }

    fn walk(&self, after: Lsn, limit: Limit) -> BoxFuture<'_, Page> {
        self.journal.walk(after, limit)
    }

    fn durable(&self) -> watch::Receiver<Lsn> {
        self.journal.durable()
    }

    fn health(&self) -> Health {
        self.journal.health()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.journal.close()
    }
}
