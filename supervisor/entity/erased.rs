//! What is left of an entity whose home was erased: it shows what one that never was shows, and takes nothing.

use super::message::{AnyRefused, Message};
use crate::{Aggregate, Unavailable};

/// Answers in its place.
pub(super) fn answer<A: Aggregate>(message: Message) {
    match message {
        Message::Ask(ask) | Message::Await(ask) => drop(ask.reply.send(match ask.command {
            None => Ok((Box::new(A::default().reply()), None)),
            Some(_) => Err(AnyRefused::Unavailable(Unavailable::NotWritten)),
        })),
        // Refused for good, in the words of nobody: whoever sent it goes on.
        Message::Delivery(delivery) => drop(delivery.reply.send(Ok(Err(Vec::new())))),
        // What it had to do is done with.
        Message::Fire(fire) => drop(fire.done.send(Ok(()))),
        Message::Heard(heard) => drop(heard.done.send(Ok(()))),
        Message::Flushed(_) | Message::Passivate | Message::Inspect(_) => {}
    }
}
