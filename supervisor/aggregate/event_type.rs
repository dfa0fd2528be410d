//! The type of an event: the name of its variant, as serde writes it, without serializing the event.

use prognet_storage::Name;
use serde::ser::{Error, Impossible, Serialize, Serializer};

/// The name of the variant; empty for what is no enum, which no aggregate has as its event.
pub(crate) fn event_type<E: Serialize>(event: &E) -> Name {
    match event.serialize(Variant) {
        Err(Met::Variant(name)) => Name::parse(name).unwrap_or_default(),
        Err(Met::Other) | Ok(()) => Name::default(),
    }
}

/// Stops at the first thing it meets and carries it out as the error.
struct Variant;

#[derive(Debug, thiserror::Error)]
enum Met {
    #[error("the variant `{0}`")]
    Variant(&'static str),
    #[error("no variant")]
    Other,
}

impl Error for Met {
    fn custom<T: std::fmt::Display>(_: T) -> Self {
        Self::Other
    }
}

macro_rules! other {
    ($($method:ident($($argument:ty),*) -> $ok:ty;)*) => {$(
        fn $method(self, $(_: $argument),*) -> Result<$ok, Met> {
            Err(Met::Other)
        }
    )*};
}

type Never = Impossible<(), Met>;

impl Serializer for Variant {
    type Ok = ();
    type Error = Met;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Met> {
        Err(Met::Variant(variant))
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: &T,
    ) -> Result<(), Met> {
        Err(Met::Variant(variant))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Never, Met> {
        Err(Met::Variant(variant))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Never, Met> {
        Err(Met::Variant(variant))
    }

    fn serialize_some<T: ?Sized + Serialize>(self, _: &T) -> Result<(), Met> {
        Err(Met::Other)
    }

    fn serialize_newtype_struct<T: ?Sized + Serialize>(self, _: &'static str, inner: &T) -> Result<(), Met> {
        inner.serialize(self)
    }

    other! {
        serialize_bool(bool) -> ();
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_i64(i64) -> ();
        serialize_u8(u8) -> ();
        serialize_u16(u16) -> ();
        serialize_u32(u32) -> ();
        serialize_u64(u64) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_str(&str) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_seq(Option<usize>) -> Never;
        serialize_tuple(usize) -> Never;
        serialize_tuple_struct(&'static str, usize) -> Never;
        serialize_map(Option<usize>) -> Never;
        serialize_struct(&'static str, usize) -> Never;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Event {
        SignedOut,
        Renamed { _name: &'static str },
        Moved(u8),
        Resized(u8, u8),
    }

    #[test]
    fn the_type_of_an_event_is_its_variant_as_serde_writes_it() {
        let events =
            [Event::SignedOut, Event::Renamed { _name: "acme" }, Event::Moved(1), Event::Resized(1, 2)];
        let names = events.map(|event| event_type(&event).as_str().to_owned());
        assert_eq!(names, ["signed_out", "renamed", "moved", "resized"]);
        assert_eq!(event_type(&7), Name::default());
    }
}
