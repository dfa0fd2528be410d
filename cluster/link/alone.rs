//! A node that takes no peers and looks for none.

use std::sync::Weak;

use bytes::Bytes;

use super::{FrameHandler, Link, LinkError, PeerView};
use crate::tables::{Incarnation, NodeId};

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Link for Alone {
    fn send(&self, _to: NodeId, _lane: u64, _frame: Bytes) -> Result<(), LinkError> {
        Err(LinkError::Down)
    }

    fn handle_by(&self, _handler: Weak<dyn FrameHandler>) {}

    fn became(&self, _me: Incarnation) {}

    fn meet(&self, _peers: Vec<(Incarnation, String)>) {}

    fn peers(&self) -> Vec<PeerView> {
        Vec::new()
    }
}
