//! Topics read back from the journal.

use std::{collections::VecDeque, sync::Arc};

use futures_util::future::try_join_all;
use prognet_storage::{
    Home, Lsn, Name, Offset,
    journal::{Limit, ReadError, Stored},
};

use super::{Position, Published, Topic, published};
use crate::{Unavailable, router::Doors};

/// Public events of a topic after a position, and where to read on.
pub(crate) struct History {
    pub(crate) events: Vec<Published>,
    pub(crate) read_to: Position,
    pub(crate) is_at_end: bool,
}

/// Reads one page of the journal.
pub(crate) async fn history(doors: &Doors, topic: Topic, after: &Position) -> Result<History, Unavailable> {
    let runtime = doors.runtime();
    let page = match topic {
        Topic::System => runtime.journal.walk(Lsn(after.of(Name::default())), runtime.page).await,
        Topic::Home(home) => merged(doors, home, after).await,
    };
    let page = page.map_err(unreadable)?;
    let mut read_to = after.clone();
    let mut events = Vec::new();
    for stored in &page {
        match published(stored, doors) {
            Ok(event) => {
                read_to.advance(topic, stored);
                events.extend(event.map(|event| Published { position: read_to.clone(), ..event }));
            }
            Err(error) if read_to == *after => return Err(unreadable(error)),
            // What lies before it is told; nobody is led past it.
            Err(_) => break,
        }
    }
    Ok(History { events, read_to, is_at_end: page.is_empty() })
}

/// The last public events of a topic, oldest first, at most `limit`.
///
/// The journal tells only what comes after an offset: it is read from further and further back until that is enough.
pub(crate) async fn latest(doors: &Doors, topic: Topic, limit: usize) -> Result<Vec<Published>, Unavailable> {
    let end = position_at(doors, topic, Lsn(u64::MAX)).await?;
    let mut stride = limit as u64;
    loop {
        let from = end.back(stride);
        let (mut last, mut position) = (VecDeque::new(), from.clone());
        loop {
            let page = history(doors, topic, &position).await?;
            if page.is_at_end {
                break;
            }
            position = page.read_to;
            last.extend(page.events);
            last.drain(..last.len().saturating_sub(limit));
        }
        if last.len() == limit || from == Position::default() {
            return Ok(last.into());
        }
        stride = stride.saturating_mul(8);
    }
}

/// The next records of a home, over all services, as far as the order among them is known.
async fn merged(doors: &Doors, home: Home, after: &Position) -> Result<Vec<Arc<Stored>>, ReadError> {
    let runtime = doors.runtime();
    // What becomes durable while the logs are read, one after the other, might miss its cause.
    let durable = *runtime.journal.durable().borrow();
    let logs = doors
        .services
        .keys()
        .map(|service| runtime.journal.read_home(*service, home, Offset(after.of(*service)), runtime.page));
    let logs = try_join_all(logs).await?;
    // Behind the end of a page there may be more of that log.
    let ends = logs.iter().filter_map(|log| log.last()).map(|stored| stored.lsn);
    let known = ends.fold(durable, Lsn::min);
    let mut page: Vec<_> = logs.into_iter().flatten().filter(|stored| stored.lsn <= known).collect();
    page.sort_by_key(|stored| stored.lsn);
    Ok(page)
}

/// The position behind all of a topic's records up to one of the node's.
pub(crate) async fn position_at(doors: &Doors, topic: Topic, lsn: Lsn) -> Result<Position, Unavailable> {
    let mut position = Position::default();
    match topic {
        Topic::System => {
            let durable = *doors.runtime().journal.durable().borrow();
            position.set(Name::default(), lsn.min(durable).0);
        }
        Topic::Home(home) => {
            for service in doors.services.keys() {
                let last = last_of(doors, *service, home, lsn).await.map_err(unreadable)?;
                position.set(*service, last.0);
            }
        }
    }
    Ok(position)
}

/// The last record of a home up to one of the node's, found in a logarithm of steps: the journal tells only what
/// comes after an offset.
async fn last_of(doors: &Doors, service: Name, home: Home, up_to: Lsn) -> Result<Offset, ReadError> {
    let one = Limit { records: 1, bytes: 1 };
    let (mut last, mut stride, mut is_growing) = (Offset(0), 0_u64, true);
    loop {
        let after = Offset(last.0.saturating_add(stride));
        let page = doors.runtime().journal.read_home(service, home, after, one).await?;
        match page.first().filter(|stored| stored.lsn <= up_to) {
            Some(stored) => {
                last = stored.offset;
                stride = if is_growing { stride * 2 + 1 } else { stride / 2 };
            }
            None if stride == 0 => return Ok(last),
            None => (stride, is_growing) = (stride / 2, false),
        }
    }
}

fn unreadable<E: std::error::Error + 'static>(error: E) -> Unavailable {
    tracing::error!(error = &error as &dyn std::error::Error, "failed to read a topic's history");
    Unavailable::NotWritten
}
