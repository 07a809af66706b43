//! The name and the contents of an enum's variant, as serde writes them.

use std::collections::BTreeMap;
use std::fmt;

use serde::ser::{self, Impossible, Serialize, Serializer};
use serde_json::value::RawValue;

/// The name of a variant, and its fields as JSON.
type Variant = (&'static str, Vec<u8>);

/// Returns the variant that a value is; `None` if the value is none that serde writes under its name.
pub(crate) fn variant_of<E: Serialize + ?Sized>(
    event: &E,
) -> Result<Option<Variant>, serde_json::Error> {
    let Err(Found(Some(name))) = event.serialize(Finder) else { return Ok(None) };
    let json = serde_json::to_string(event)?;
    if json.starts_with('"') {
        return Ok(Some((name, b"{}".to_vec())));
    }
    let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&json)?;
    Ok(fields.remove(name).map(|content| (name, content.get().as_bytes().to_vec())))
}

/// A serializer that stops at the first value that it gets.
struct Finder;

/// The name of the variant, if the first value is one.
#[derive(Debug)]
struct Found(Option<&'static str>);

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Found {}

impl ser::Error for Found {
    fn custom<T: fmt::Display>(_: T) -> Found {
        Found(None)
    }
}

/// Serializes values of these types as no variant.
macro_rules! none {
    ($($method:ident($kind:ty);)*) => {
        $(fn $method(self, _: $kind) -> Result<(), Found> {
            Err(Found(None))
        })*
    };
}

impl Serializer for Finder {
    type Ok = ();
    type Error = Found;
    type SerializeSeq = Impossible<(), Found>;
    type SerializeTuple = Impossible<(), Found>;
    type SerializeTupleStruct = Impossible<(), Found>;
    type SerializeTupleVariant = Impossible<(), Found>;
    type SerializeMap = Impossible<(), Found>;
    type SerializeStruct = Impossible<(), Found>;
    type SerializeStructVariant = Impossible<(), Found>;

    none! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
        serialize_unit_struct(&'static str);
    }

    fn serialize_unit(self) -> Result<(), Found> {
        Err(Found(None))
    }

    fn serialize_none(self) -> Result<(), Found> {
        Err(Found(None))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<(), Found> {
        Err(Found(None))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: &T,
    ) -> Result<(), Found> {
        Err(Found(None))
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
    ) -> Result<(), Found> {
        Err(Found(Some(name)))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: &T,
    ) -> Result<(), Found> {
        Err(Found(Some(name)))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Impossible<(), Found>, Found> {
        Err(Found(Some(name)))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Impossible<(), Found>, Found> {
        Err(Found(Some(name)))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Impossible<(), Found>, Found> {
        Err(Found(None))
    }

    fn serialize_tuple(self, _: usize) -> Result<Impossible<(), Found>, Found> {
        Err(Found(None))
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Impossible<(), Found>, Found> {
        Err(Found(None))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Impossible<(), Found>, Found> {
        Err(Found(None))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Impossible<(), Found>, Found> {
        Err(Found(None))
    }
}
