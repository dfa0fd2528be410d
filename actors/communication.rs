//! Communication: what people are told by mail, and what became of it.

pub mod mail;
pub mod message;

pub use mail::{Language, Mail};
pub use message::Message;

use prognet_supervisor::Service;

/// What a node with the role `communication` hosts.
#[must_use]
pub fn service() -> Service {
    Service::new("communication").aggregate::<Message>()
}
