//! The state that the writer shares with the readers.

use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::View;
use super::window::Window;
use crate::group::Groups;
use crate::point::Point;

/// The state that the writer shares with the readers.
#[derive(Debug)]
pub(crate) struct Shared {
    published: RwLock<Published>,
    pub(crate) window: RwLock<Window>,
    groups: RwLock<Groups>,
}

/// The events that can be read now: those of the view up to the point.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(crate) view: Arc<View>,
    pub(crate) point: Point,
}

impl Shared {
    pub(crate) fn new(view: Arc<View>, point: Point, window: Window, groups: Groups) -> Shared {
        let published = RwLock::new(Published { view, point });
        Shared { published, window: RwLock::new(window), groups: RwLock::new(groups) }
    }

    /// The consumer groups after the newest entry, even if that entry is not published yet.
    pub(crate) fn groups(&self) -> RwLockReadGuard<'_, Groups> {
        self.groups.read().expect(NO_PANIC)
    }

    /// The consumer groups, to be changed; only the owner of the store may do so.
    pub(crate) fn groups_mut(&self) -> RwLockWriteGuard<'_, Groups> {
        self.groups.write().expect(NO_PANIC)
    }

    pub(crate) fn get(&self) -> Published {
        self.published.read().expect(NO_PANIC).clone()
    }

    pub(crate) fn point(&self) -> Point {
        self.published.read().expect(NO_PANIC).point
    }

    /// Publishes a new point, and the view if it is a new one.
    pub(crate) fn publish(&self, view: &Arc<View>, point: Point) {
        let mut published = self.published.write().expect(NO_PANIC);
        published.point = point;
        if !Arc::ptr_eq(&published.view, view) {
            published.view = view.clone();
        }
    }

    /// Publishes another log: that of an installed checkpoint.
    pub(crate) fn replace(&self, view: &Arc<View>, point: Point, window: Window) {
        let mut current = self.window.write().expect(NO_PANIC);
        *current = window;
        *self.published.write().expect(NO_PANIC) = Published { view: view.clone(), point };
    }
}

const NO_PANIC: &str = "nobody panics while holding the lock";
