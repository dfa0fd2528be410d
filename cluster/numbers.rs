//! What an operator watches of a cluster: counted where it happens, written as Prometheus text when somebody asks.
//!
//! ```text
//! driver: outputs and answers ──▶ moves.rs ─┐
//! carrier: questions, bytes ────────────────┼──▶ Numbers ──write──▶ the management door
//! map: who is here, who serves what ────────┘ (read when asked)
//! ```

mod moves;

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Write},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prognet_supervisor::{Name, Uncarried};

pub(crate) use moves::Moves;

/// Upper bounds of the buckets of hand-offs, in seconds: a few trips to the store, up to all of the waits that an old
/// owner has ([`crate::Limits`]).
const BUCKETS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) links_made: Count,
    pub(crate) links_lost: Count,
    pub(crate) hand_offs_in: HandOffs,
    pub(crate) hand_offs_out: HandOffs,
    hand_off_lasted: Mutex<Lasted>,
    pub(crate) take_overs: Count,
    pub(crate) declared_down: Count,
    pub(crate) renewals_failed: Count,
    pub(crate) fences: Count,
    pub(crate) evictions: Count,
    pub(crate) shards_fenced: Count,
    pub(crate) asks: Count,
    asks_failed: [Count; Unanswered::ALL.len()],
    pub(crate) sent_bytes: Count,
    pub(crate) received_bytes: Count,
}

/// What only grows while the process lives.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: usize) {
        self.0.fetch_add(more as u64, Ordering::Relaxed);
    }

    pub(crate) fn once(&self) {
        self.add(1);
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Planned moves in one direction.
#[derive(Debug, Default)]
pub(crate) struct HandOffs {
    pub(crate) begun: Count,
    pub(crate) finished: Count,
    pub(crate) failed: Count,
}

/// Reads one of them.
type Reading = fn(&HandOffs) -> &Count;

/// A histogram.
#[derive(Debug, Default)]
struct Lasted {
    counts: [u64; BUCKETS.len()],
    count: u64,
    seconds: f64,
}

/// Why a question to another node was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// No link leads there, not even by way of a third node.
    Unlinked,
    /// The node reads more slowly than this one asks.
    Busy,
    /// The question is larger than any frame.
    Large,
    /// Nobody there looked at it: it was for another run of the node.
    Elsewhere,
    /// The link broke while it was under way.
    LinkLost,
    /// No answer came in time.
    Late,
}

impl Unanswered {
    const ALL: [Self; 6] =
        [Self::Unlinked, Self::Busy, Self::Large, Self::Elsewhere, Self::LinkLost, Self::Late];

    const fn word(self) -> &'static str {
        match self {
            Self::Unlinked => "unlinked",
            Self::Busy => "busy",
            Self::Large => "large",
            Self::Elsewhere => "elsewhere",
            Self::LinkLost => "link_lost",
            Self::Late => "late",
        }
    }
}

impl From<Unanswered> for Uncarried {
    fn from(why: Unanswered) -> Self {
        match why {
            Unanswered::Unlinked | Unanswered::Busy | Unanswered::Elsewhere => Self::NotTaken,
            Unanswered::Large => Self::Large,
            Unanswered::LinkLost | Unanswered::Late => Self::Lost,
        }
    }
}

/// How things stand at the moment somebody asks.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// Nodes by the status of their newest run.
    pub(crate) nodes: BTreeMap<&'static str, usize>,
    /// By service, shards of this node and shards that nobody serves.
    pub(crate) shards: BTreeMap<Name, (usize, usize)>,
    pub(crate) links: usize,
    pub(crate) lease: Duration,
}

impl Numbers {
    pub(crate) fn unanswered(&self, why: Unanswered) {
        for (known, count) in Unanswered::ALL.into_iter().zip(&self.asks_failed) {
            if known == why {
                count.once();
            }
        }
    }

    fn hand_off_lasted(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let mut lasted = self.hand_off_lasted.lock().unwrap_or_else(PoisonError::into_inner);
        for (count, bound) in lasted.counts.iter_mut().zip(BUCKETS) {
            *count += u64::from(seconds <= bound);
        }
        lasted.count += 1;
        lasted.seconds += seconds;
    }

    /// All of them, as Prometheus text.
    pub(crate) fn write(&self, standing: &Standing, out: &mut dyn Write) -> fmt::Result {
        standing.write(out)?;
        for (name, meaning, count) in self.counters() {
            head(out, name, "counter", meaning)?;
            line(out, name, "", count.now())?;
        }
        let failed = "prognet_cluster_asks_failed_total";
        head(out, failed, "counter", "Questions to other nodes that were not answered.")?;
        for (why, count) in Unanswered::ALL.into_iter().zip(&self.asks_failed) {
            line(out, failed, &format!("{{reason=\"{}\"}}", why.word()), count.now())?;
        }
        self.write_hand_offs(out)
    }

    /// Those without labels.
    fn counters(&self) -> [(&'static str, &'static str, &Count); 11] {
        [
            ("prognet_cluster_links_made_total", "Links that came to work both ways.", &self.links_made),
            ("prognet_cluster_links_lost_total", "Links that broke or were hung up.", &self.links_lost),
            (
                "prognet_cluster_take_overs_total",
                "Shards claimed from a node that was down.",
                &self.take_overs,
            ),
            (
                "prognet_cluster_nodes_declared_down_total",
                "Nodes that this one declared down.",
                &self.declared_down,
            ),
            (
                "prognet_cluster_lease_renewals_failed_total",
                "Renewals of the lease that the store did not answer.",
                &self.renewals_failed,
            ),
            (
                "prognet_cluster_fences_total",
                "Times the lease was over and this node fenced itself.",
                &self.fences,
            ),
            (
                "prognet_cluster_evictions_total",
                "Times this node found itself declared down.",
                &self.evictions,
            ),
            (
                "prognet_cluster_shards_fenced_total",
                "Times a shard stepped down because its append was refused as another owner's.",
                &self.shards_fenced,
            ),
            ("prognet_cluster_asks_total", "Questions to other nodes.", &self.asks),
            (
                "prognet_cluster_sent_bytes_total",
                "Bytes of frames handed to links, without what the link adds.",
                &self.sent_bytes,
            ),
            (
                "prognet_cluster_received_bytes_total",
                "Bytes of frames that came over links.",
                &self.received_bytes,
            ),
        ]
    }

    fn write_hand_offs(&self, out: &mut dyn Write) -> fmt::Result {
        let ways = [("in", &self.hand_offs_in), ("out", &self.hand_offs_out)];
        let steps: [(&str, &str, Reading); 3] = [
            ("begun", "Shards that began to move as planned.", |way| &way.begun),
            ("finished", "Shards that moved as planned.", |way| &way.finished),
            ("failed", "Shards whose planned move came to nothing, or was overtaken.", |way| &way.failed),
        ];
        for (step, meaning, count) in steps {
            let name = format!("prognet_cluster_hand_offs_{step}_total");
            head(out, &name, "counter", meaning)?;
            for (direction, way) in ways {
                line(out, &name, &format!("{{direction=\"{direction}\"}}"), count(way).now())?;
            }
        }
        let name = "prognet_cluster_hand_off_duration_seconds";
        head(out, name, "histogram", "Time from the plan that a shard moves here until it is open here.")?;
        let lasted = self.hand_off_lasted.lock().unwrap_or_else(PoisonError::into_inner);
        for (count, bound) in lasted.counts.iter().zip(BUCKETS) {
            line(out, name, &format!("_bucket{{le=\"{bound}\"}}"), count)?;
        }
        line(out, name, "_bucket{le=\"+Inf\"}", lasted.count)?;
        line(out, name, "_sum", lasted.seconds)?;
        line(out, name, "_count", lasted.count)
    }
}

impl Standing {
    fn write(&self, out: &mut dyn Write) -> fmt::Result {
        let nodes = "prognet_cluster_nodes";
        head(out, nodes, "gauge", "Nodes by where they stand, as this one last read.")?;
        for status in ["joining", "up", "draining", "down"] {
            let count = self.nodes.get(status).copied().unwrap_or_default();
            line(out, nodes, &format!("{{status=\"{status}\"}}"), count)?;
        }
        let links = "prognet_cluster_links";
        head(out, links, "gauge", "Nodes that this one is linked to.")?;
        line(out, links, "", self.links)?;
        let owned = "prognet_cluster_shards_owned";
        head(out, owned, "gauge", "Shards that are this node's.")?;
        for (service, (count, _)) in &self.shards {
            line(out, owned, &format!("{{service=\"{service}\"}}"), count)?;
        }
        let unserved = "prognet_cluster_shards_unserved";
        head(out, unserved, "gauge", "Shards that nobody serves, as this node knows it.")?;
        for (service, (_, count)) in &self.shards {
            line(out, unserved, &format!("{{service=\"{service}\"}}"), count)?;
        }
        let lease = "prognet_cluster_lease_seconds";
        head(out, lease, "gauge", "How long this node trusts its lease without another renewal.")?;
        line(out, lease, "", self.lease.as_secs_f64())
    }
}

fn head(out: &mut dyn Write, name: &str, kind: &str, meaning: &str) -> fmt::Result {
    writeln!(out, "# HELP {name} {meaning}\n# TYPE {name} {kind}")
}

fn line(out: &mut dyn Write, name: &str, more: &str, value: impl Display) -> fmt::Result {
    writeln!(out, "{name}{more} {value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(numbers: &Numbers) -> String {
        let mut text = String::new();
        numbers.write(&Standing::default(), &mut text).unwrap();
        text
    }

    #[test]
    fn every_number_is_named_with_its_unit_and_told_what_it_means() {
        let text = text(&Numbers::default());
        for kind in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(name.starts_with("prognet_cluster_"), "{name}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
            assert!(text.contains(&format!("# HELP {name} ")), "{name}");
        }
    }

    #[test]
    fn a_hand_off_is_in_every_bucket_that_it_was_no_longer_than() {
        let numbers = Numbers::default();
        numbers.hand_off_lasted(Duration::from_millis(30));
        numbers.hand_off_lasted(Duration::from_secs(20));

        let text = text(&numbers);
        let name = "prognet_cluster_hand_off_duration_seconds";
        for (what, count) in [("0.025", 0), ("0.05", 1), ("10", 1), ("+Inf", 2)] {
            assert!(text.contains(&format!("{name}_bucket{{le=\"{what}\"}} {count}\n")), "{text}");
        }
        assert!(text.contains(&format!("{name}_sum 20.03\n{name}_count 2\n")), "{text}");
    }

    #[test]
    fn a_question_that_fails_is_counted_under_its_reason_alone() {
        let numbers = Numbers::default();
        numbers.unanswered(Unanswered::Late);

        let text = text(&numbers);
        for why in Unanswered::ALL {
            let count = u8::from(why == Unanswered::Late);
            let line = format!("asks_failed_total{{reason=\"{}\"}} {count}\n", why.word());
            assert!(text.contains(&line), "{text}");
        }
    }
}
