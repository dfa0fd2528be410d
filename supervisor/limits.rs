//! The runtime's limits, by name; defaults are the ones a laptop and a small server are happy with.

use std::time::Duration;

/// See `config/sections.rs` for what each means to an operator.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Shards per service; fixed when the data is created.
    pub shards: u16,
    /// An entity without a command for this long is passivated.
    pub idle: Duration,
    /// Entities held as running actors, per node.
    pub resident: usize,
    /// What they may weigh together, in bytes, by estimate.
    pub resident_bytes: usize,
    /// Records between two snapshots of an entity.
    pub snapshot_every: u64,
    /// Commands waiting for one entity.
    pub entity_queue: usize,
    /// Commands waiting in one shard for the entities of one home.
    pub home_queue: usize,
    /// Commands waiting for one shard.
    pub shard_queue: usize,
    /// Commands waiting on the node.
    pub node_queue: usize,
    /// Crashes within [`Limits::restart_window`] that an entity survives; one more and it is quarantined.
    pub restart_intensity: usize,
    /// See [`Limits::restart_intensity`].
    pub restart_window: Duration,
    /// Distinct entities that crash within [`Limits::shard_window`] and by it make their shard start afresh.
    pub shard_intensity: usize,
    /// See [`Limits::shard_intensity`].
    pub shard_window: Duration,
    /// Panics of one command after which it is refused.
    pub poison_panics: usize,
    /// How long after its last panic a command is refused.
    pub poison_for: Duration,
    /// The pause before the first restart; it doubles.
    pub backoff_min: Duration,
    /// The longest pause before a restart.
    pub backoff_max: Duration,
    /// First replies kept per entity.
    pub reply_window: usize,
    /// How long a first reply is kept.
    pub reply_age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            shards: 256,
            idle: Duration::from_secs(120),
            resident: 50_000,
            // With the actors' own weight about what `resident` small entities come to.
            resident_bytes: 768 * 1024 * 1024,
            snapshot_every: 100,
            entity_queue: 128,
            home_queue: 512,
            shard_queue: 1_024,
            node_queue: 8_192,
            restart_intensity: 3,
            restart_window: Duration::from_secs(60),
            shard_intensity: 10,
            shard_window: Duration::from_secs(10),
            poison_panics: 3,
            poison_for: Duration::from_secs(3_600),
            backoff_min: Duration::from_millis(200),
            backoff_max: Duration::from_secs(30),
            reply_window: 1_000,
            reply_age: Duration::from_secs(24 * 3600),
        }
    }
}
