//! What is left of an entity whose home was erased: it shows what one that never was shows, and takes nothing.

use prognet_storage::{Home, keyring::Keyring};

use super::message::{AnyRefused, Message};
use crate::Aggregate;

/// Whether a home was erased, remembered: it is asked for every command, and the keyring has a lock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Erasure {
    /// How many homes had been erased when this was found out.
    at: u64,
    is_erased: bool,
}

impl Erasure {
    /// Asks.
    pub(super) fn of(home: &Home, keyring: &Keyring) -> Self {
        // In this order: an erasure in between is met by the next look.
        let at = keyring.erasures();
        Self { at, is_erased: keyring.is_erased(home) }
    }

    /// Asks again, if any home was erased since.
    pub(super) fn look(&mut self, home: &Home, keyring: &Keyring) -> bool {
        if self.at != keyring.erasures() {
            *self = Self::of(home, keyring);
        }
        self.is_erased
    }
}

/// Answers in its place.
pub(super) fn answer<A: Aggregate>(message: Message) {
    match message {
        Message::Ask(ask) | Message::Await(ask) => drop(ask.reply.send(match ask.command {
            None => Ok((Box::new(A::default().reply()), None)),
            Some(_) => Err(AnyRefused::Erased),
        })),
        // Refused for good, in the words of nobody: whoever sent it goes on.
        Message::Delivery(delivery) => drop(delivery.reply.send(Ok(Err(Vec::new())))),
        // What it had to do is done with.
        Message::Fire(fire) => drop(fire.done.send(Ok(()))),
        Message::Heard(heard) => drop(heard.done.send(Ok(()))),
        Message::Flushed(_) | Message::Passivate | Message::Inspect(_) => {}
    }
}
