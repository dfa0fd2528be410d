//! The contract of readers with effects outside (mail, webhooks): every event at least once, in order per shard.

use prognet_storage::Name;

use crate::{Node, Recorded};

/// Why a reader did not take an event; it is given again after a pause, and nothing after it meanwhile.
pub type ReaderError = Box<dyn std::error::Error + Send + Sync>;

/// A reader of all shards whose place in each is a journal record, so that it outlives everything rebuildable.
///
/// After a crash it gets again what it took in the last tenth of a second: its effects carry
/// [`Recorded::event_id`], for whoever receives them to deduplicate by.
pub trait Reader: Send + Sync + 'static {
    /// Its name; another name begins at the first event.
    const NAME: &'static str;

    /// Whether events of a kind of entity concern it; others are passed over unopened.
    fn concerns(&self, kind: Name) -> bool {
        let _ = kind;
        true
    }

    /// Takes one event; what it learns comes back as a command to the node.
    fn take(&self, event: &Recorded, node: &Node) -> impl Future<Output = Result<(), ReaderError>> + Send;
}
