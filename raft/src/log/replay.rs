//! The replay of a log's batches, and the checks that the result is complete.

use std::path::Path;

use quorate_proto::LogId;
use quorate_store::Fault;
use quorate_store::defect::{Defect, is_present};

use super::LogOptions;
use super::entries::Entries;
use super::format::{Place, Record};
use super::image::{Image, latest};
use super::scan::{ADVICE, Batch, Found};
use super::segments::segment_name;
use super::writer::Reach;

/// The state that batches lead to, applied oldest first.
#[derive(Debug)]
pub(super) struct Replay<'a> {
    directory: &'a Path,
    pub(super) image: Image,
    pub(super) entries: Entries,
    /// The ticket of the last entry added.
    pub(super) ticket: u64,
    /// The last of the entries that were written before the oldest batch, and neither purged nor truncated
    /// since. During the replay it may be set, until later batches purge or truncate these entries.
    missing: Option<LogId>,
}

impl<'a> Replay<'a> {
    pub(super) fn new(directory: &'a Path, cache_bytes: usize) -> Replay<'a> {
        let entries = Entries::new(cache_bytes);
        Replay { directory, image: Image::default(), entries, ticket: 0, missing: None }
    }

    /// Begins with the oldest batch there is: the image that it opens with stands for all before it.
    pub(super) fn begin(&mut self, oldest: &Batch) {
        if let Some(Found { record: Record::Image(image), .. }) = oldest.records.first() {
            self.image = (**image).clone();
            self.entries.begin_at(self.image.end.map_or(0, |end| end.index.0 + 1));
            self.missing = self.image.end;
            self.narrow_missing();
        }
    }

    /// Applies the next batch; this includes the oldest one.
    pub(super) fn add(&mut self, batch: &Batch) -> Result<(), Fault> {
        if batch.header.flushed != self.image.end {
            let describe = |id: Option<LogId>| id.map_or("nothing".to_owned(), |id| id.to_string());
            let (flushed, end) = (describe(batch.header.flushed), describe(self.image.end));
            let why = format!("{flushed} was durable before this batch, but the log ends at {end}");
            return Err(self.damaged(batch.place, &why));
        }
        for found in &batch.records {
            self.image.apply(&found.record).map_err(|why| self.damaged(batch.place, &why))?;
            let place = Place { number: batch.place.number, offset: found.offset };
            match &found.record {
                Record::Entry(entry) => {
                    self.ticket += 1;
                    let (id, kind) = (entry.id, entry.kind);
                    self.entries.push_found(id, kind, found.length, self.ticket, place);
                }
                Record::Truncated(truncation) => {
                    self.entries.truncate_after(truncation.end);
                    if latest(self.missing, truncation.end) == self.missing {
                        self.missing = truncation.end;
                    }
                    self.narrow_missing();
                }
                Record::Purged(id) => {
                    self.entries.purge(id.index.0);
                    self.narrow_missing();
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Clears `missing` if the missing entries are purged.
    fn narrow_missing(&mut self) {
        if latest(self.image.purged, self.missing) == self.image.purged {
            self.missing = None;
        }
    }

    /// Checks that all entries after the last purged one are there.
    pub(super) fn check_complete(&self, oldest: Place) -> Result<(), Fault> {
        match self.missing {
            Some(id) => {
                let why = format!("segments before it are missing that held entries up to {id}");
                Err(self.damaged(oldest, &why))
            }
            None => Ok(()),
        }
    }

    /// Checks that the newest batch is not before the last one that was known to be durable.
    pub(super) fn check_reaches(&self, newest: Option<&Batch>, reach: Reach) -> Result<(), Fault> {
        let newest = newest.map_or(0, |newest| newest.header.sequence);
        if newest >= reach.batch || is_present(Defect::NoReach) {
            return Ok(());
        }
        let end = match newest {
            0 => "is empty".to_owned(),
            newest => format!("ends with batch {newest}"),
        };
        let (batch, segment) = (reach.batch, segment_name(reach.segment));
        let why = format!("the log {end}, but batch {batch} was durable in `{segment}`");
        Err(Fault::damaged(self.directory, 0, format!("{why}; {ADVICE}")))
    }

    /// Checks that the log has seen all starts that wrote it, and not this one.
    pub(super) fn check_starts(&self, options: &LogOptions) -> Result<(), Fault> {
        let own = self.image.peers.get(&options.node).map_or(0, |own| own.boot);
        let (counted, this) = (options.reach.boot, options.boot);
        if own < counted && !is_present(Defect::NoReach) {
            let why =
                format!("the log ends with start {own} of the node, but start {counted} wrote it");
            let why = format!("{why}: it is an older copy; {ADVICE}");
            return Err(Fault::damaged(self.directory, 0, why));
        }
        if this > 0 && own >= this {
            let why =
                format!("the log was written by start {own} of the node, but `boot` counts this");
            let why = format!("{why} as start {this}: `boot` is an older copy; {ADVICE}");
            return Err(Fault::damaged(self.directory, 0, why));
        }
        Ok(())
    }

    /// Checks that the entries in the catalog were durable here.
    pub(super) fn check_covers(&self, covered: LogId) -> Result<(), Fault> {
        let reaches = |id: Option<LogId>| id.is_some_and(|id| id.index >= covered.index);
        if reaches(self.image.install) || reaches(self.image.end) {
            return Ok(());
        }
        let end = self.image.end.map_or("is empty".to_owned(), |end| format!("ends at {end}"));
        let why = format!("the log {end}, but the catalog covers {covered}, durable here before");
        Err(Fault::damaged(self.directory, 0, format!("{why}; {ADVICE}")))
    }

    fn damaged(&self, place: Place, why: &str) -> Fault {
        let path = self.directory.join(segment_name(place.number));
        Fault::damaged(&path, place.offset, format!("{why}; {ADVICE}"))
    }
}
