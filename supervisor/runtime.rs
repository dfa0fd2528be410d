//! What every actor of a node is handed: storage, clock, limits, and the place to start tasks.

use std::{fmt, sync::Arc};

use prognet_storage::{Journal, ReadModel, Snapshots, journal::Limit, keyring::Keyring};

use crate::{
    Parts, clock::Clock, limits::Limits, placement::Placement, poison::Poison, residency::Residency,
};

/// See the module.
pub(crate) struct Runtime {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) snapshots: Arc<dyn Snapshots>,
    pub(crate) read_model: Arc<dyn ReadModel>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) clock: Clock,
    /// None on a node that owns everything.
    pub(crate) placement: Option<Arc<dyn Placement>>,
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

impl Runtime {
    /// Of a node that starts on the runtime the caller is on.
    pub(crate) fn of(parts: Parts) -> Self {
        Self {
            journal: parts.journal,
            snapshots: parts.snapshots,
            read_model: parts.read_model,
            keyring: parts.keyring,
            clock: parts.clock,
            placement: parts.placement,
            limits: parts.limits,
            poison: Poison::default(),
            residency: Residency::default(),
            page: Limit::default(),
            tasks: Tasks::here(),
        }
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
