//! The contents of a tail: its events and their index.

use std::ops::Range;

use bytes::Bytes;
use quorate_proto::{EventId, Position, StreamName, Timestamp, Version};

use super::keys::Keys;
use super::ordinals::ordinal;
use super::streams::{StreamTail, Streams};
use crate::format::command::ParsedEvent;
use crate::format::{EventParts, Key, StoredEvent};
use crate::view::hash::{Hasher, Slots};

/// Invariants:
/// - Each posting is ascending, and each event is in the postings of all its keys ([`StoredEvent::keys`]).
/// - Slots and indexes lead to what is there: nothing is removed.
#[derive(Debug, Default)]
pub(super) struct Contents {
    events: Vec<TailEvent>,
    commands: Vec<TailCommand>,
    pub(super) streams: Streams,
    pub(super) keys: Keys,
    lineages: Lineages,
    /// The keys whose names can be listed, in the order in which they came.
    listed: Vec<Listed>,
}

/// An event without what it shares with others: a tail holds one clone of each command, not one of each event.
#[derive(Clone, Copy, Debug)]
struct TailEvent {
    id: EventId,
    version: Version,
    stream: u32,
    command: u32,
    body_at: u32,
    body_length: u32,
    begins: bool,
}

/// A command that holds the bodies of events, and the log time after it was stamped.
#[derive(Debug)]
struct TailCommand {
    bytes: Bytes,
    recorded_at: Timestamp,
    first: u32,
}

/// A key whose name can be listed: the slot of a stream, or of another key.
#[derive(Clone, Copy, Debug)]
enum Listed {
    Stream(u32),
    Other(u32),
}

/// The slots of the categories and paths of streams, found once for all streams of a lineage.
#[derive(Debug, Default)]
struct Lineages {
    slots: Slots,
    all: Vec<(Box<str>, Box<[u32]>)>,
}

impl TailEvent {
    /// Returns the place of the body in the command.
    fn body(&self) -> Range<usize> {
        self.body_at as usize..(self.body_at + self.body_length) as usize
    }
}

impl Contents {
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// Makes a command known, if it is not the last one; its events are added next.
    pub(super) fn begin(&mut self, command: &Bytes, recorded_at: Timestamp) {
        let is_known = |last: &TailCommand| {
            last.bytes.as_ptr() == command.as_ptr() && last.recorded_at == recorded_at
        };
        if !self.commands.last().is_some_and(is_known) {
            let (bytes, first) = (command.clone(), ordinal(self.events.len()));
            self.commands.push(TailCommand { bytes, recorded_at, first });
        }
    }

    /// Adds an event of the last command to the stream of a slot.
    pub(super) fn append(
        &mut self,
        hasher: &Hasher,
        stream: u32,
        id: EventId,
        event: &ParsedEvent<'_>,
        begins: bool,
    ) {
        let ordinal = ordinal(self.events.len());
        let (command, body_at) = self.place_of(event.body).expect("a part of the last command");
        let version = self.post_to_stream(hasher, stream, ordinal).expect("a slot that was given");
        self.events.push(TailEvent {
            id,
            version,
            stream,
            command,
            body_at,
            body_length: event.body.len() as u32,
            begins,
        });
        // An event with a type of the system stands in a stream of the system, which no other label finds.
        let is_system = event.labels.is_system();
        let labels = event.labels.iter().take(if is_system { 1 } else { usize::MAX });
        for (kind, name) in labels {
            let slot = self.slot(hasher, kind, name);
            self.keys.post(slot, ordinal);
        }
    }

    /// Returns the index of the last command, and the place of a part of it there.
    fn place_of(&self, body: &[u8]) -> Option<(u32, u32)> {
        let command = self.commands.len().checked_sub(1)?;
        let start = self.commands.get(command)?.bytes.as_ptr().addr();
        let at = u32::try_from(body.as_ptr().addr().checked_sub(start)?).ok()?;
        Some((ordinal(command), at))
    }

    fn post_to_stream(&mut self, hasher: &Hasher, slot: u32, ordinal: u32) -> Option<Version> {
        if self.streams.get(slot)?.lineage.is_none() {
            let name = self.streams.get(slot)?.name.clone();
            let lineage = self.lineage(hasher, &name);
            self.streams.get_mut(slot)?.lineage = Some(lineage);
            self.listed.push(Listed::Stream(slot));
        }
        let stream = self.streams.get_mut(slot)?;
        let version = stream.push(ordinal);
        let lineage = self.lineages.all.get(stream.lineage? as usize);
        for slot in lineage.iter().flat_map(|(_, above)| above) {
            self.keys.post(*slot, ordinal);
        }
        Some(version)
    }

    /// Returns the index of a stream's lineage.
    fn lineage(&mut self, hasher: &Hasher, stream: &StreamName) -> u32 {
        let lineage = stream.lineage();
        let hash = hasher.hash(lineage.as_bytes());
        let all = &self.lineages.all;
        let is_same = |at: u32| all.get(at as usize).is_some_and(|(other, _)| **other == *lineage);
        if let Some(at) = self.lineages.slots.find(hash, is_same) {
            return at;
        }
        let above =
            Key::above(stream).map(|key| self.slot(hasher, key.kind(), key.name())).collect();
        let at = ordinal(self.lineages.all.len());
        self.lineages.all.push((lineage.into(), above));
        self.lineages.slots.insert(hash, at);
        at
    }

    fn slot(&mut self, hasher: &Hasher, kind: u8, name: &str) -> u32 {
        let (slot, is_new) = self.keys.slot(hasher, kind, name);
        if is_new && kind <= Key::TYPE_KIND {
            self.listed.push(Listed::Other(slot));
        }
        slot
    }

    /// Returns the event at an ordinal of the tail that begins at `first`.
    pub(super) fn event(&self, ordinal: u32, first: Position) -> Option<StoredEvent> {
        let event = self.events.get(ordinal as usize)?;
        let command = self.commands.get(event.command as usize)?;
        Some(StoredEvent {
            position: first.plus(u64::from(ordinal)),
            stream: self.streams.get(event.stream)?.name.clone(),
            version: event.version,
            recorded_at: command.recorded_at,
            id: event.id,
            begins: event.begins,
            body: command.bytes.slice(event.body()),
        })
    }

    /// Returns the parts of all events of the tail that begins at `first`, in order.
    pub(super) fn events(&self, first: Position) -> impl ExactSizeIterator<Item = EventParts<'_>> {
        self.events.iter().enumerate().map(move |(ordinal, event)| {
            let command = self.commands.get(event.command as usize).expect("slots lead there");
            let stream = self.streams.get(event.stream).expect("slots lead there");
            EventParts {
                position: first.plus(ordinal as u64),
                stream: stream.name.as_str(),
                version: event.version,
                recorded_at: command.recorded_at,
                id: event.id,
                begins: event.begins,
                body: command.bytes.get(event.body()).unwrap_or_default(),
            }
        })
    }

    /// Returns the stream of an event.
    pub(super) fn stream_of(&self, ordinal: u32) -> Option<&StreamTail> {
        self.streams.get(self.events.get(ordinal as usize)?.stream)
    }

    /// Returns the ordinal of the first event of the first command whose time is not below a bound.
    pub(super) fn first_not(&self, is_before: impl Fn(Timestamp) -> bool) -> u32 {
        let command = self.commands.partition_point(|command| is_before(command.recorded_at));
        self.commands.get(command).map_or(ordinal(self.events.len()), |command| command.first)
    }

    /// Returns the posting of a key; empty if it has none.
    pub(super) fn ordinals(&self, hasher: &Hasher, key: &Key) -> &[u32] {
        match key {
            Key::Stream(stream) => self
                .streams
                .written(hasher, stream.as_str())
                .map(StreamTail::ordinals)
                .unwrap_or_default(),
            _ => self.posting(hasher, key).unwrap_or_default(),
        }
    }

    /// Returns the posting of a key that is no stream.
    pub(super) fn posting(&self, hasher: &Hasher, key: &Key) -> Option<&[u32]> {
        let slot = self.keys.find(hasher, key.kind(), key.name())?;
        self.keys.get(slot).map(|(_, ordinals)| ordinals.as_slice())
    }

    /// Returns the keys whose names can be listed, in the order in which they came, without the first `seen`.
    pub(super) fn listed(&self, seen: usize) -> impl Iterator<Item = Key> {
        let new = self.listed.get(seen..).unwrap_or_default();
        new.iter().filter_map(|listed| match listed {
            Listed::Stream(slot) => {
                self.streams.get(*slot).map(|stream| Key::Stream(stream.name.clone()))
            }
            Listed::Other(slot) => self.keys.get(*slot).map(|(key, _)| key.clone()),
        })
    }
}
