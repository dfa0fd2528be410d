//! Cursors: opaque, signed places in lists and streams.
//!
//! A place holds offsets of a shard that many tenants share, so it is masked as well: two cursors tell nobody
//! what happened between them elsewhere. Behind it stands which restoring of the database it was given out after: a
//! place of before one may hold something else now.

use prognet_supervisor::Node;

use crate::{Edge, problem::Problem};

/// A cursor of a list, from the place behind which it reads on.
pub(crate) fn write(edge: &Edge, list: &str, place: &[u8]) -> String {
    written(&edge.node, edge.settings.restored, list, place)
}

/// The place in a cursor of this list, as a field of the request brought it.
pub(crate) fn read(edge: &Edge, list: &str, field: &str, cursor: &str) -> Result<Vec<u8>, Problem> {
    place(&edge.node, edge.settings.restored, list, cursor).map_err(|wrong| match wrong {
        Wrong::Foreign => Problem::field(field, "a cursor or token that this list gave"),
        Wrong::Restored => Problem::restored(),
    })
}

/// Why a cursor has no place.
#[derive(Debug, PartialEq, Eq)]
enum Wrong {
    /// This list never gave it.
    Foreign,
    /// It was given before the data was restored.
    Restored,
}

fn written(node: &Node, restored: u64, list: &str, place: &[u8]) -> String {
    let restored = restored.to_be_bytes();
    let signature = sign(node, list, restored, place);
    let masked = mask(node, signature, place);
    masked.iter().chain(&signature).chain(&restored).map(|byte| format!("{byte:02x}")).collect()
}

fn sign(node: &Node, list: &str, restored: [u8; 8], place: &[u8]) -> [u8; 16] {
    node.hash(list, &[&restored[..], place].concat()).to_be_bytes()
}

fn place(node: &Node, now: u64, list: &str, cursor: &str) -> Result<Vec<u8>, Wrong> {
    let digits = cursor.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    let bytes: Option<Vec<u8>> = digits.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect();
    let bytes = bytes.ok_or(Wrong::Foreign)?;
    let (rest, restored) = bytes.split_last_chunk::<8>().ok_or(Wrong::Foreign)?;
    let (masked, signature) = rest.split_last_chunk::<16>().ok_or(Wrong::Foreign)?;
    let place = mask(node, *signature, masked);
    if sign(node, list, *restored, &place) != *signature {
        return Err(Wrong::Foreign);
    }
    if u64::from_be_bytes(*restored) == now { Ok(place) } else { Err(Wrong::Restored) }
}

/// Masks and unmasks: the signature seeds a keyed stream, as in SIV modes (RFC 5297 s. 2.6).
fn mask(node: &Node, signature: [u8; 16], place: &[u8]) -> Vec<u8> {
    let stream = (0_u64..).flat_map(|block| {
        let seed = [&signature[..], &block.to_be_bytes()].concat();
        node.hash("cursor-mask", &seed).to_be_bytes()
    });
    place.iter().zip(stream).map(|(byte, mask)| byte ^ mask).collect()
}

#[cfg(test)]
mod tests {
    use prognet_supervisor::testing::World;

    use super::*;

    #[tokio::test]
    async fn a_cursor_tells_nothing_and_opens_its_list_alone() {
        let world = World::new(prognet_actors::services).await;
        let place_of = b"a place longer than sixteen bytes";
        let cursor = written(&world.node, 0, "one", place_of);
        let hex: String = place_of.iter().map(|byte| format!("{byte:02x}")).collect();

        assert!(!cursor.starts_with(&hex));
        assert_eq!(place(&world.node, 0, "one", &cursor).unwrap(), place_of);
        assert_eq!(place(&world.node, 0, "other", &cursor), Err(Wrong::Foreign));
        let next = written(&world.node, 0, "one", b"a place longer than sixteen bytez");
        let alike = next.bytes().zip(cursor.bytes()).take(16).filter(|(one, other)| one == other).count();
        assert!(alike < 16, "neighbours are not alike");
    }
    #[tokio::test]
    async fn a_cursor_of_before_the_data_was_restored_is_known_as_one() {
        let world = World::new(prognet_actors::services).await;
        let cursor = written(&world.node, 7, "one", b"place");

        assert_eq!(place(&world.node, 8, "one", &cursor), Err(Wrong::Restored));
        let (own, _mark) = cursor.split_at(cursor.len() - 16);
        let forged = format!("{own}{:016x}", 8);
        assert_eq!(place(&world.node, 8, "one", &forged), Err(Wrong::Foreign));
    }
}
