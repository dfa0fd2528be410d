//! Compact bytes for snapshots and rows: bincode behind the fingerprint of the value's shape.
//!
//! bincode has no names in its bytes, is no longer maintained, and decodes an enum that got a variant in the
//! middle into the wrong one without a word. So it is used here only, for bytes that can be rebuilt, and the
//! shape of what it decodes is compared with the shape of what was encoded.

use serde::{Serialize, de::DeserializeOwned};

use super::{Error, shape};

/// Encodes what can be rebuilt.
///
/// # Errors
/// When the value does not encode.
pub fn encode_compact<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    let mut bytes = shape::of(value).ok_or(Error::Shape)?.to_le_bytes().to_vec();
    bincode::serde::encode_into_std_write(value, &mut bytes, bincode::config::standard())
        .map_err(|_why| Error::Shape)?;
    Ok(bytes)
}

/// Decodes what [`encode_compact`] wrote from a value of the same shape.
///
/// # Errors
/// [`Error::Shape`] when the type has changed since, or the bytes are damaged: rebuild.
pub fn decode_compact<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let (shape, body) = bytes.split_first_chunk::<8>().ok_or(Error::Shape)?;
    let limited = bincode::config::standard().with_limit::<{ 64 * 1024 * 1024 }>();
    let (value, read) =
        bincode::serde::decode_from_slice::<T, _>(body, limited).map_err(|_why| Error::Shape)?;
    let is_same = read == body.len() && shape::of(&value) == Some(u64::from_le_bytes(*shape));
    is_same.then_some(value).ok_or(Error::Shape)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Status {
        Active,
        Suspended,
    }

    mod later {
        use super::{Deserialize, Serialize};

        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        pub(super) enum Status {
            Trial,
            Active,
            Suspended,
        }
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Row {
        name: String,
        count: u32,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Narrower {
        name: String,
        count: u16,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Renamed {
        title: String,
        count: u32,
    }

    #[test]
    fn a_value_survives_its_bytes() {
        let row = Row { name: "acme".to_owned(), count: 7 };
        assert_eq!(decode_compact::<Row>(&encode_compact(&row).unwrap()).unwrap(), row);
    }

    #[test]
    fn a_variant_put_in_the_middle_is_noticed_and_not_decoded_wrongly() {
        let bytes = encode_compact(&Status::Active).unwrap();
        assert!(matches!(decode_compact::<later::Status>(&bytes), Err(Error::Shape)));
    }

    #[test]
    fn a_field_renamed_or_narrowed_is_noticed() {
        let bytes = encode_compact(&Row { name: "acme".to_owned(), count: 7 }).unwrap();
        assert!(decode_compact::<Narrower>(&bytes).is_err());
        assert!(decode_compact::<Renamed>(&bytes).is_err());
    }

    proptest::proptest! {
        #[test]
        fn foreign_bytes_never_panic(bytes: Vec<u8>) {
            drop(decode_compact::<Row>(&bytes));
        }
    }
}
