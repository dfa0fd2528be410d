//! Communication: what people are told by mail, and what became of it.

pub mod channel;
pub mod delivery;
pub mod mail;
pub mod message;
pub mod render;

pub use channel::DevInbox;
pub use delivery::Delivery;
pub use mail::{Language, Mail};
pub use message::Message;

use prognet_supervisor::Service;

/// What a node with the role `communication` hosts, beside its door out.
#[must_use]
pub fn service() -> Service {
    Service::new("communication").aggregate::<Message>()
}
