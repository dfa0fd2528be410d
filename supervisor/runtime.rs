//! What every actor of a node is handed: storage, clock, limits, and the place to start tasks.

use std::{fmt, sync::Arc};

use prognet_storage::{Journal, ReadModel, Snapshots, journal::Limit, keyring::Keyring};

use crate::{clock::Clock, limits::Limits, poison::Poison, residency::Residency};

/// See the module.
pub(crate) struct Runtime {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) snapshots: Arc<dyn Snapshots>,
    pub(crate) read_model: Arc<dyn ReadModel>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) clock: Clock,
    pub(crate) limits: Limits,
    pub(crate) poison: Poison,
    pub(crate) residency: Residency,
    /// How much of the journal is read at once.
    pub(crate) page: Limit,
    pub(crate) tasks: Tasks,
}

impl fmt::Debug for Runtime {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Runtime").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Starts tasks on the node's runtime; they end with it.
#[derive(Debug, Clone)]
pub(crate) struct Tasks(tokio::runtime::Handle);

impl Tasks {
    /// Tasks of the runtime the caller is on.
    pub(crate) fn here() -> Self {
        Self(tokio::runtime::Handle::current())
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.0.spawn(task));
    }
}
