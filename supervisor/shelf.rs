//! Shelves: the newest of things that are no events, such as mails that were caught, the same on every node.
//!
//! They lie in the tier, beside the rows of read models, though nothing makes them again: what must never be lost has
//! no place here. Numbers rise by one. The position of the rows is the number of the newest, so that whoever puts
//! something there moves it from where they saw it: of two nodes that do at once, one is refused and looks again. Where
//! nodes share nothing there is one process, whose turns are one after the other.
//!
//! ```text
//! key  'i'           number, mark and label of each, oldest first: the platform's
//!      'n' number    a thing, sealed with the key of the home it is about
//! ```

use std::{collections::VecDeque, sync::Arc, time::Duration};

use prognet_storage::{
    Home, HomeKind, Lsn, Name, ReadModel, codec,
    read_model::{Position, Row, RowChange},
    snapshots::TierError,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    sync::{Mutex, watch},
    time::{sleep, timeout},
};

use crate::{Node, Unavailable, readers::projections::is_of_another_shape};

/// How often something is tried to be put there: others were quicker, each time another one.
const TRIES_MAX: u32 = 16;
/// After the first try; twice that after each further one, at most so often.
const PAUSE: Duration = Duration::from_micros(500);
const DOUBLED_MAX: u32 = 7;
/// How often whoever waits looks for what other nodes put there.
const LOOKS_EVERY: Duration = Duration::from_millis(250);
const INDEX: &[u8] = b"i";
const THINGS: &[u8] = b"n";
/// Whose the index is: it says nothing about anybody.
const PLATFORM: Home = Home { kind: HomeKind::Platform, id: 0 };

/// See the module; clones are the same shelf, of one process.
#[derive(Debug, Clone)]
pub struct Shelf(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: Name,
    kept_max: usize,
    turn: Mutex<()>,
    /// Told when something was put there from here.
    added: watch::Sender<()>,
}

/// A thing to be put there.
#[derive(Debug)]
pub struct Thing<T> {
    /// Whose data it is.
    pub home: Home,
    /// What it is known by: of two with the same mark, the later is not kept.
    pub mark: u128,
    /// What it is looked for by: a keyed hash, since whoever it is about may be erased.
    pub label: u128,
    /// The thing.
    pub value: T,
}

/// A thing, as the index has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    number: u64,
    mark: u128,
    label: u128,
}

impl Shelf {
    /// The shelf of a name, which no projection has, for so many things; the oldest go first.
    #[must_use]
    pub fn new(name: &'static str, kept_max: usize) -> Self {
        let (turn, added) = (Mutex::default(), watch::Sender::default());
        Self(Arc::new(Inner { name: Name::new(name), kept_max, turn, added }))
    }

    /// Puts something there. A record that led to it must be durable: a tier whose positions are ahead of the journal
    /// is refused.
    ///
    /// # Errors
    /// When the tier did not say that it has it; it may have it all the same.
    pub async fn put<T: Serialize>(&self, node: &Node, thing: Thing<T>) -> Result<(), Unavailable> {
        let Thing { home, mark, label, value } = thing;
        let value = encoded(&value).map_err(|error| failed(&error))?;
        let model = &*node.runtime().read_model;
        let _turn = self.0.turn.lock().await;
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_put(model, Thing { home, mark, label, value: value.clone() }).await {
                Ok(()) => break,
                Err(error) if tries == TRIES_MAX => return Err(failed(&error)),
                // Whoever was quicker is let through.
                Err(_) => sleep(PAUSE * 2_u32.pow(tries.min(DOUBLED_MAX))).await,
            }
        }
        self.0.added.send_replace(());
        Ok(())
    }

    async fn try_put(&self, model: &dyn ReadModel, thing: Thing<Vec<u8>>) -> Result<(), TierError> {
        let Inner { name, kept_max, .. } = &*self.0;
        let Thing { home, mark, label, value } = thing;
        // In this order: an index that is newer than the position is of somebody who was quicker.
        let from = model.position(*name).await?.lsn;
        let mut index = self.index(model).await?;
        if index.iter().any(|entry| entry.mark == mark) {
            return Ok(());
        }
        let number = index.back().map_or(0, |newest| newest.number).max(from.0) + 1;
        index.push_back(Entry { number, mark, label });
        while index.len() > *kept_max {
            index.pop_front();
        }
        let mut changes = vec![
            RowChange::Put { key: INDEX.to_vec(), home: PLATFORM, value: encoded(&index)? },
            RowChange::Put { key: key(number), home, value },
        ];
        if let Some(oldest) = number.checked_sub(*kept_max as u64) {
            changes.push(RowChange::Delete { key: key(oldest) });
        }
        model.commit(*name, changes, from, Position { lsn: Lsn(number), ..Position::default() }).await?;
        // The process may end at once.
        model.flush().await
    }

    /// What is there after a number, oldest first, under one label if one is given.
    ///
    /// # Errors
    /// When the tier does not answer.
    pub async fn after<T: Serialize + DeserializeOwned>(
        &self,
        node: &Node,
        number: u64,
        label: Option<u128>,
    ) -> Result<Vec<(u64, T)>, Unavailable> {
        self.look(&*node.runtime().read_model, number, label).await.map_err(|error| failed(&error))
    }

    /// What has this number; none if it is there no longer, or whoever it was about was erased.
    ///
    /// # Errors
    /// When the tier does not answer.
    pub async fn one<T: Serialize + DeserializeOwned>(
        &self,
        node: &Node,
        number: u64,
    ) -> Result<Option<T>, Unavailable> {
        let row = self.row(&*node.runtime().read_model, &key(number)).await;
        row.map_err(|error| failed(&error))
    }

    /// The same as [`Shelf::after`], as soon as there is something, or nothing after `patience`.
    ///
    /// # Errors
    /// When the tier does not answer at first; later it is asked again.
    pub async fn wait<T: Serialize + DeserializeOwned>(
        &self,
        node: &Node,
        number: u64,
        label: Option<u128>,
        patience: Duration,
    ) -> Result<Vec<(u64, T)>, Unavailable> {
        let mut added = self.0.added.subscribe();
        let mut found = self.after(node, number, label).await?;
        let waiting = async {
            while found.is_empty() {
                // Other nodes tell nobody.
                drop(timeout(LOOKS_EVERY, added.changed()).await);
                found = self.look(&*node.runtime().read_model, number, label).await.unwrap_or_default();
            }
            found
        };
        Ok(timeout(patience, waiting).await.unwrap_or_default())
    }

    async fn look<T: Serialize + DeserializeOwned>(
        &self,
        model: &dyn ReadModel,
        number: u64,
        label: Option<u128>,
    ) -> Result<Vec<(u64, T)>, TierError> {
        let Inner { name, kept_max, .. } = &*self.0;
        let Some(label) = label else {
            let rows = model.scan(*name, THINGS.to_vec(), Some(key(number)), *kept_max).await;
            let thing = |row: &Row| Some((number_in(&row.key)?, decoded(row)?));
            return Ok(readable(rows)?.iter().filter_map(thing).collect());
        };
        let mut found = Vec::new();
        let index = self.index(model).await?.into_iter();
        for entry in index.filter(|entry| entry.number > number && entry.label == label) {
            let thing = self.row(model, &key(entry.number)).await?;
            found.extend(thing.map(|thing| (entry.number, thing)));
        }
        Ok(found)
    }

    async fn index(&self, model: &dyn ReadModel) -> Result<VecDeque<Entry>, TierError> {
        Ok(self.row(model, INDEX).await?.unwrap_or_default())
    }

    async fn row<T: Serialize + DeserializeOwned>(
        &self,
        model: &dyn ReadModel,
        key: &[u8],
    ) -> Result<Option<T>, TierError> {
        let row = readable(model.get(self.0.name, key.to_vec()).await)?;
        Ok(row.as_ref().and_then(decoded))
    }
}

fn key(number: u64) -> Vec<u8> {
    [THINGS, &number.to_be_bytes()[..]].concat()
}

fn number_in(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.strip_prefix(THINGS)?.try_into().ok()?))
}

/// What another build wrote is nothing here, and goes with time.
fn decoded<T: Serialize + DeserializeOwned>(row: &Row) -> Option<T> {
    codec::decode_compact(&row.value).ok()
}

/// The same for what is damaged.
fn readable<T: Default>(read: Result<T, TierError>) -> Result<T, TierError> {
    match read {
        Err(error) if is_of_another_shape(&error) => Ok(T::default()),
        read => read,
    }
}

fn encoded<T: Serialize>(value: &T) -> Result<Vec<u8>, TierError> {
    codec::encode_compact(value)
        .map_err(|source| TierError { operation: "encode a row", source: Box::new(source) })
}

fn failed(error: &TierError) -> Unavailable {
    tracing::error!(error = error as &dyn std::error::Error, "a shelf does not answer");
    Unavailable::NotWritten
}
