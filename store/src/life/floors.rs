//! The floors of streams as of a point, for one reader.

use quorate_proto::{StreamName, Version};

use crate::event::StoredEvent;
use crate::fault::Fault;
use crate::read::Point;
use crate::view::View;

/// The floors of streams as of a point. Costs nothing while there are no records.
///
/// It holds on to no view, so that a reader who stalls keeps no tail in memory: each call is given the view to
/// look into, which may become another one of the same log.
#[derive(Debug)]
pub(crate) struct Floors {
    point: Point,
}

impl Floors {
    /// Floors by the records that were there at `point`.
    pub(crate) fn at(point: Point) -> Floors {
        Floors { point }
    }

    /// The first version of a stream that is not hidden; may be one more than its last.
    pub(crate) fn floor(&mut self, _view: &View, _stream: &StreamName) -> Result<Version, Fault> {
        let _ = &self.point;
        Ok(Version(1))
    }

    /// Whether an event is below the floor of its stream. Looks up less than [`Floors::floor`] does.
    pub(crate) fn is_hidden(&mut self, view: &View, event: &StoredEvent) -> Result<bool, Fault> {
        Ok(event.version < self.floor(view, &event.stream)?)
    }
}
