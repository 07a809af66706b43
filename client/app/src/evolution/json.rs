//! Events as JSON: an enum whose variants are named like event types.

use quorate_client::{DecodeError, Event, EventError, RecordedEvent};
use serde::Serialize;
use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer,
    VariantAccess, Visitor,
};

use super::set::EventSet;
use super::upcast::{self, NoWay, Upcast};

/// Makes an [`EventSet`] of an enum with serde's usual form: each variant names its type, and its fields are the data,
/// as JSON. `#[serde(rename = "…")]` names a type otherwise than its variant, and `#[serde(alias = "…")]` reads an old
/// name as well.
///
/// ```
/// use quorate_app::evolution::{EventSet, JsonEvents};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// enum OrderEvent {
///     OrderPlaced { total: u64 },
///     #[serde(rename = "OrderPaid")]
///     Paid(u64),
/// }
///
/// impl JsonEvents for OrderEvent {
///     fn tags(&self) -> Vec<String> {
///         match self {
///             OrderEvent::OrderPlaced { total } if *total >= 1_000 => vec!["large".into()],
///             _ => Vec::new(),
///         }
///     }
/// }
///
/// # fn main() -> Result<(), quorate_client::EventError> {
/// assert_eq!(OrderEvent::types(), ["OrderPlaced", "OrderPaid"]);
/// assert_eq!(OrderEvent::Paid(50).encode()?.kind().as_str(), "OrderPaid");
/// # Ok(()) }
/// ```
pub trait JsonEvents: Serialize + DeserializeOwned {
    /// The steps from older schemas and names to those of this enum.
    const UPCASTS: &'static [Upcast] = &[];

    /// Returns the tags that the event is written with, by which queries find it.
    fn tags(&self) -> Vec<String> {
        Vec::new()
    }
}

impl<E: JsonEvents> EventSet for E {
    fn encode(&self) -> Result<Event, EventError> {
        let event = Event::typed(self)?;
        let schema = upcast::newest(E::UPCASTS, event.kind().as_str());
        Ok(self.tags().into_iter().fold(event.schema(schema), Event::tag))
    }

    fn decode(event: &RecordedEvent) -> Result<Option<E>, DecodeError> {
        let (kind, schema) = (event.kind.as_str(), event.schema);
        let current = match upcast::upcast(E::UPCASTS, kind, schema, &event.data) {
            Ok(current) => current,
            // A type that the set does not have is none of its matter, whatever its schema.
            Err(NoWay::Newer { .. }) if !E::types().contains(&kind) => return Ok(None),
            Err(no_way) => return Err(event.undecoded(no_way)),
        };
        read(current.kind, &current.data).map_err(|error| event.undecoded(error))
    }

    fn types() -> Vec<&'static str> {
        let mut types = Vec::new();
        // The enum names its variants when it asks for one, and then gets none.
        let _ = E::deserialize(Variants(&mut types));
        types.extend(upcast::old_names(E::UPCASTS));
        types
    }
}

/// Reads an event as an enum with one variant for each type of event that matters, its data as JSON. Returns `None`
/// if the enum has no variant of that name. [`Event::typed`](quorate_client::Event::typed) does the reverse: it makes
/// an event of such a variant. It knows no upcasts, and does not look at the schema; an [`EventSet`] does.
///
/// ```
/// use quorate_app::evolution::typed;
///
/// #[derive(serde::Deserialize)]
/// enum OrderEvent {
///     OrderPlaced { total: u64 },
///     #[serde(rename = "OrderPaid")]
///     Paid(Payment),
///     OrderClosed {},
/// }
///
/// #[derive(serde::Deserialize)]
/// struct Payment {
///     amount: u64,
/// }
///
/// fn added(event: &quorate_client::RecordedEvent) -> Result<u64, quorate_client::DecodeError> {
///     Ok(match typed(event)? {
///         Some(OrderEvent::OrderPlaced { total }) => total,
///         Some(OrderEvent::Paid(payment)) => payment.amount,
///         Some(OrderEvent::OrderClosed {}) | None => 0,
///     })
/// }
/// # let _ = added;
/// ```
pub fn typed<E: DeserializeOwned>(event: &RecordedEvent) -> Result<Option<E>, DecodeError> {
    read(event.kind.as_str(), &event.data).map_err(|error| event.undecoded(error))
}

/// Reads the variant of that name from its data; `None` if the enum has none.
fn read<E: DeserializeOwned>(kind: &str, data: &[u8]) -> Result<Option<E>, serde_json::Error> {
    let mut is_unknown = false;
    match E::deserialize(Named { kind, data, is_unknown: &mut is_unknown }) {
        Ok(typed) => Ok(Some(typed)),
        Err(_) if is_unknown => Ok(None),
        Err(error) => Err(error),
    }
}

/// An event in the form of an enum for the deserializer: the type names the variant, the data is its content.
struct Named<'a> {
    kind: &'a str,
    data: &'a [u8],
    /// Set to true when the enum has no variant of that name.
    is_unknown: &'a mut bool,
}

impl<'de> Deserializer<'de> for Named<'_> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_enum(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de, 'a> EnumAccess<'de> for Named<'a> {
    type Error = serde_json::Error;
    type Variant = Data<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self::Variant), Self::Error> {
        let name: StrDeserializer<'_, serde_json::Error> = self.kind.into_deserializer();
        match seed.deserialize(name) {
            Ok(variant) => Ok((variant, Data(self.data))),
            Err(error) => {
                *self.is_unknown = true;
                Err(error)
            }
        }
    }
}

struct Data<'a>(&'a [u8]);

impl Data<'_> {
    /// Reads the data as JSON, to its end.
    fn read<T>(
        self,
        read: impl FnOnce(
            &mut serde_json::Deserializer<serde_json::de::IoRead<&[u8]>>,
        ) -> Result<T, serde_json::Error>,
    ) -> Result<T, serde_json::Error> {
        let mut json = serde_json::Deserializer::from_reader(self.0);
        let value = read(&mut json)?;
        json.end()?;
        Ok(value)
    }
}

impl<'de> VariantAccess<'de> for Data<'_> {
    type Error = serde_json::Error;

    /// A variant without content ignores the data.
    fn unit_variant(self) -> Result<(), Self::Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, Self::Error> {
        self.read(|json| seed.deserialize(json))
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.read(|json| json.deserialize_tuple(len, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.read(|json| json.deserialize_struct("event", fields, visitor))
    }
}

/// A deserializer that takes down the names of an enum's variants, and gives none.
struct Variants<'a>(&'a mut Vec<&'static str>);

impl<'de> Deserializer<'de> for Variants<'_> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(serde_json::Error::custom("only an enum has variants"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.extend(variants);
        Err(serde_json::Error::custom("only the names were wanted"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
