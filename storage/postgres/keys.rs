//! Wrapped keys in the store, where every node of a cluster with the same master key finds them.
//!
//! Two processes may make a key of one subject at once: the row that was there first stands, and whoever comes
//! later takes it over. A row is never deleted: erasing empties it, under a number that rises in the order in
//! which erasures are committed, so that other processes find what they have not seen.

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::atomic::{AtomicI64, Ordering},
};

use deadpool_postgres::GenericClient;
use futures_util::TryStreamExt;
use tokio_postgres::Row;
use uuid::Uuid;

use super::Store;
use crate::{
    Home, HomeKind,
    keyring::{
        Error,
        record::{Kept, Subject},
    },
};

/// In the order of subjects, so that two processes with the same ones wait for each other in one direction only.
const ADD: &str = "
    insert into key (subject, wrapped)
    select subject, wrapped from unnest($1::text[], $2::bytea[]) as made (subject, wrapped) order by subject
    on conflict (subject) do nothing
    returning subject";
const FIND: &str = "select subject, wrapped, erased from key where subject = any($1::text[])";
const ALL: &str = "select subject, wrapped, erased from key";
/// The counter's row is locked until the end of the transaction, so that numbers are committed in their order; a
/// sequence would not do that.
const ERASE: &str = "
    with counted as (update keyring set erasures = erasures + 1 returning erasures)
    insert into key (subject, wrapped, erased)
    select gone.subject, null::bytea, counted.erasures from counted, unnest($1::text[]) as gone (subject)
    order by gone.subject
    on conflict (subject) do update set wrapped = null, erased = excluded.erased";
const NEWLY_ERASED: &str = "select subject, erased from key where erased > $1";

/// See the module.
pub(crate) struct KeyTable {
    store: Store,
    /// The highest number of an erasure that this process has learned of.
    seen: AtomicI64,
}

impl KeyTable {
    /// The table, and all that is in it.
    pub(crate) async fn open(store: Store) -> Result<(Self, HashMap<Subject, Kept>), Error> {
        let (kept, seen) = read(&store).await?;
        Ok((Self { store, seen: AtomicI64::new(seen) }, kept))
    }

    /// Adds keys that were made here; answers with what stands of those that were there already.
    pub(crate) async fn add(&self, made: &[(Subject, Vec<u8>)]) -> Result<Vec<(Subject, Kept)>, Error> {
        add(&self.store.client().await?, made).await
    }

    /// Those of the subjects that are there.
    pub(crate) async fn find(
        &self,
        subjects: impl IntoIterator<Item = Subject>,
    ) -> Result<Vec<(Subject, Kept)>, Error> {
        let subjects = subjects.into_iter().map(|subject| text_of(&subject)).collect();
        find(&self.store.client().await?, subjects).await
    }

    /// Destroys a key, in one statement.
    pub(crate) async fn erase(&self, subject: &Subject) -> Result<(), Error> {
        erase(&self.store.client().await?, vec![text_of(subject)]).await
    }

    /// What was erased since this was last asked, by whomever.
    pub(crate) async fn newly_erased(&self) -> Result<Vec<Subject>, Error> {
        let client = self.store.client().await?;
        let statement = client.prepare_cached(NEWLY_ERASED).await?;
        let rows = client.query(&statement, &[&self.seen.load(Ordering::Relaxed)]).await?;
        let mut erased = Vec::with_capacity(rows.len());
        let mut seen = 0;
        for row in rows {
            erased.push(subject_of(row.try_get(0)?)?);
            seen = row.try_get::<_, i64>(1)?.max(seen);
        }
        self.seen.fetch_max(seen, Ordering::Relaxed);
        Ok(erased)
    }
}

/// All keys of a store, and the highest number of an erasure among them.
pub(crate) async fn read(store: &Store) -> Result<(HashMap<Subject, Kept>, i64), Error> {
    let client = store.client().await?;
    // There is one for each home: they are taken in as they come.
    let rows = client.query_raw(ALL, std::iter::empty::<i64>()).await?;
    futures_util::pin_mut!(rows);
    let (mut kept, mut seen) = (HashMap::new(), 0);
    while let Some(row) = rows.try_next().await? {
        let (subject, value) = parsed(&row)?;
        seen = row.try_get::<_, Option<i64>>(2)?.unwrap_or_default().max(seen);
        kept.insert(subject, value);
    }
    Ok((kept, seen))
}

/// Adds what is missing and erases what is erased there, all or nothing.
pub(crate) async fn restore(store: &Store, kept: &HashMap<Subject, Kept>) -> Result<(), Error> {
    let (mut made, mut erased) = (Vec::new(), Vec::new());
    for (subject, value) in kept {
        match value {
            Kept::Wrapped(wrapped) => made.push((subject.clone(), wrapped.clone())),
            Kept::Erased => erased.push(text_of(subject)),
        }
    }
    let mut client = store.client().await?;
    let transaction = client.transaction().await?;
    for made in made.chunks(RESTORED_AT_ONCE) {
        let standing = add(&transaction, made).await?;
        if standing.iter().any(|(_, kept)| matches!(kept, Kept::Wrapped(_))) {
            return Err(Error::OtherKeys);
        }
    }
    if !erased.is_empty() {
        erase(&transaction, erased).await?;
    }
    Ok(transaction.commit().await?)
}

/// A statement of about a megabyte.
const RESTORED_AT_ONCE: usize = 8_192;

async fn add(
    client: &impl GenericClient,
    made: &[(Subject, Vec<u8>)],
) -> Result<Vec<(Subject, Kept)>, Error> {
    let wrapped: HashMap<_, _> =
        made.iter().map(|(subject, wrapped)| (text_of(subject), wrapped.as_slice())).collect();
    let (subjects, values): (Vec<&String>, Vec<&[u8]>) =
        wrapped.iter().map(|(subject, value)| (subject, *value)).unzip();
    let statement = client.prepare_cached(ADD).await?;
    let added = client.query(&statement, &[&subjects, &values]).await?;
    if added.len() == made.len() {
        return Ok(Vec::new());
    }
    let mut others = wrapped.clone();
    for row in added {
        others.remove(row.try_get::<_, &str>(0)?);
    }
    // A second statement: the first does not see what was committed after it began.
    let mut standing = find(client, others.keys().cloned().collect()).await?;
    if standing.len() != others.len() {
        return Err(Error::Damaged("a key of the store has come and gone"));
    }
    // The answer to an earlier try may have been lost: then it is ours that stands.
    standing.retain(|(subject, kept)| {
        !matches!(kept, Kept::Wrapped(bytes) if others.get(&text_of(subject)) == Some(&bytes.as_slice()))
    });
    Ok(standing)
}

async fn find(client: &impl GenericClient, subjects: Vec<String>) -> Result<Vec<(Subject, Kept)>, Error> {
    let statement = client.prepare_cached(FIND).await?;
    client.query(&statement, &[&subjects]).await?.iter().map(parsed).collect()
}

async fn erase(client: &impl GenericClient, subjects: Vec<String>) -> Result<(), Error> {
    let statement = client.prepare_cached(ERASE).await?;
    client.execute(&statement, &[&subjects]).await?;
    Ok(())
}

fn parsed(row: &Row) -> Result<(Subject, Kept), Error> {
    let wrapped: Option<Vec<u8>> = row.try_get(1)?;
    Ok((subject_of(row.try_get(0)?)?, wrapped.map_or(Kept::Erased, Kept::Wrapped)))
}

/// A subject as an operator reads it: `tenant/`, `account/` or `platform/` and the home's id as a UUID, or
/// `secret/` and a name.
pub(crate) fn text_of(subject: &Subject) -> String {
    match subject {
        Subject::Home(home) => format!("{}/{}", word_of(home.kind), Uuid::from_u128(home.id)),
        Subject::Secret(name) => format!("secret/{name}"),
    }
}

fn subject_of(text: &str) -> Result<Subject, Error> {
    let (word, rest) = text.split_once('/').unwrap_or((text, ""));
    if word == "secret" {
        return Ok(Subject::Secret(rest.to_owned()));
    }
    let kinds = [HomeKind::Tenant, HomeKind::Account, HomeKind::Platform];
    let kind = kinds.into_iter().find(|kind| word_of(*kind) == word);
    let id = Uuid::parse_str(rest).ok().map(|id| id.as_u128());
    let home = kind.zip(id).map(|(kind, id)| Subject::Home(Home { kind, id }));
    home.ok_or(Error::Damaged("a key of the store is nobody's"))
}

const fn word_of(kind: HomeKind) -> &'static str {
    match kind {
        HomeKind::Tenant => "tenant",
        HomeKind::Account => "account",
        HomeKind::Platform => "platform",
    }
}
