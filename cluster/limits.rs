//! How long a cluster waits for what, and how much it does at once.

use std::time::Duration;

/// Times and limits that every node of a cluster shares.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Between two renewals of a node's lease.
    pub heartbeat: Duration,
    /// How long a renewal lasts on the store's clock: a silent node is declared down after it.
    pub lease: Duration,
    /// How long a node trusts a renewal, counted on its own clock from *before* it asked. The rest of the lease
    /// is the margin for clocks that run at different rates: with 4.5 s of 6 s, up to a quarter.
    pub trust: Duration,
    /// How long a joining node may take to reach a peer.
    pub join: Duration,
    /// How long the old owner of a moving shard waits for the new one to pre-load it.
    pub prepare: Duration,
    /// What the old owner takes longer to finish is written down as being let go.
    pub mark: Duration,
    /// How long the old owner finishes what it has begun before it lets go anyway.
    pub flush: Duration,
    /// How long a free shard is left to the node it was meant for.
    pub reserve: Duration,
    /// Between the claims of a shard's heirs, first to last: they rarely collide.
    pub stagger: Duration,
    /// How long a node leaves a shard alone that it failed to open: others are tried first.
    pub reopen: Duration,
    /// How long nothing but drains moves after a node came or went: the next one often follows.
    pub quiet: Duration,
    /// How long the row of a node that is down is kept for people to read.
    pub retention: Duration,
    /// Shards claimed by one statement.
    pub claim_batch: usize,
    /// Moves that touch one node at a time.
    pub moves_per_node: usize,
    /// The same, for moves off a node that drains.
    pub drains_per_node: usize,
    /// Shards of a service that move at a time, in percent; one may always.
    pub moving_percent: usize,
    /// How far a node may be from its share of a service, in percent of that share, before shards move.
    pub slack_percent: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(1),
            lease: Duration::from_secs(6),
            trust: Duration::from_millis(4_500),
            join: Duration::from_secs(30),
            prepare: Duration::from_secs(5),
            mark: Duration::from_millis(100),
            flush: Duration::from_secs(2),
            reserve: Duration::from_secs(2),
            stagger: Duration::from_millis(100),
            reopen: Duration::from_secs(5),
            quiet: Duration::from_secs(60),
            retention: Duration::from_secs(60 * 60),
            claim_batch: 256,
            moves_per_node: 2,
            drains_per_node: 8,
            moving_percent: 10,
            slack_percent: 10,
        }
    }
}

impl Limits {
    /// How many of a service's shards may move at a time.
    #[must_use]
    pub fn moving_max(&self, shards: usize) -> usize {
        (shards * self.moving_percent / 100).max(1)
    }

    /// How many moves may touch a node at a time.
    #[must_use]
    pub const fn node_max(&self, is_drain: bool) -> usize {
        if is_drain { self.drains_per_node } else { self.moves_per_node }
    }
}
