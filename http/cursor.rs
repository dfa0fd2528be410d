//! Cursors: opaque, signed places in lists and streams.

use prognet_supervisor::Node;

use crate::problem::Problem;

/// A cursor of a list, from the place behind which it reads on.
pub(crate) fn write(node: &Node, list: &str, place: &[u8]) -> String {
    let signature = node.hash(list, place).to_be_bytes();
    place.iter().chain(&signature).map(|byte| format!("{byte:02x}")).collect()
}

/// The place in a cursor of this list.
pub(crate) fn read(node: &Node, list: &str, cursor: &str) -> Result<Vec<u8>, Problem> {
    let invalid = || Problem::field("after", "a cursor that this list gave");
    let digits = cursor.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    let bytes: Option<Vec<u8>> = digits.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect();
    let bytes = bytes.ok_or_else(invalid)?;
    let (place, signature) = bytes.split_last_chunk::<16>().ok_or_else(invalid)?;
    if node.hash(list, place).to_be_bytes() != *signature {
        return Err(invalid());
    }
    Ok(place.to_vec())
}
