//! The part of a read's answer that is still to come, from whichever node.

use bytes::Bytes;
use futures_util::FutureExt;
use quorate_proto::wire::BatchDecoder;
use quorate_proto::wire::v1::read_response::Message;
use quorate_proto::wire::v1::{ReadPoint, ReadRequest as WireRequest, ReadResponse};
use quorate_proto::{
    self as proto, Direction, Invalid, Problem, RecordedEvent, RecordedSnapshot, Source,
};

use crate::resume::{Answering, EventsNode};
use crate::trouble::not_understood;

/// A read that asks for the events that have not come yet, and the snapshot that all of them follow.
///
/// Invariant: every event that came is outside of the read's bounds, and is not counted in its limit.
#[derive(Debug)]
pub(crate) struct Remaining {
    pub(crate) read: proto::Read,
    pub(crate) snapshot: Option<RecordedSnapshot>,
    pub(crate) snapshot_schema_passed_over: Option<u32>,
    decoder: BatchDecoder,
}

impl Remaining {
    pub(crate) fn new(read: proto::Read) -> Result<Remaining, Invalid> {
        read.check()?;
        let decoder = BatchDecoder::default();
        Ok(Remaining { read, snapshot: None, snapshot_schema_passed_over: None, decoder })
    }

    pub(crate) fn is_exhausted(&self) -> bool {
        self.read.limit == Some(0)
    }

    /// Returns true if the bounds are versions of one stream; else they are positions.
    pub(crate) fn is_of_stream(&self) -> bool {
        matches!(self.read.source, Source::Stream { .. })
    }

    pub(crate) fn request(
        &self,
        mut node: EventsNode,
        time_left_ms: u64,
    ) -> Answering<ReadResponse> {
        let request = WireRequest { time_left_ms, ..self.read.clone().into() };
        async move { node.read(request).await }.boxed()
    }

    /// Returns the point that a node's answer begins with, and takes in the snapshot there: it is requested once, and
    /// the nodes after the first send the events after it.
    pub(crate) fn begin(&mut self, first: ReadResponse) -> Result<ReadPoint, Problem> {
        let Some(Message::Point(mut point)) = first.message else {
            return Err(not_understood("the answer does not begin with its point"));
        };
        if std::mem::take(&mut self.read.with_snapshot) {
            self.read.snapshot_schema_max = None;
            let schema = point.snapshot_schema_passed_over;
            self.snapshot_schema_passed_over = (schema > 0).then_some(schema);
            if let Some(snapshot) = point.snapshot.take() {
                let snapshot = RecordedSnapshot::try_from(snapshot)
                    .map_err(|invalid| not_understood(&invalid.to_string()))?;
                self.read.bounds.after = snapshot.version.0;
                self.snapshot = Some(snapshot);
            }
        }
        Ok(point)
    }

    /// Returns the events of a batch, which are not taken in yet.
    pub(crate) fn decode(&mut self, batch: &Bytes) -> Result<Vec<RecordedEvent>, Problem> {
        let events = self.decoder.decode(batch);
        events.map_err(|invalid| not_understood(&invalid.to_string()))
    }

    /// Takes in an event, which from now on is not requested any more.
    pub(crate) fn take(&mut self, event: &RecordedEvent) -> Result<(), Problem> {
        let number = if self.is_of_stream() { event.version.0 } else { event.position.0 };
        let bounds = &mut self.read.bounds;
        if number <= bounds.after || bounds.before.is_some_and(|before| number >= before) {
            return Err(not_understood("an event came twice, or out of order"));
        }
        match self.read.direction {
            Direction::Forwards => bounds.after = number,
            Direction::Backwards => bounds.before = Some(number),
        }
        if let Some(limit) = &mut self.read.limit {
            *limit = limit.saturating_sub(1);
        }
        Ok(())
    }
}
