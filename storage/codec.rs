//! Bytes of values: MessagePack with field names for what lasts, bincode for what can be rebuilt.

mod compact;
mod shape;

use serde::{Serialize, de::DeserializeOwned};

use crate::Name;
pub use compact::{decode_compact, encode_compact};

/// Why bytes are not a value, or a value not bytes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The value does not encode: a bug of its type.
    #[error("failed to encode")]
    Encode(#[from] rmp_serde::encode::Error),
    /// The bytes are not this value.
    #[error("failed to decode")]
    Decode(#[from] rmp_serde::decode::Error),
    /// The compact bytes were written from a value of another shape: rebuild.
    #[error("the bytes have another shape")]
    Shape,
    /// An upcaster does not know the bytes.
    #[error("failed to upcast `{name}` from version {version}")]
    Upcast {
        /// The event's type.
        name: Name,
        /// The version it was written in.
        version: u16,
    },
}

/// Encodes what lasts: fields by name, so that they can be added.
///
/// # Errors
/// When the value does not encode.
pub fn encode_event<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    Ok(rmp_serde::to_vec_named(value)?)
}

/// Decodes what [`encode_event`] wrote, today or years ago.
///
/// # Errors
/// When the bytes are not this value.
pub fn decode_event<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    Ok(rmp_serde::from_slice(bytes)?)
}

/// A step from one version of an event to the next, on the decoded body.
#[derive(Debug, Clone, Copy)]
pub struct Upcaster {
    /// The event's type.
    pub name: Name,
    /// The version it lifts, to the one after.
    pub from: u16,
    /// The step; `None` if the body is not of that version.
    pub apply: fn(rmpv::Value) -> Option<rmpv::Value>,
}

/// Decodes an event of any version, lifted step by step to the current one.
///
/// # Errors
/// When a step is missing or the bytes are not the event.
pub fn decode_versioned<T: DeserializeOwned>(
    name: Name,
    version: u16,
    current: u16,
    upcasters: &[Upcaster],
    bytes: &[u8],
) -> Result<T, Error> {
    if version == current {
        return decode_event(bytes);
    }
    let mut value: rmpv::Value = decode_event(bytes)?;
    for from in version..current {
        let step = upcasters.iter().find(|upcaster| upcaster.name == name && upcaster.from == from);
        value = step.and_then(|step| (step.apply)(value)).ok_or(Error::Upcast { name, version: from })?;
    }
    decode_event(&encode_event(&value)?)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Event {
        Renamed { name: String },
    }

    #[test]
    fn an_event_is_written_as_it_always_was() {
        let bytes = encode_event(&Event::Renamed { name: "Acme".to_owned() }).unwrap();
        assert_eq!(bytes, b"\x81\xa7renamed\x81\xa4name\xa4Acme");
        assert_eq!(decode_event::<Event>(&bytes).unwrap(), Event::Renamed { name: "Acme".to_owned() });
    }

    #[test]
    fn an_old_event_is_lifted_to_the_current_version() {
        let old = b"\x81\xa7renamed\x81\xa5title\xa4Acme";
        let upcaster = Upcaster {
            name: Name::new("renamed"),
            from: 1,
            apply: |value| {
                let title = value.as_map()?.first()?.1.as_map()?.first()?.1.clone();
                let fields = rmpv::Value::Map(vec![("name".into(), title)]);
                Some(rmpv::Value::Map(vec![("renamed".into(), fields)]))
            },
        };
        let event: Event = decode_versioned(Name::new("renamed"), 1, 2, &[upcaster], old).unwrap();
        assert_eq!(event, Event::Renamed { name: "Acme".to_owned() });
        assert!(decode_versioned::<Event>(Name::new("renamed"), 1, 3, &[upcaster], old).is_err());
    }
}
