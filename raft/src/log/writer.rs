//! The writer: takes the queued work, writes it as one batch, syncs it, and reports that it is durable.

use std::sync::Arc;

use quorate_store::Fault;
use quorate_store::defect::{Defect, is_present};
use quorate_store::vfs::File;
use tokio::time::Instant;

use super::Done;
use super::format::{BATCH_HEADER_BYTES, BatchBuilder, Place, Record};
use super::image::Image;
use super::segments::{Maintained, Segments};
use super::shared::{Needed, Shared, What, Work};

/// A point up to which a log was durable at some time. It only grows, even if a truncation takes entries back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reach {
    /// The newest batch that was durable; 0 if there was none.
    pub batch: u64,
    /// The segment that holds this batch.
    pub segment: u64,
    /// The start of the node that wrote this batch; 0 where starts are not counted.
    pub boot: u64,
}

/// The function that writes a reach to a place outside of the log, durably.
struct Keeper(Box<dyn FnMut(Reach) -> Result<(), Fault> + Send>);

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keeper")
    }
}

/// The writing end of the log's queue: repeat [`ready`](Self::ready) (or [`wait`](Self::wait)),
/// [`write`](Self::write), [`sync`](Self::sync), until one of them returns false or an error.
///
/// Invariants:
/// - at most one batch is written and not synced;
/// - `image` is the state that all batches written so far lead to;
/// - after the first fault nothing is written any more.
#[derive(Debug)]
pub struct LogWriter {
    shared: Arc<Shared>,
    segments: Segments,
    image: Image,
    /// The sequence number of the last batch written.
    sequence: u64,
    /// The place of the last batch written.
    previous: Place,
    in_flight: Option<InFlight>,
    /// The oldest segment that may hold entries that are still needed; the purges before it are durable.
    needed: u64,
    last_batch_bytes: u64,
    buffer: Vec<u8>,
    keeper: Option<Keeper>,
    /// The number of this start.
    boot: u64,
    /// The reach that the keeper got last.
    last_reach: Reach,
}

/// The batch that is written and not synced.
struct InFlight {
    file: Arc<dyn File>,
    written: Written,
    /// The ticket of the batch's first entry.
    ticket: u64,
    /// The lower bound of [`LogWriter::needed`] once the batch is durable.
    needed: u64,
    dones: Vec<Done>,
}

/// The place at which a batch was written.
struct Written {
    number: u64,
    /// The offsets of the batch's entries, in order.
    offsets: Vec<u64>,
}

impl std::fmt::Debug for InFlight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InFlight").field("number", &self.written.number).finish_non_exhaustive()
    }
}

/// The state with which the writer begins.
pub(super) struct Start {
    pub(super) image: Image,
    pub(super) sequence: u64,
    pub(super) previous: Place,
    pub(super) boot: u64,
}

impl LogWriter {
    pub(super) fn new(shared: Arc<Shared>, segments: Segments, start: Start) -> LogWriter {
        LogWriter {
            shared,
            segments,
            image: start.image,
            sequence: start.sequence,
            previous: start.previous,
            in_flight: None,
            needed: 0,
            last_batch_bytes: 0,
            buffer: Vec::new(),
            keeper: None,
            boot: start.boot,
            last_reach: Reach::default(),
        }
    }

    /// Writes and syncs the first batch of a start: `records`, whose entries have tickets from `ticket` on,
    /// take the place of the newest batch found.
    pub(super) fn begin(&mut self, records: &[Record], ticket: u64) -> Result<(), Fault> {
        let (file, written) = self.put_batch(records, true)?;
        let in_flight = InFlight { file, written, ticket, needed: 0, dones: Vec::new() };
        self.in_flight = Some(in_flight);
        self.sync_batch()?;
        self.segments.retire_unused()?;
        let first = self.shared.lock().entries.first_place();
        self.needed = first.map_or(self.segments.current_number(), |place| place.number);
        Ok(())
    }

    /// Calls `keep` with the point up to which the log is durable: now, with the first batch of every segment, and
    /// with every purge, which follows a checkpoint. A later start gets this point in its options, and so recognizes a
    /// log that lost its end or all of it. Only peers know of a loss of batches that came after this point.
    ///
    /// # Errors
    /// The errors of `keep` in this call; a later error of `keep` ends the log.
    pub fn keep_reach(
        &mut self,
        keep: impl FnMut(Reach) -> Result<(), Fault> + Send + 'static,
    ) -> Result<(), Fault> {
        self.keeper = Some(Keeper(Box::new(keep)));
        self.call_keeper(self.segments.current_number())
    }

    /// Notes that all batches so far are durable, the last of them in `segment`, and calls the keeper.
    fn call_keeper(&mut self, segment: u64) -> Result<(), Fault> {
        self.last_reach = Reach { batch: self.sequence, segment, boot: self.boot };
        self.keeper.as_mut().map_or(Ok(()), |Keeper(keep)| keep(self.last_reach))
    }

    /// Waits for something to do; returns false when the log failed, or when all handles are dropped and
    /// everything is written.
    pub async fn ready(&mut self) -> bool {
        loop {
            if let Some(answer) = self.has_something_to_do() {
                return answer;
            }
            self.shared.woken.notified().await;
        }
    }

    /// Does the same as [`ready`](Self::ready), but blocks the thread.
    pub fn wait(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        loop {
            if let Some(answer) = self.has_something_to_do() {
                return answer;
            }
            let inner = shared.lock();
            if !inner.has_work() && !inner.closed && inner.failed.is_none() {
                drop(shared.wait(inner));
            }
        }
    }

    /// Returns the result of `ready`, or `None` if it must wait.
    fn has_something_to_do(&self) -> Option<bool> {
        let inner = self.shared.lock();
        if inner.failed.is_some() {
            return Some(false);
        }
        if inner.has_work() || self.in_flight.is_some() {
            return Some(true);
        }
        if inner.closed {
            return Some(false);
        }
        self.segments.is_due(self.needed, inner.fills_ahead).then_some(true)
    }

    /// Writes the queued work as one batch, if there is any and the batch before is synced.
    ///
    /// # Errors
    /// The first fault of the log; it is final.
    pub fn write(&mut self) -> Result<(), Fault> {
        if self.in_flight.is_some() {
            return Ok(());
        }
        let (work, marks) = {
            let mut inner = self.shared.lock();
            if let Some(fault) = &inner.failed {
                return Err(fault.clone());
            }
            if !inner.has_work() {
                return Ok(());
            }
            (inner.take_batch(self.shared.batch_bytes), inner.take_marks())
        };
        let mut batch = Batch::default();
        work.into_iter().for_each(|work| batch.add(work));
        batch.records.extend(marks);
        if batch.records.is_empty() {
            // All batches before are durable: nothing is in flight.
            self.shared.lock().batch_flushed();
            batch.dones.into_iter().for_each(|done| done(Ok(())));
            return Ok(());
        }
        match self.put_batch(&batch.records, false) {
            Ok((file, written)) => {
                let needed = batch.purge.map_or(0, |needed| match needed {
                    Needed::From(number) => number,
                    Needed::OnlyNew => written.number,
                });
                let (ticket, dones) = (batch.ticket, batch.dones);
                self.in_flight = Some(InFlight { file, written, ticket, needed, dones });
                Ok(())
            }
            Err(fault) => Err(self.shared.fail(fault, batch.dones)),
        }
    }

    /// Makes the batch durable (fdatasync), then calls its [`Done`]s in order. Then does a limited step of
    /// work ahead of need: filling the next segment, or giving one back.
    ///
    /// # Errors
    /// The first fault of the log; it is final.
    pub fn sync(&mut self) -> Result<(), Fault> {
        if let Some(fault) = &self.shared.lock().failed {
            return Err(fault.clone());
        }
        let done = self.sync_batch().and_then(|()| self.maintain());
        done.map_err(|fault| self.shared.fail(fault, Vec::new()))
    }

    fn sync_batch(&mut self) -> Result<(), Fault> {
        let Some(batch) = self.in_flight.take() else { return Ok(()) };
        let began_at = Instant::now();
        if let Err(error) = batch.file.sync_data() {
            let path = self.segments.path(batch.written.number);
            return Err(self.shared.fail(Fault::io("sync", &path)(error), batch.dones));
        }
        self.shared.sync_times.observe(began_at.elapsed());
        if batch.written.number != self.last_reach.segment || batch.needed > 0 {
            // This comes before any answer: every answered record of a new segment is within the reach.
            if let Err(fault) = self.call_keeper(batch.written.number) {
                return Err(self.shared.fail(fault, batch.dones));
            }
        }
        let count = batch.written.offsets.len() as u64;
        {
            let mut inner = self.shared.lock();
            inner.batch_flushed();
            if count > 0 {
                inner.durable_ticket = inner.durable_ticket.max(batch.ticket + count - 1);
                inner.entries.settle(batch.written.number, batch.ticket, &batch.written.offsets);
                self.shared.publish_flushed(&inner);
            }
        }
        self.shared.drained.notify_waiters();
        self.needed = self.needed.max(batch.needed);
        for done in batch.dones {
            done(Ok(()));
        }
        Ok(())
    }

    fn maintain(&mut self) -> Result<(), Fault> {
        let fill = self.shared.lock().fills_ahead.then_some(self.last_batch_bytes);
        match self.segments.maintain(self.needed, fill)? {
            Maintained::Retired(number) => self.shared.forget_file(number),
            // The task that measures the room allows it again.
            Maintained::NoRoom => self.shared.lock().fills_ahead = false,
            Maintained::Nothing => {}
        }
        Ok(())
    }

    /// Encodes and writes one batch, which opens with the image where a segment begins, or if `with_image` is set.
    fn put_batch(
        &mut self,
        records: &[Record],
        with_image: bool,
    ) -> Result<(Arc<dyn File>, Written), Fault> {
        let records_bytes: u64 = records.iter().map(Record::size_bound).sum();
        let bound = BATCH_HEADER_BYTES as u64 + self.image.size_bound() + records_bytes;
        let seed_of = *self.segments.identity();
        let segment = self.segments.with_room(bound)?;
        let (number, start) = (segment.number, segment.end);
        let buffer = std::mem::take(&mut self.buffer);
        let mut batch = BatchBuilder::new(buffer, seed_of.seed(number));
        let flushed = self.image.end;
        if with_image || segment.is_fresh() {
            batch.push(&Record::Image(Box::new(self.image.clone())));
        }
        let mut offsets = Vec::new();
        for record in records {
            let offset = batch.push(record);
            if matches!(record, Record::Entry(_)) {
                offsets.push(start + offset);
            }
            if let Err(why) = self.image.apply(record) {
                return Err(Fault::damaged(&self.shared.directory, 0, why));
            }
        }
        let bytes = batch.finish(self.sequence + 1, self.previous, flushed);
        segment
            .file
            .write_at(&bytes, start)
            .map_err(|error| Fault::io("write", &self.shared.segment_path(number))(error))?;
        segment.end += bytes.len() as u64;
        self.last_batch_bytes = bytes.len() as u64;
        self.sequence += 1;
        self.previous = Place { number, offset: start };
        self.buffer = bytes;
        Ok((Arc::clone(&segment.file), Written { number, offsets }))
    }
}

impl Drop for LogWriter {
    /// Answers all waiting work with a fault, because nobody will write it.
    fn drop(&mut self) {
        let dones = self.in_flight.take().map_or(Vec::new(), |batch| batch.dones);
        let stopped = std::io::Error::other("the writer of the log has stopped");
        self.shared.fail(Fault::io("write", &self.shared.directory)(stopped), dones);
    }
}

/// The contents of one batch.
#[derive(Default)]
struct Batch {
    records: Vec<Record>,
    dones: Vec<Done>,
    ticket: u64,
    purge: Option<Needed>,
}

impl Batch {
    fn add(&mut self, work: Work) {
        self.dones.extend(work.done);
        match work.what {
            What::Append { entries, ticket } => {
                if self.ticket == 0 {
                    self.ticket = ticket;
                }
                self.records.extend(entries.into_iter().map(Record::Entry));
            }
            What::Vote(_) if is_present(Defect::LostVote) => {}
            What::Vote(vote) => self.records.push(Record::Vote(vote)),
            What::Truncate(truncation) => self.records.push(Record::Truncated(truncation)),
            What::Purge { to, needed } => {
                self.records.push(Record::Purged(to));
                self.purge = Some(needed);
            }
            What::Install(id) => self.records.push(Record::Install(id)),
            What::Barrier => {}
        }
    }
}
