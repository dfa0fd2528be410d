//! Golden events: every shape an aggregate has ever written, kept for ever, read for ever.

use std::path::Path;

use prognet_storage::{Name, codec::encode_event};

use crate::{
    Aggregate,
    aggregate::{event_of, event_type},
};

/// Holds an aggregate to its golden file, which has one line an event: type, version, bytes in hex.
///
/// Each sample must stand there exactly as it is written today, and every line, however old, must still be
/// read. Lines are only ever added: with `UPDATE` set in the environment those of new samples are.
///
/// # Panics
/// When one of that does not hold, or a variant of the events has no sample.
#[expect(clippy::expect_used, reason = "a test must fail here")]
pub fn holds_to_golden<A: Aggregate>(file: &Path, samples: &[A::Event]) {
    let mut text = std::fs::read_to_string(file).unwrap_or_default();
    let mut sampled = Vec::new();
    for sample in samples {
        let bytes = encode_event(sample).expect("an event that encodes");
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let line = format!("{} {} {hex}\n", event_type(sample), A::EVENT_VERSION);
        if !text.contains(&line) {
            #[expect(clippy::disallowed_methods, reason = "a switch of the tests, not a setting")]
            let may_add = std::env::var("UPDATE").is_ok();
            assert!(may_add, "{} is not in {}", line.trim(), file.display());
            text.push_str(&line);
            std::fs::write(file, &text).expect("a golden file that can be written");
        }
        sampled.push(event_type(sample));
    }
    for line in text.lines() {
        let read = read::<A>(line);
        assert!(read.is_some(), "an old event is not read any more: {line}");
    }
    for variant in variants::<A>() {
        assert!(sampled.iter().any(|name| name.as_str() == variant), "`{variant}` has no sample");
    }
}

fn read<A: Aggregate>(line: &str) -> Option<A::Event> {
    let mut parts = line.split(' ');
    let (name, version, hex) = (Name::parse(parts.next()?)?, parts.next()?.parse().ok()?, parts.next()?);
    let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    let bytes: Option<Vec<u8>> = digits.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect();
    event_of::<A>(name, version, &bytes?).ok()
}

/// The names of all variants, as serde tells them when asked for one that is none.
fn variants<A: Aggregate>() -> Vec<String> {
    let unknown = serde_json::from_value::<A::Event>(serde_json::json!("?"));
    let said = unknown.err().map(|error| error.to_string()).unwrap_or_default();
    let (_, expected) = said.split_once("expected").unwrap_or_default();
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
