//! Channels: the ways a mail can leave. They know bytes and addresses, and nothing of what a mail is about.

pub mod dev_inbox;
pub mod dkim;
pub mod smtp;
pub(crate) mod wire;

pub use dev_inbox::DevInbox;
pub use smtp::Smtp;

use prognet_supervisor::{Home, Node};

use super::{message::Outcome, render::Rendered};
use crate::values::Email;

/// Where mails go.
#[derive(Debug)]
pub enum Channel {
    /// To a server, which passes them on.
    Smtp(Box<Smtp>),
    /// Nowhere: they are kept for whoever sits at a node.
    DevInbox(DevInbox),
    /// To a test, which outlives the nodes that send, and those who are erased.
    #[cfg(test)]
    Told(Told),
}

/// What mails are made of, and to whom they went.
#[cfg(test)]
pub(crate) type Told = std::sync::Arc<std::sync::Mutex<Vec<(u128, String)>>>;

/// A mail ready to leave.
#[derive(Debug)]
pub(super) struct Parcel {
    /// Where its message is.
    pub(super) home: Home,
    /// The same for each attempt: what its Message-ID is made of.
    pub(super) id: u128,
    pub(super) from: Email,
    pub(super) to: Email,
    pub(super) rendered: Rendered,
    /// All of it, headers first, signed.
    pub(super) raw: Vec<u8>,
}

impl Channel {
    /// Hands a mail over; returns within the channel's time-out.
    pub(super) async fn hand_over(&self, node: &Node, parcel: Parcel) -> Outcome {
        match self {
            // A connection with TLS is a large thing to carry along.
            Self::Smtp(smtp) => Box::pin(smtp.hand_over(&parcel)).await,
            Self::DevInbox(inbox) => inbox.keep(node, parcel).await,
            #[cfg(test)]
            Self::Told(told) => {
                told.lock().unwrap().push((parcel.id, parcel.to.to_string()));
                Outcome::Accepted
            }
        }
    }
}
