//! Cursors: opaque, signed places in lists and streams.
//!
//! A place holds offsets of a shard that many tenants share, so it is masked as well: two cursors tell nobody
//! what happened between them elsewhere.

use prognet_supervisor::Node;

use crate::problem::Problem;

/// A cursor of a list, from the place behind which it reads on.
pub(crate) fn write(node: &Node, list: &str, place: &[u8]) -> String {
    let signature = node.hash(list, place).to_be_bytes();
    let masked = mask(node, signature, place);
    masked.iter().chain(&signature).map(|byte| format!("{byte:02x}")).collect()
}

/// The place in a cursor of this list, as a field of the request brought it.
pub(crate) fn read(node: &Node, list: &str, field: &str, cursor: &str) -> Result<Vec<u8>, Problem> {
    let invalid = || Problem::field(field, "a cursor or token that this list gave");
    let digits = cursor.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    let bytes: Option<Vec<u8>> = digits.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect();
    let bytes = bytes.ok_or_else(invalid)?;
    let (masked, signature) = bytes.split_last_chunk::<16>().ok_or_else(invalid)?;
    let place = mask(node, *signature, masked);
    if node.hash(list, &place).to_be_bytes() != *signature {
        return Err(invalid());
    }
    Ok(place)
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
        let place = b"a place longer than sixteen bytes";
        let cursor = write(&world.node, "one", place);
        let hex: String = place.iter().map(|byte| format!("{byte:02x}")).collect();

        assert!(!cursor.starts_with(&hex));
        assert_eq!(read(&world.node, "one", "after", &cursor).unwrap(), place);
        assert!(read(&world.node, "other", "after", &cursor).is_err());
        let next = write(&world.node, "one", b"a place longer than sixteen bytez");
        let alike = next.bytes().zip(cursor.bytes()).take(16).filter(|(one, other)| one == other).count();
        assert!(alike < 16, "neighbours are not alike");
    }
}
