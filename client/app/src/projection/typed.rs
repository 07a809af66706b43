//! Events as types of the application: an enum whose variants are named like event types, or a function for each.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use quorate_client::{DecodeError, RecordedEvent};
use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, VariantAccess,
    Visitor,
};

use super::handler::{Handler, HandlerError};

/// Reads an event as an enum with one variant for each type of event that matters, its data as JSON. Returns `None`
/// if the enum has no variant of that name. [`Event::typed`](quorate_client::Event::typed) does the reverse: it makes
/// an event of such a variant.
///
/// ```
/// use quorate_app::projection::typed;
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
    let mut is_unknown = false;
    let named = Named { kind: event.kind.as_str(), data: &event.data, is_unknown: &mut is_unknown };
    match E::deserialize(named) {
        Ok(typed) => Ok(Some(typed)),
        Err(_) if is_unknown => Ok(None),
        Err(error) => Err(event.undecoded(error)),
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

/// The result of a function of [`Handlers`]: `Box::pin(async move { … })`.
pub type Applying<'a> = Pin<Box<dyn Future<Output = Result<(), HandlerError>> + Send + 'a>>;

type Apply<M> = Arc<dyn for<'a> Fn(&'a mut M, &'a RecordedEvent) -> Applying<'a> + Send + Sync>;
type SetUp<M> = Arc<dyn for<'a> Fn(&'a mut M) -> Applying<'a> + Send + Sync>;

/// A [`Handler`] put together from a function for each type of event.
///
/// ```
/// use quorate_app::projection::{Handlers, MemoryModel};
///
/// #[derive(serde::Deserialize)]
/// struct Paid {
///     total: u64,
/// }
///
/// let handlers = Handlers::<MemoryModel<u64>>::new().on("OrderPaid", |sum, _event, paid: Paid| {
///     Box::pin(async move {
///         **sum += paid.total;
///         Ok(())
///     })
/// });
/// # let _ = handlers;
/// ```
pub struct Handlers<M> {
    set_up: Option<SetUp<M>>,
    by_kind: HashMap<String, Apply<M>>,
    otherwise: Option<Apply<M>>,
}

opaque_debug!(Handlers<M>);

impl<M> Default for Handlers<M> {
    fn default() -> Handlers<M> {
        Handlers { set_up: None, by_kind: HashMap::new(), otherwise: None }
    }
}

impl<M: Send + 'static> Handlers<M> {
    /// Makes a handler that skips every event.
    pub fn new() -> Handlers<M> {
        Handlers::default()
    }

    /// Makes the empty model; see [`Handler::set_up`].
    #[must_use]
    pub fn set_up(
        mut self,
        set_up: impl for<'a> Fn(&'a mut M) -> Applying<'a> + Send + Sync + 'static,
    ) -> Handlers<M> {
        self.set_up = Some(Arc::new(set_up));
        self
    }

    /// Applies the events of a type, their data read as JSON; data that cannot be read is an error of that event.
    #[must_use]
    pub fn on<E: DeserializeOwned + Send + 'static>(
        mut self,
        kind: impl Into<String>,
        apply: impl for<'a> Fn(&'a mut M, &'a RecordedEvent, E) -> Applying<'a> + Send + Sync + 'static,
    ) -> Handlers<M> {
        let apply: Apply<M> = Arc::new(move |model, event| match event.json::<E>() {
            Ok(data) => apply(model, event, data),
            Err(error) => Box::pin(async move { Err(error.into()) }),
        });
        self.by_kind.insert(kind.into(), apply);
        self
    }

    /// Applies the events of all other types, which are skipped by default.
    #[must_use]
    pub fn otherwise(
        mut self,
        apply: impl for<'a> Fn(&'a mut M, &'a RecordedEvent) -> Applying<'a> + Send + Sync + 'static,
    ) -> Handlers<M> {
        self.otherwise = Some(Arc::new(apply));
        self
    }
}

impl<M: Send + 'static> Handler<M> for Handlers<M> {
    async fn set_up(&self, model: &mut M) -> Result<(), HandlerError> {
        match &self.set_up {
            Some(set_up) => set_up(model).await,
            None => Ok(()),
        }
    }

    async fn apply(&self, model: &mut M, event: &RecordedEvent) -> Result<(), HandlerError> {
        match self.by_kind.get(event.kind.as_str()).or(self.otherwise.as_ref()) {
            Some(apply) => apply(model, event).await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_client::{Event, StreamName, Timestamp};
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum OrderEvent {
        OrderPlaced {
            total: u64,
        },
        #[serde(rename = "OrderPaid")]
        Paid(Vec<u8>),
        OrderMoved(u8, String),
        OrderClosed,
    }

    fn recorded(event: Event) -> RecordedEvent {
        let stream = StreamName::new("order-42").expect("a name");
        event.recorded(17, stream, 3, Timestamp(0))
    }

    #[test]
    fn what_was_made_of_a_variant_is_read_as_that_variant() {
        for event in [
            OrderEvent::OrderPlaced { total: u64::MAX },
            OrderEvent::Paid(vec![1, 2]),
            OrderEvent::OrderMoved(7, "x\"y".to_owned()),
            OrderEvent::OrderClosed,
        ] {
            let made = recorded(Event::typed(&event).expect("an event"));
            assert_eq!(typed(&made).expect("readable"), Some(event));
        }
    }

    #[test]
    fn an_event_that_its_variant_cannot_hold_is_named() {
        let event = Event::new("OrderPlaced", r#"{"total":"x"}"#).expect("an event");
        let error = typed::<OrderEvent>(&recorded(event)).expect_err("no number").to_string();
        let named = "the data of `order-42` version 3 (position 17, type `OrderPlaced`)";
        assert!(error.starts_with(named), "{error}");
    }
}
