//! The client library of Quorate, a replicated event store.
//!
//! ```no_run
//! use quorate_client::{AppendError, Client, Event, Expect};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(["127.0.0.1:7701", "127.0.0.1:7702", "127.0.0.1:7703"]).await?;
//!
//! let order = client.read("order-42").collect().await?; // events, version, as_of
//! let paid = Event::json("OrderPaid", &serde_json::json!({ "total": 50 }))?
//!     .tag("customer:7")
//!     .correlation("cmd-91");
//!
//! match client.append("order-42", Expect::version(order.version), [paid]).await {
//!     Ok(done) => println!("version {}, position {}", done.version, done.position),
//!     Err(AppendError::Conflict(c)) => println!("{c}: decide again"),
//!     Err(AppendError::Unknown(append)) => println!("ask again later: {append}"),
//!     Err(other) => return Err(other.into()),
//! }
//! # Ok(()) }
//! ```
//!
//! An append ends in one of three ways. *Appended*: it is on the disks of a majority of the nodes.
//! *Rejected*: it is certainly not in the log, and will not be. *Unknown*: it may be there. The client
//! resolves an unknown outcome by sending the same ids again, to whichever node leads, until its deadline
//! (ten seconds by default); an append that stays unknown is handed back as a value, which [`Client::repeat`]
//! sends again. A version-checked append is never appended twice by this; one without an expectation is
//! recognized among the newest four million events.
//!
//! A decision that rests on more than one stream is made from a query, and appended
//! [`unless`](Transaction::unless) an event that it finds came since.
//!
//! Reads go to any node and see every append that was acknowledged before; [`ReadRequest::at_least`]
//! and [`ReadRequest::local`] ask for less and wait for less.

#![deny(missing_debug_implementations)]

mod append;
mod ask;
mod client;
mod connection;
mod connector;
mod driver;
mod event;
mod event_stream;
mod group;
mod in_flight;
mod incoming;
mod json;
mod members;
mod membership;
mod names;
mod nodes;
mod outcome;
mod patience;
mod process;
mod query;
mod read;
mod remaining;
mod resume;
mod runners;
mod session;
mod settings;
mod snapshot;
mod status;
mod stored;
mod stream;
mod subscription;
mod transaction;
mod trouble;
mod url;
mod variant;

pub use append::{AppendError, Conflict, Done, UnknownAppend};
pub use client::{Builder, Client};
pub use connector::Transport;
pub use event::{Event, EventError};
pub use event_stream::{EventStream, Events};
pub use group::{
    ConsumeRequest, Consumer, CreateGroup, Delivery, Group, GroupConsumer, GroupRef, ParkedEvent,
    Settler,
};
pub use http;
pub use json::{EventJson, SnapshotJson, json_line};
pub use membership::MemberProgress;
pub use names::{ListRequest, NameStream};
pub use process::{ProcessManagerRef, parking};
pub use query::{Query, Source};
pub use quorate_proto::json::compact as compact_json;
pub use quorate_proto::{
    Consistency, CorrelationId, DecodeError, ErrorKind, EventId, EventType, Expectation as Expect,
    Failure, GroupSettings, Invalid, ListEntry, ListedStream, Outcome, Position, Problem,
    REPORTED_EVERY, RecordedEvent, RecordedSnapshot, Runner, RunnerKind, RunnerReport, RunnerState,
    SILENT_AFTER, Selection, SettingsChange as Settings, Strategy, StreamName, Tag, Timestamp,
    Version, Violation,
};
pub use read::{Place, ReadRequest};
pub use runners::Runners;
pub use settings::{ScopeState, SettingsInForce, StreamState};
pub use snapshot::Snapshot;
pub use status::{ClusterStatus, DamagedChunk, Founded, GroupLag, Member, NodeStatus, Scavenged};
pub use stream::{ScopeRef, StreamRef};
pub use subscription::{Cursor, Message, Subscription};
pub use transaction::{Submitted, Transaction};
