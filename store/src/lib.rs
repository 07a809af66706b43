//! The event store on one disk: bytes, index, apply. Synchronous and deterministic, usable alone.
//!
//! It knows no Raft, no async runtime, no network, no clock and no randomness, and starts no thread: time
//! comes in with the command, and sealing is a step that somebody else drives.
//!
//! The owner of the log makes entries durable and gives them to [`Store::apply`], in order. When
//! [`Store::seal_due`], it runs the seal, wherever it likes; it need not keep entries that are sealed. After
//! a restart it applies again the entries after [`Store::applied`].
//!
//! ```
//! use std::path::Path;
//! use std::sync::Arc;
//!
//! use quorate_proto::{Append, Event, EventId, EventType, Expectation, LogId, Read, StreamName};
//! use quorate_proto::{Timestamp, limits::CHUNK_BYTES_DEFAULT};
//! use quorate_store::vfs::MemVfs;
//! use quorate_store::{Entry, Options, Payload, Store, Verdict, command};
//!
//! let vfs = Arc::new(MemVfs::new()); // or `OsVfs`, for a real folder
//! let chunk_bytes = CHUNK_BYTES_DEFAULT;
//! let options = Options {
//!     cluster: [7; 16],
//!     log: 0,
//!     chunk_bytes,
//!     hash_seed: [5; 16],
//!     head_cache_bytes: 4 << 20,
//!     block_cache_bytes: 64 << 20,
//!     catalog_cache_bytes: 32 << 20,
//!     filter_bytes: 16 << 20,
//! };
//! let mut store = Store::open(vfs, Path::new("/store"), options)?;
//!
//! let id = EventId::parse("0192f0c1-2345-7abc-8def-0123456789ab")?;
//! let paid = Event::new(id, EventType::new("OrderPaid")?, r#"{"total":50}"#);
//! let order = StreamName::new("order-42")?;
//! let append = Append::to(order.clone(), Expectation::None, vec![paid]);
//! append.check()?;
//!
//! let mut builder = command::Builder::new(Timestamp(1_700_000_000_000_000));
//! builder.push(&command::encode_append(&append));
//! let payload = Payload::Command(builder.finish());
//! let verdicts = store.apply(Entry { log_id: LogId::new(1, 0), payload })?;
//! assert!(matches!(&verdicts[..], [Verdict::Appended(done)] if done.first_position.0 == 1));
//!
//! let mut scan = store.reader().scan(&Read::stream(order))?;
//! while let Some(page) = scan.next_page(256 * 1024)? {
//!     for event in page {
//!         println!("{} {}", event.version, event.kind());
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod catalog;
mod checkpoint;
mod chunk;
#[doc(hidden)]
pub mod defect;
mod fault;
mod files;
mod format;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod group;
mod judge;
mod maintenance;
mod options;
mod point;
mod read;
mod retention;
mod store;
mod verdict;
pub mod vfs;
mod view;

pub use checkpoint::{Export, Install, Installed, Installer, Seal, Sealed};
pub use fault::Fault;
pub use files::ReadCounters;
pub use format::chunk::ChunkSummary;
pub use format::command;
#[doc(hidden)]
pub use format::{Input, Malformed, text};
pub use format::{Key, StoredEvent};
pub use group::GroupState;
pub use maintenance::{
    ChunkSource, Repair, Repaired, Report, Scavenge, ScavengeStep, Scavenged, Scrub, ScrubStep,
    verify,
};
pub use options::Options;
pub use point::Point;
pub use read::{NamePage, Prejudged, Reader, Scan, Settings, StreamState};
pub use store::{Entry, Payload, Retired, Store};
pub use verdict::{Rejection, Unsettled, Verdict};
