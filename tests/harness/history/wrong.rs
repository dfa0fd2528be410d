//! What can be wrong.

use std::fmt;

/// A promise that was not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// The history is none: the recorder is at fault.
    Malformed,
    /// What was acknowledged is not in the journal.
    Lost,
    /// It is there more than once.
    Doubled,
    /// What was refused is there.
    RefusedAndDone,
    /// Something is there that nobody asked for.
    NobodyAsked,
    /// An answer shows what the journal does not hold.
    Early,
    /// An answer is not what the journal's events amount to.
    Answer,
    /// An acknowledged command lies behind one that was asked later, or shows one.
    Order,
    /// A read shows less than what had been acknowledged, or shown, before it was asked.
    Stale,
    /// A shard's offsets have a gap.
    Gap,
    /// An older epoch lies behind a newer one, or one that was never given.
    Epoch,
    /// The order over all shards has a gap, or another order than a shard.
    Stream,
    /// A shard's row does not say where it ends.
    Tail,
    /// An entity's seqs have a gap, or another order than its shard.
    Seq,
    /// A batch lies apart or was written under two epochs.
    Batch,
    /// A reader was shown what is not its tenant's.
    Foreign,
    /// A reader missed something.
    Missed,
    /// A reader was shown things in another order, or twice.
    Disordered,
    /// No order of the operations explains the answers, without a look at the journal.
    NotLinearizable,
}

/// One case of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) rule: Rule,
    what: String,
}

impl Wrong {
    pub(crate) const fn new(rule: Rule, what: String) -> Self {
        Self { rule, what }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}: {}", self.rule, self.what)
    }
}
