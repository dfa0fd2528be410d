//! Commands that wait in a router for a moving shard's new owner.

use std::collections::VecDeque;

use crate::BootTime;

/// The commands held for one shard, in the order they came.
#[derive(Debug)]
pub struct Hold<C> {
    waiting: VecDeque<Waiting<C>>,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting<C> {
    command: C,
    bytes: usize,
    deadline: BootTime,
}

impl<C> Default for Hold<C> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), bytes: 0 }
    }
}

impl<C> Hold<C> {
    /// The most commands held for a shard.
    pub const COMMANDS_MAX: usize = 1_000;
    /// The most bytes held for a shard.
    pub const BYTES_MAX: usize = 4 * 1024 * 1024;

    /// Holds a command until it is delivered or its deadline passes.
    ///
    /// # Errors
    /// Gives the command back if there is no room for it: it is to be refused at once.
    pub fn offer(&mut self, command: C, bytes: usize, deadline: BootTime) -> Result<(), C> {
        let is_full = self.waiting.len() >= Self::COMMANDS_MAX || self.bytes + bytes > Self::BYTES_MAX;
        if is_full {
            return Err(command);
        }
        self.bytes += bytes;
        self.waiting.push_back(Waiting { command, bytes, deadline });
        Ok(())
    }

    /// Gives back the commands whose deadline has passed: they are to be refused.
    pub fn expire(&mut self, now: BootTime) -> Vec<C> {
        let (kept, expired): (VecDeque<_>, VecDeque<_>) =
            self.waiting.drain(..).partition(|waiting| waiting.deadline > now);
        self.bytes = kept.iter().map(|waiting| waiting.bytes).sum();
        self.waiting = kept;
        expired.into_iter().map(|waiting| waiting.command).collect()
    }

    /// The shard is open again: gives back everything, in order.
    pub fn deliver(&mut self) -> Vec<C> {
        self.bytes = 0;
        self.waiting.drain(..).map(|waiting| waiting.command).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: BootTime = BootTime::from_millis(5_000);

    #[test]
    fn commands_come_back_in_order_once_the_shard_is_open() {
        let mut hold = Hold::default();
        for command in 0..3 {
            hold.offer(command, 10, LATER).unwrap();
        }

        assert_eq!(hold.deliver(), [0, 1, 2]);
        assert!(hold.deliver().is_empty());
    }

    #[test]
    fn a_command_is_given_back_at_its_deadline_and_makes_room() {
        let mut hold = Hold::default();
        hold.offer("soon", Hold::<&str>::BYTES_MAX, BootTime::from_millis(1_000)).unwrap();
        assert_eq!(hold.offer("late", 1, LATER), Err("late"));

        assert_eq!(hold.expire(BootTime::from_millis(1_000)), ["soon"]);

        hold.offer("late", 1, LATER).unwrap();
        assert!(hold.expire(BootTime::from_millis(1_000)).is_empty());
    }

    #[test]
    fn a_full_hold_refuses_at_once() {
        let mut hold = Hold::default();
        for command in 0..Hold::<usize>::COMMANDS_MAX {
            hold.offer(command, 1, LATER).unwrap();
        }

        assert_eq!(hold.offer(9, 1, LATER), Err(9));
    }
}
