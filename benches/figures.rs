//! Figures without a rival: windows of one side, whose median is judged by an aim of its own.
#![expect(clippy::print_stdout, reason = "a bench's output is its result")]

use crate::pairs::{Sample, quartiles};

/// What a figure has to reach.
#[derive(Debug, Clone, Copy)]
pub enum Aim {
    /// So much or more.
    AtLeast(f64),
    /// So much or less.
    AtMost(f64),
    /// Nothing: it is told.
    None,
}

/// Samples of one side, after a warm-up that is thrown away.
///
/// # Errors
/// As the side's.
pub fn windows(
    count: usize,
    mut measure: impl FnMut() -> anyhow::Result<Sample>,
) -> anyhow::Result<Vec<Sample>> {
    measure()?;
    (0..count).map(|_| measure()).collect()
}

/// The head of the table [`print()`] writes lines of.
pub fn print_head(title: &str) {
    println!("\n### {title}\n\n| what | found: median (quartiles) | aim | verdict |\n|---|---|---|---|");
}

/// Writes a line of the table.
pub fn print(name: &str, found: Vec<f64>, unit: &str, aim: Aim) {
    let is_one = found.len() == 1;
    let (low, median, high) = quartiles(found);
    let spread = if is_one { String::new() } else { format!(" ({}-{})", show(low), show(high)) };
    let verdict = aim.verdict(low, high);
    println!("| {name} | {} {unit}{spread} | {} | {verdict} |", show(median), aim.show(unit));
}

fn show(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

impl Aim {
    fn show(self, unit: &str) -> String {
        match self {
            Self::AtLeast(aim) => format!(">= {aim} {unit}"),
            Self::AtMost(aim) => format!("<= {aim} {unit}"),
            Self::None => String::new(),
        }
    }

    /// An aim between the quartiles is neither met nor missed.
    fn verdict(self, low: f64, high: f64) -> &'static str {
        let reached = match self {
            Self::AtLeast(aim) => [low >= aim, high >= aim],
            Self::AtMost(aim) => [low <= aim, high <= aim],
            Self::None => return "",
        };
        match reached {
            [true, true] => "met",
            [false, false] => "**missed**",
            _ => "not judged: the aim lies between the quartiles",
        }
    }
}
