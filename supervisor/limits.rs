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
    /// Records between two snapshots of an entity.
    pub snapshot_every: u64,
    /// Commands waiting for one entity.
    pub entity_queue: usize,
    /// Commands waiting for one shard.
    pub shard_queue: usize,
    /// Commands waiting on the node.
    pub node_queue: usize,
    /// Crashes within [`Limits::restart_window`] that an entity survives; one more and it is quarantined.
    pub restart_intensity: usize,
    /// See [`Limits::restart_intensity`].
    pub restart_window: Duration,
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
            snapshot_every: 100,
            entity_queue: 128,
            shard_queue: 1_024,
            node_queue: 8_192,
            restart_intensity: 3,
            restart_window: Duration::from_secs(60),
            backoff_min: Duration::from_millis(200),
            backoff_max: Duration::from_secs(30),
            reply_window: 1_000,
            reply_age: Duration::from_secs(24 * 3600),
        }
    }
}
