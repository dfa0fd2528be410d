//! The fingerprint of a value's shape: names of structs, fields and variants, and kinds of primitives.
//!
//! Walking a value with serde meets all names of its type that its bytes depend on. Two types that meet the
//! same names in the same order read each other's compact bytes rightly; any other difference shows here.

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use xxhash_rust::xxh3::Xxh3;

/// The fingerprint; `None` if the value does not serialize.
pub(super) fn of<T: Serialize>(value: &T) -> Option<u64> {
    let mut shape = Shape(Xxh3::new());
    value.serialize(&mut shape).ok()?;
    Some(shape.0.digest())
}

struct Shape(Xxh3);

impl Shape {
    fn met(&mut self, word: &str) {
        self.0.update(word.as_bytes());
        self.0.update(b"\0");
    }
}

/// Serializing into a hash fails only where a type's own code does.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failed(String);

impl serde::ser::Error for Failed {
    fn custom<T: std::fmt::Display>(text: T) -> Self {
        Self(text.to_string())
    }
}

impl Serializer for &mut Shape {
    type Ok = ();
    type Error = Failed;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bool(self, _: bool) -> Result<(), Failed> {
        self.met("bool");
        Ok(())
    }

    fn serialize_i8(self, _: i8) -> Result<(), Failed> {
        self.met("i8");
        Ok(())
    }

    fn serialize_i16(self, _: i16) -> Result<(), Failed> {
        self.met("i16");
        Ok(())
    }

    fn serialize_i32(self, _: i32) -> Result<(), Failed> {
        self.met("i32");
        Ok(())
    }

    fn serialize_i64(self, _: i64) -> Result<(), Failed> {
        self.met("i64");
        Ok(())
    }

    fn serialize_i128(self, _: i128) -> Result<(), Failed> {
        self.met("i128");
        Ok(())
    }

    fn serialize_u8(self, _: u8) -> Result<(), Failed> {
        self.met("u8");
        Ok(())
    }

    fn serialize_u16(self, _: u16) -> Result<(), Failed> {
        self.met("u16");
        Ok(())
    }

    fn serialize_u32(self, _: u32) -> Result<(), Failed> {
        self.met("u32");
        Ok(())
    }

    fn serialize_u64(self, _: u64) -> Result<(), Failed> {
        self.met("u64");
        Ok(())
    }

    fn serialize_u128(self, _: u128) -> Result<(), Failed> {
        self.met("u128");
        Ok(())
    }

    fn serialize_f32(self, _: f32) -> Result<(), Failed> {
        self.met("f32");
        Ok(())
    }

    fn serialize_f64(self, _: f64) -> Result<(), Failed> {
        self.met("f64");
        Ok(())
    }

    fn serialize_char(self, _: char) -> Result<(), Failed> {
        self.met("char");
        Ok(())
    }

    fn serialize_str(self, _: &str) -> Result<(), Failed> {
        self.met("str");
        Ok(())
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), Failed> {
        self.met("bytes");
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Failed> {
        self.met("none");
        Ok(())
    }

    fn serialize_some<T: ?Sized + Serialize>(self, value: &T) -> Result<(), Failed> {
        self.met("some");
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Failed> {
        self.met("unit");
        Ok(())
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<(), Failed> {
        self.met(name);
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<(), Failed> {
        self.met(name);
        self.met(variant);
        self.0.update(&index.to_le_bytes());
        Ok(())
    }

    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Failed> {
        self.met(name);
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Failed> {
        (&mut *self).serialize_unit_variant(name, index, variant)?;
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Failed> {
        self.met("seq");
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Failed> {
        self.met("tuple");
        Ok(self)
    }

    fn serialize_tuple_struct(self, name: &'static str, _: usize) -> Result<Self, Failed> {
        self.met(name);
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self, Failed> {
        (&mut *self).serialize_unit_variant(name, index, variant)?;
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, Failed> {
        self.met("map");
        Ok(self)
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Self, Failed> {
        self.met(name);
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self, Failed> {
        (&mut *self).serialize_unit_variant(name, index, variant)?;
        Ok(self)
    }
}

macro_rules! elements {
    ($($compound:ident $element:ident),*) => {$(
        impl $compound for &mut Shape {
            type Ok = ();
            type Error = Failed;

            fn $element<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Failed> {
                value.serialize(&mut **self)
            }

            fn end(self) -> Result<(), Failed> {
                self.met("end");
                Ok(())
            }
        }
    )*};
}

elements!(
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field
);

macro_rules! fields {
    ($($compound:ident),*) => {$(
        impl $compound for &mut Shape {
            type Ok = ();
            type Error = Failed;

            fn serialize_field<T: ?Sized + Serialize>(&mut self, name: &'static str, value: &T) -> Result<(), Failed> {
                self.met(name);
                value.serialize(&mut **self)
            }

            fn end(self) -> Result<(), Failed> {
                self.met("end");
                Ok(())
            }
        }
    )*};
}

fields!(SerializeStruct, SerializeStructVariant);

impl SerializeMap for &mut Shape {
    type Ok = ();
    type Error = Failed;

    fn serialize_key<T: ?Sized + Serialize>(&mut self, key: &T) -> Result<(), Failed> {
        key.serialize(&mut **self)
    }

    fn serialize_value<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Failed> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Failed> {
        self.met("end");
        Ok(())
    }
}
