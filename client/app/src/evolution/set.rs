//! A set of events as a type of the application, and the events that are none of it.

use quorate_client::{DecodeError, Event, EventError, RecordedEvent};

/// A set of events as a type of the application, usually an enum with a variant for each type of event.
///
/// [`JsonEvents`](super::JsonEvents) implements it for an enum with serde's `Serialize` and `Deserialize`.
///
/// ```
/// use quorate_app::evolution::EventSet;
/// use quorate_client::{Client, DecodeError, Problem, Query};
///
/// /// Reads all events of a set, in the order of the log.
/// async fn all<E: EventSet>(client: &Client) -> Result<Vec<E>, Box<dyn std::error::Error>> {
///     let found = client.read(Query::of_types(E::types())).collect().await?;
///     let decoded = found.events.iter().filter_map(|event| E::decode(event).transpose());
///     Ok(decoded.collect::<Result<Vec<E>, DecodeError>>()?)
/// }
/// # fn main() {}
/// ```
pub trait EventSet: Sized {
    /// Makes the event, in the newest schema of its type.
    fn encode(&self) -> Result<Event, EventError>;

    /// Reads an event of any schema; `None` if the set has no such type.
    ///
    /// # Errors
    /// The type is one of the set, and its data cannot be read, or is of a schema newer than this program knows.
    fn decode(event: &RecordedEvent) -> Result<Option<Self>, DecodeError>;

    /// Returns the names of all types that the set reads, for queries and golden files.
    fn types() -> Vec<&'static str>;
}

/// The action on an event of a type that the set does not have.
///
/// ```no_run
/// # use quorate_app::decider::{Decider, Repository};
/// # fn example<D: Decider>(client: quorate_client::Client) -> Repository<D> {
/// use quorate_app::evolution::OnUnknown;
/// // Orders may have events of other programs, which mean nothing here.
/// Repository::<D>::new(client).on_unknown(OnUnknown::Skip)
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnknown {
    /// It is an error: a state without that event might be wrong.
    #[default]
    Error,
    /// It is passed over.
    Skip,
}

/// Either an event of a set, or one that is not of the set, as it is. As the event of a decider, a decision or a
/// projection it hands out what nothing understands.
///
/// ```
/// use quorate_app::evolution::{EventSet, JsonEvents, OrRaw};
/// use quorate_client::{DecodeError, RecordedEvent};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// enum OrderEvent {
///     OrderPlaced { total: u64 },
/// }
///
/// impl JsonEvents for OrderEvent {}
///
/// fn describe(event: &RecordedEvent) -> Result<String, DecodeError> {
///     Ok(match OrRaw::<OrderEvent>::decode(event)? {
///         Some(OrRaw::Event(OrderEvent::OrderPlaced { total })) => format!("an order of {total}"),
///         Some(OrRaw::Raw(event)) => format!("{} bytes of type {}", event.data.len(), event.kind),
///         None => unreachable!("raw takes everything"),
///     })
/// }
/// # let _ = describe;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrRaw<E> {
    /// An event of the set.
    Event(E),
    /// An event of a type that the set does not have.
    Raw(Box<RecordedEvent>),
}

impl<E: EventSet> EventSet for OrRaw<E> {
    fn encode(&self) -> Result<Event, EventError> {
        match self {
            OrRaw::Event(event) => event.encode(),
            OrRaw::Raw(recorded) => Ok(recorded.event.clone().into()),
        }
    }

    fn decode(event: &RecordedEvent) -> Result<Option<OrRaw<E>>, DecodeError> {
        let decoded = E::decode(event)?;
        Ok(Some(decoded.map_or_else(|| OrRaw::Raw(Box::new(event.clone())), OrRaw::Event)))
    }

    fn types() -> Vec<&'static str> {
        E::types()
    }
}

/// Reads an event of a set; `None` if it is to be passed over.
pub(crate) fn decode_known<E: EventSet>(
    event: &RecordedEvent,
    on_unknown: OnUnknown,
) -> Result<Option<E>, DecodeError> {
    match (E::decode(event)?, on_unknown) {
        (None, OnUnknown::Error) => {
            Err(event.undecoded("no event of the application has this type"))
        }
        (decoded, _) => Ok(decoded),
    }
}
