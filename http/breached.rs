//! Passwords that were in a leak: looked up in a file the operator has, since a node asks no foreign host.
//!
//! The file is what Have I Been Pwned's downloader makes: a line a password, its SHA-1 in hexadecimal, a colon and a
//! number, in the order of the hashes. It may be larger than memory: a look-up reads some forty places of it.

use std::{cmp::Ordering, fs::File, io, os::unix::fs::FileExt, path::Path, sync::Arc};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// Hexadecimal digits of a hash.
const DIGITS: usize = 40;
/// Longer than any line: what is read at once.
const LINE_MAX: usize = 128;
/// Places that are looked at before a file is believed to be in order.
const PROBES: u64 = 64;

/// See the module.
#[derive(Debug, Clone)]
pub struct Breached {
    file: Arc<File>,
    bytes: u64,
}

/// A line: where it begins and ends, and its hash.
struct Line {
    end: u64,
    hash: [u8; DIGITS],
}

impl Breached {
    /// Opens a list.
    ///
    /// # Errors
    /// When it is not there, or is no list of hashes in their order.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let list = Self { file: Arc::new(file), bytes };
        let wrong = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let mut last: Option<[u8; DIGITS]> = None;
        for probe in 0..PROBES {
            let Some(line) = list.line_from(bytes * probe / PROBES)? else { break };
            if last.is_some_and(|last| last > line.hash) {
                return Err(wrong("the hashes are not in their order"));
            }
            last = Some(line.hash);
        }
        if last.is_none() { Err(wrong("it has no lines")) } else { Ok(list) }
    }

    /// Whether a password is on the list.
    ///
    /// # Errors
    /// When the file cannot be read (any more).
    pub(crate) fn holds(&self, password: &[u8]) -> io::Result<bool> {
        let wanted = hash(password);
        // The line that is looked for begins at or behind `low`, and before `high`.
        let (mut low, mut high) = (0, self.bytes);
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(line) = self.line_from(middle)? else {
                high = middle;
                continue;
            };
            match line.hash.cmp(&wanted) {
                Ordering::Equal => return Ok(true),
                Ordering::Less => low = line.end,
                Ordering::Greater => high = middle,
            }
        }
        Ok(false)
    }

    /// The first line that begins at or behind a place.
    fn line_from(&self, place: u64) -> io::Result<Option<Line>> {
        // The byte before says whether the place is a line's beginning.
        let before = place.saturating_sub(1);
        let mut read = [0; 2 * LINE_MAX];
        let count = self.read(&mut read, before)?;
        let read = read.get(..count).unwrap_or_default();
        let begin = match (place, read.iter().position(|byte| *byte == b'\n')) {
            (0, _) => 0,
            (_, Some(end_of_line)) => end_of_line + 1,
            (_, None) if count < 2 * LINE_MAX => return Ok(None),
            (_, None) => return Err(broken()),
        };
        let line = read.get(begin..).unwrap_or_default();
        let Some((hash, rest)) = line.split_first_chunk::<DIGITS>() else {
            return if line.is_empty() { Ok(None) } else { Err(broken()) };
        };
        let is_line =
            hash.iter().all(u8::is_ascii_hexdigit) && rest.first().is_none_or(|next| b":\r\n".contains(next));
        if !is_line {
            return Err(broken());
        }
        let length = rest.iter().position(|byte| *byte == b'\n').map_or(line.len(), |end| DIGITS + end + 1);
        let end = before + u64::try_from(begin + length).unwrap_or(u64::MAX);
        Ok(Some(Line { end, hash: hash.map(|digit| digit.to_ascii_uppercase()) }))
    }

    fn read(&self, into: &mut [u8], from: u64) -> io::Result<usize> {
        let mut count = 0;
        while let Some(rest) = into.get_mut(count..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, from + count as u64)? {
                0 => break,
                more => count += more,
            }
        }
        Ok(count)
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a line is no hash in hexadecimal")
}

fn hash(password: &[u8]) -> [u8; DIGITS] {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut digits = [0; DIGITS];
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, password);
    for (pair, byte) in digits.chunks_exact_mut(2).zip(hash.as_ref()) {
        let of = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or_default();
        pair.copy_from_slice(&[of(byte >> 4), of(byte & 15)]);
    }
    digits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A list of these passwords as the downloader writes one, in a file of its own.
    fn list(passwords: &[String], end_of_line: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let mut lines: Vec<_> = passwords
            .iter()
            .enumerate()
            .map(|(times, password)| {
                format!(
                    "{}:{times}{end_of_line}",
                    String::from_utf8(hash(password.as_bytes()).to_vec()).unwrap()
                )
            })
            .collect();
        lines.sort_unstable();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pwned.txt");
        std::fs::write(&path, lines.concat()).unwrap();
        (folder, path)
    }

    #[test]
    fn a_password_is_hashed_as_the_list_has_it() {
        let known = *b"5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8";
        assert_eq!(hash(b"password"), known);
    }

    #[test]
    fn what_is_no_list_in_order_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        let (a, b) = ("A".repeat(40), "B".repeat(40));
        for text in [String::new(), "hunter2\n".to_owned(), format!("{b}:1\n{a}:1\n"), format!("{a}0:1\n")] {
            std::fs::write(&path, &text).unwrap();
            assert!(Breached::open(&path).is_err(), "{text}");
        }
        for text in [format!("{a}:1\n{b}:2"), format!("{a}\n"), a.to_lowercase()] {
            std::fs::write(&path, &text).unwrap();
            assert!(Breached::open(&path).is_ok(), "{text}");
        }
        assert!(Breached::open(&folder.path().join("none")).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn every_password_on_a_list_is_found_and_no_other(numbers in proptest::collection::btree_set(0..5_000_u32, 1..300), is_dos: bool) {
            let all: Vec<_> = numbers.iter().map(|number| format!("password {number}")).collect();
            let (_folder, path) = list(&all, if is_dos { "\r\n" } else { "\n" });
            let breached = Breached::open(&path).unwrap();
            for number in 0..600 {
                let is_there = breached.holds(format!("password {number}").as_bytes()).unwrap();
                prop_assert_eq!(is_there, numbers.contains(&number), "{}", number);
            }
        }
    }
}
