//! What a keyring keeps, and its bytes in files: one record a subject, the later one counts.

use std::collections::HashMap;

use super::Error;
use crate::Home;

/// What a key is of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    Home(Home),
    Secret(String),
}

/// What is kept about it.
pub(crate) enum Kept {
    Wrapped(Vec<u8>),
    Erased,
}

/// A record's bytes.
pub(super) fn write(subject: &Subject, kept: &Kept) -> Vec<u8> {
    let mut body = Vec::new();
    match (subject, kept) {
        (Subject::Home(home), Kept::Wrapped(wrapped)) => {
            body.push(1);
            body.extend_from_slice(&home.canonical());
            body.extend_from_slice(wrapped);
        }
        (Subject::Home(home), Kept::Erased) => {
            body.push(2);
            body.extend_from_slice(&home.canonical());
        }
        (Subject::Secret(name), Kept::Wrapped(wrapped)) => {
            body.push(3);
            body.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            body.extend(name.bytes().take(255));
            body.extend_from_slice(wrapped);
        }
        (Subject::Secret(_), Kept::Erased) => return Vec::new(),
    }
    let mut bytes = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    bytes.append(&mut body);
    bytes
}

/// The records of a file, and how many bytes of whole ones there are.
pub(super) fn read_log(bytes: &[u8]) -> Result<(HashMap<Subject, Kept>, usize), Error> {
    let (mut kept, mut at) = (HashMap::new(), 0);
    while let Some((length, crc, rest)) = bytes.get(at..).and_then(split_header) {
        let Some(body) = rest.get(..length).filter(|body| crc32c::crc32c(body) == crc) else {
            // Half of the last record is a torn tail: it ends the file. So seems to do one in the middle whose
            // length is wrong; the records it swallows give it away, and must not be cut off with it.
            let is_torn_tail = length >= rest.len() && !has_record(rest);
            return if is_torn_tail { Ok((kept, at)) } else { Err(Error::Damaged("a record is not whole")) };
        };
        let (subject, value) = parse_record(body).ok_or(Error::Damaged("a record is unknown"))?;
        kept.insert(subject, value);
        at += 8 + length;
    }
    Ok((kept, at))
}

/// Whether a whole record begins at any of these bytes.
fn has_record(bytes: &[u8]) -> bool {
    (0..bytes.len()).any(|at| {
        let header = bytes.get(at..).and_then(split_header);
        let body = header.and_then(|(length, crc, rest)| Some((crc, rest.get(..length)?)));
        body.is_some_and(|(crc, body)| parse_record(body).is_some() && crc32c::crc32c(body) == crc)
    })
}

fn split_header(bytes: &[u8]) -> Option<(usize, u32, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_le_bytes(*length)).ok()?, u32::from_le_bytes(*crc), rest))
}

fn parse_record(body: &[u8]) -> Option<(Subject, Kept)> {
    let (kind, rest) = body.split_first()?;
    if *kind == 3 {
        let (length, rest) = rest.split_first()?;
        let (name, wrapped) = rest.split_at_checked(usize::from(*length))?;
        return Some((
            Subject::Secret(std::str::from_utf8(name).ok()?.to_owned()),
            Kept::Wrapped(wrapped.to_vec()),
        ));
    }
    let (home, wrapped) = rest.split_first_chunk::<{ Home::BYTES }>()?;
    let home = Subject::Home(Home::from_canonical(home)?);
    match kind {
        1 => Some((home, Kept::Wrapped(wrapped.to_vec()))),
        2 => Some((home, Kept::Erased)),
        _ => None,
    }
}
