//! Events as types of the application: an enum whose variants name the types, both ways, over all their schemas.
//!
//! ```
//! use quorate_app::evolution::{EventSet, JsonEvents, Upcast};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! enum OrderEvent {
//!     OrderPlaced { total: u64, currency: String },
//!     OrderPaid { total: u64 },
//! }
//!
//! impl JsonEvents for OrderEvent {
//!     const UPCASTS: &'static [Upcast] = &[
//!         // Orders had no currency before schema 2.
//!         Upcast::data("OrderPlaced", 1, |mut json| {
//!             json["currency"] = "EUR".into();
//!             json
//!         }),
//!         Upcast::rename("OrderSettled", "OrderPaid"),
//!     ];
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use quorate_client::{Event, StreamName, Timestamp};
//! # let recorded = |event: Event| -> Result<_, quorate_client::Invalid> {
//! #     Ok(event.recorded(1, StreamName::new("order-1")?, 1, Timestamp(0)))
//! # };
//! let old = recorded(Event::new("OrderPlaced", r#"{"total":50}"#)?)?; // schema 1, as written years ago
//! let placed = OrderEvent::OrderPlaced { total: 50, currency: "EUR".into() };
//! assert_eq!(OrderEvent::decode(&old)?, Some(placed));
//!
//! let new = OrderEvent::OrderPlaced { total: 7, currency: "USD".into() }.encode()?; // schema 2
//! assert_eq!(OrderEvent::decode(&recorded(new)?)?.map(|_| ()), Some(()));
//!
//! let foreign = recorded(Event::new("OrderShipped", "{}")?)?;
//! assert_eq!(OrderEvent::decode(&foreign)?, None); // the set has no such type
//! # Ok(()) }
//! ```
//!
//! One path decodes an event wherever it is read: a repository that loads and replays, a decision, a projection, a
//! consumer of a group (`OrderEvent::decode(&delivery.event)`) and a test all call [`EventSet::decode`]. So an upcast
//! that is declared with the set holds for all of them.
//!
//! **A change of shape.** A new field with `#[serde(default)]` needs nothing. Another shape is a new schema: add an
//! [`Upcast`] from the last schema to it, and events are written with the new schema from then on. A program of the
//! older shape that meets the new schema reports an error; it does not guess.
//!
//! **Events that nothing understands.** [`EventSet::decode`] returns `None`, and the reader decides: [`OnUnknown`] is
//! the setting of repositories and decisions, and [`OrRaw`] hands them out as they are.
//!
//! **Proof.** [`Golden`] files prove in a test that the events of all schemas can still be read.
//!
//! **Other codecs.** A set that is not JSON implements [`EventSet`] itself:
//!
//! ```
//! use quorate_app::evolution::EventSet;
//! use quorate_client::{DecodeError, Event, EventError, RecordedEvent};
//!
//! /// A level, as eight bytes.
//! struct Measured(u64);
//!
//! impl EventSet for Measured {
//!     fn encode(&self) -> Result<Event, EventError> {
//!         Ok(Event::new("Measured", self.0.to_be_bytes().to_vec())?.content_type("application/octet-stream"))
//!     }
//!
//!     fn decode(event: &RecordedEvent) -> Result<Option<Measured>, DecodeError> {
//!         if event.kind.as_str() != "Measured" {
//!             return Ok(None);
//!         }
//!         let bytes = <[u8; 8]>::try_from(&event.data[..]).map_err(|error| event.undecoded(error))?;
//!         Ok(Some(Measured(u64::from_be_bytes(bytes))))
//!     }
//!
//!     fn types() -> Vec<&'static str> {
//!         vec!["Measured"]
//!     }
//! }
//! # let _ = Measured(1).encode();
//! ```

mod golden;
mod json;
mod scenario;
mod set;
mod upcast;

pub use golden::Golden;
pub use json::{JsonEvents, typed};
pub use scenario::{Given, given};
pub use set::{EventSet, OnUnknown, OrRaw};
pub use upcast::Upcast;

pub(crate) use set::decode_known;

#[cfg(test)]
mod tests;
