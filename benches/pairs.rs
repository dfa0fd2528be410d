//! The method: ours and the rival take turns in one run, and only the ratio of neighbours is believed.
//!
//! ```text
//! warm-up  ours rival  ours rival  ours rival  ours rival  ours rival
//!           └─ratio─┘   └─ratio─┘   └─ratio─┘   └─ratio─┘   └─ratio─┘   → median, quartiles
//! ```
//!
//! A machine that others share can be five times slower a second later; neighbours suffer alike. When the
//! rival alone varies by more than [`SPREAD_MAX`], the run says nothing and says so.
#![expect(clippy::print_stdout, reason = "a bench's output is its result")]

use std::time::{Duration, Instant};

/// The quartile spread of the rival, by its median, above which a run is not judged.
pub const SPREAD_MAX: f64 = 0.30;

/// How long and how often to measure; `-- --smoke` shortens everything to see that it runs.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Pairs.
    pub pairs: usize,
    /// The length of one side of a pair.
    pub window: Duration,
    /// Entities, events and the like are divided by this.
    pub shrink: u64,
    /// Whether the numbers are worth nothing.
    pub is_smoke: bool,
}

impl Effort {
    /// As the command line asks.
    #[must_use]
    pub fn asked() -> Self {
        if std::env::args().any(|argument| argument == "--smoke") {
            Self { pairs: 2, window: Duration::from_millis(300), shrink: 50, is_smoke: true }
        } else {
            Self { pairs: 5, window: Duration::from_secs(2), shrink: 1, is_smoke: false }
        }
    }
}

/// Time since a moment.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "a bench measures the world's time, not the product's")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// One side of one pair.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    /// Operations a second; more is better.
    pub rate: f64,
    /// CPU microseconds per operation, of all processes that serve it; none where that says nothing.
    pub cpu_us: Option<f64>,
    /// Median and 99th percentile of the latency in microseconds, where each operation was timed.
    pub latency_us: Option<(f64, f64)>,
}

impl Sample {
    /// Operations in a time, and the CPU they took.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub fn of(operations: usize, elapsed: Duration, cpu: Duration) -> Self {
        let operations = operations.max(1) as f64;
        Self {
            rate: operations / elapsed.as_secs_f64(),
            cpu_us: Some(cpu.as_secs_f64() * 1e6 / operations),
            latency_us: None,
        }
    }

    /// The same with latencies, in nanoseconds, in any order.
    #[must_use]
    pub fn with_latencies(mut self, mut nanos: Vec<u64>) -> Self {
        nanos.sort_unstable();
        #[expect(clippy::cast_precision_loss, reason = "a latency is far below 2^52 ns")]
        let at = |percent: usize| {
            nanos
                .get((nanos.len() * percent / 100).min(nanos.len().saturating_sub(1)))
                .map(|n| *n as f64 / 1e3)
        };
        self.latency_us = at(50).zip(at(99));
        self
    }

    /// A sample of something that is done once: its rate is one by its time.
    #[must_use]
    pub fn once(elapsed: Duration) -> Self {
        Self { rate: 1.0 / elapsed.as_secs_f64(), cpu_us: None, latency_us: None }
    }
}

/// The samples of a comparison.
#[derive(Debug)]
pub struct Pairs {
    name: String,
    ours: Vec<Sample>,
    rival: Vec<Sample>,
}

/// Ours and the rival in turn; each has a warm-up that is thrown away.
///
/// # Errors
/// As either side's.
pub fn alternate(
    name: &str,
    pairs: usize,
    mut ours: impl FnMut() -> anyhow::Result<Sample>,
    mut rival: impl FnMut() -> anyhow::Result<Sample>,
) -> anyhow::Result<Pairs> {
    ours()?;
    rival()?;
    let mut found = Pairs { name: name.to_owned(), ours: Vec::new(), rival: Vec::new() };
    for _ in 0..pairs {
        found.ours.push(ours()?);
        found.rival.push(rival()?);
    }
    Ok(found)
}

/// The head of the table [`Pairs::print`] writes lines of.
pub fn print_head(title: &str) {
    println!("\n### {title}\n");
    println!(
        "| what | ours | rival | ratio: median (quartiles) | aim | verdict | CPU us/op, ours / rival | p50, p99 us, ours | p50, p99 us, rival |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
}

impl Pairs {
    /// Writes a line of the table: `unit` names what the rates count.
    pub fn print(&self, unit: Unit, aim: f64) {
        let ratios = self.ours.iter().zip(&self.rival).map(|(ours, rival)| ours.rate / rival.rate);
        let (low, ratio, high) = quartiles(ratios.collect());
        let (rival_low, rival, rival_high) = quartiles(self.rival.iter().map(|sample| sample.rate).collect());
        let (_, ours, _) = quartiles(self.ours.iter().map(|sample| sample.rate).collect());
        let spread = (rival_high - rival_low) / rival;
        let verdict = if spread > SPREAD_MAX {
            format!("not judged: the rival varies by {:.0} %", spread * 100.0)
        } else if ratio >= aim {
            "met".to_owned()
        } else {
            "**missed**".to_owned()
        };
        let cpu = both(cpu_of(&self.ours), cpu_of(&self.rival), |cpu| format!("{cpu:.1}"));
        println!(
            "| {} | {} | {} | **{ratio:.2}** ({low:.2}-{high:.2}) | >= {aim} | {verdict} | {cpu} | {} | {} |",
            self.name,
            unit.show(ours),
            unit.show(rival),
            latency_of(&self.ours),
            latency_of(&self.rival),
        );
    }
}

/// How a rate is shown.
#[derive(Debug, Clone, Copy)]
pub enum Unit {
    /// Operations a second.
    PerSecond,
    /// The time of one operation.
    Time,
}

impl Unit {
    fn show(self, rate: f64) -> String {
        match self {
            Self::PerSecond => format!("{rate:.0}/s"),
            Self::Time if rate > 1e3 => format!("{:.2} us", 1e6 / rate),
            Self::Time if rate > 10.0 => format!("{:.2} ms", 1e3 / rate),
            Self::Time => format!("{:.3} s", 1.0 / rate),
        }
    }
}

fn cpu_of(samples: &[Sample]) -> Option<f64> {
    let cpus: Option<Vec<_>> = samples.iter().map(|sample| sample.cpu_us).collect();
    cpus.map(|cpus| quartiles(cpus).1)
}

fn latency_of(samples: &[Sample]) -> String {
    let latencies: Option<Vec<_>> = samples.iter().map(|sample| sample.latency_us).collect();
    let Some(latencies) = latencies else {
        return "-".to_owned();
    };
    let (halves, tails) = latencies.into_iter().unzip();
    format!("{:.0}, {:.0}", quartiles(halves).1, quartiles(tails).1)
}

fn both<T>(ours: Option<T>, rival: Option<T>, show: impl Fn(T) -> String) -> String {
    match (ours, rival) {
        (Some(ours), Some(rival)) => format!("{} / {}", show(ours), show(rival)),
        _ => "-".to_owned(),
    }
}

/// Lower quartile, median, upper quartile, interpolated; zeros for nothing.
#[must_use]
pub fn quartiles(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| {
        #[expect(clippy::cast_precision_loss, reason = "a handful of values")]
        let place = share * values.len().saturating_sub(1) as f64;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index, rounded down")]
        let below = place as usize;
        let low = values.get(below).copied().unwrap_or_default();
        let high = values.get(below + 1).copied().unwrap_or(low);
        low + (high - low) * place.fract()
    };
    (at(0.25), at(0.5), at(0.75))
}
