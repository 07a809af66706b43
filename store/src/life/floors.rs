//! The floors of streams as of a point, for one reader.

use std::sync::Arc;

use quorate_proto::{StreamName, Version};

use crate::event::StoredEvent;
use crate::fault::Fault;
use crate::read::Point;
use crate::view::View;

/// The floors of streams as of a point. Costs nothing while there are no records.
#[derive(Debug)]
pub(crate) struct Floors {
    view: Arc<View>,
    point: Point,
}

impl Floors {
    /// Floors by the records that were there at `point`.
    pub(crate) fn at(view: Arc<View>, point: Point) -> Floors {
        Floors { view, point }
    }

    /// Looks into another view of the same log from now on, so that the old one is given back.
    pub(crate) fn move_to(&mut self, view: Arc<View>) {
        self.view = view;
    }

    /// The first version of a stream that is not hidden; may be one more than its last.
    pub(crate) fn floor(&mut self, _stream: &StreamName) -> Result<Version, Fault> {
        let _ = (&self.view, &self.point);
        Ok(Version(1))
    }

    /// Whether an event is below the floor of its stream. Looks up less than [`Floors::floor`] does.
    pub(crate) fn is_hidden(&mut self, event: &StoredEvent) -> Result<bool, Fault> {
        Ok(event.version < self.floor(&event.stream)?)
    }
}
