//! A service's table of contents: what a node with its role hosts.

use std::sync::Arc;

use prognet_storage::Name;

use crate::{
    Aggregate, Projection, Reader,
    entity::{EntityHost, Host},
    readers::{
        outward::{Outward, ReaderHost},
        projections::{ProjectionHost, Projector},
    },
};

/// What a domain folder returns.
#[derive(Debug)]
pub struct Service {
    pub(crate) name: Name,
    pub(crate) kinds: Vec<Arc<dyn EntityHost>>,
    pub(crate) projections: Vec<Arc<dyn ProjectionHost>>,
    pub(crate) readers: Vec<Arc<dyn ReaderHost>>,
}

impl Service {
    /// A service without contents.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name: Name::new(name), kinds: Vec::new(), projections: Vec::new(), readers: Vec::new() }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> Name {
        self.name
    }

    /// Hosts an aggregate.
    #[must_use]
    pub fn aggregate<A: Aggregate>(mut self) -> Self {
        self.kinds.push(Arc::new(Host::<A>::default()));
        self
    }

    /// Hosts a saga: an aggregate that drives others and ends.
    #[must_use]
    pub fn saga<A: Aggregate>(self) -> Self {
        self.aggregate::<A>()
    }

    /// Keeps a projection.
    #[must_use]
    pub fn projection<P: Projection>(mut self) -> Self {
        self.projections.push(Arc::new(Projector::<P>::default()));
        self
    }

    /// Runs a reader with effects outside.
    #[must_use]
    pub fn reader<R: Reader>(mut self, reader: R) -> Self {
        self.readers.push(Arc::new(Outward(reader)));
        self
    }
}
