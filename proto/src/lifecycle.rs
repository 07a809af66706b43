//! Settings and the end of life of streams: each change is itself an event, in a stream of the system.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;
use crate::{
    Append, Category, Event, EventId, EventType, Expectation, Path, Requirement, Scope, StreamName,
    Write,
};

/// The type of the events that change settings.
pub const SETTINGS: &str = "$settings";
/// The type of the events that delete a stream.
pub const DELETED: &str = "$deleted";
/// The type of the events that close a stream for good.
pub const TOMBSTONED: &str = "$tombstoned";

const OF_STREAM: &str = "$$";
const OF_CATEGORY: &str = "$category/";
const OF_PATH: &str = "$path/";

impl Scope {
    /// Returns the stream of the system that holds the changes of this scope's settings: `$$NAME` for a
    /// stream, `$category/NAME`, `$path/NAME`.
    ///
    /// # Errors
    /// The name of that stream would be too long, or the scope is itself the system's.
    pub fn changes(&self) -> Result<StreamName, Invalid> {
        if self.as_str().starts_with('$') {
            return Err(Invalid::new("stream", format!("`{}` is the system's", self.as_str())));
        }
        let prefix = match self {
            Scope::Stream(_) => OF_STREAM,
            Scope::Category(_) => OF_CATEGORY,
            Scope::Path(_) => OF_PATH,
        };
        StreamName::new(format!("{prefix}{}", self.as_str()))
    }

    /// Returns the scope whose changes a stream of the system holds; `None` for any other stream.
    pub fn changed_by(stream: &StreamName) -> Option<Scope> {
        let name = stream.as_str();
        let scope = if let Some(name) = name.strip_prefix(OF_STREAM) {
            Scope::Stream(StreamName::new(name).ok()?)
        } else if let Some(name) = name.strip_prefix(OF_CATEGORY) {
            Scope::Category(Category::new(name).ok()?)
        } else {
            Scope::Path(Path::new(name.strip_prefix(OF_PATH)?).ok()?)
        };
        (!scope.as_str().starts_with('$')).then_some(scope)
    }
}

/// The change of one setting. On the wire and in events: absent, null, or a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Setting {
    /// The setting stays as it is.
    #[default]
    Keep,
    /// The setting is taken back: the next wider scope decides again. Events that it hid stay hidden.
    Clear,
    /// The setting has this value from now on.
    Put(u64),
}

impl Setting {
    fn is_kept(&self) -> bool {
        *self == Setting::Keep
    }
}

impl Serialize for Setting {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Setting::Put(value) => serializer.serialize_some(value),
            Setting::Keep | Setting::Clear => serializer.serialize_none(),
        }
    }
}

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Setting, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Setting::Clear, Setting::Put))
    }
}

/// A change of settings; those that are not named stay as they are. Events that a setting has removed never come back,
/// however the setting is changed later.
///
/// It is the data of a [`SETTINGS`] event, as JSON: `{"max_count":100,"max_age_us":null}`.
///
/// ```
/// use std::time::Duration;
/// use quorate_proto::SettingsChange;
/// let month = SettingsChange::new().max_age(Duration::from_secs(30 * 24 * 3600)).clear_max_count();
/// # let _ = month;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingsChange {
    /// The number of a stream's newest events that stay readable; at least 1.
    #[serde(default, skip_serializing_if = "Setting::is_kept")]
    pub max_count: Setting,
    /// The age by log time beyond which events are no longer readable, in microseconds; at least 1.
    #[serde(default, skip_serializing_if = "Setting::is_kept")]
    pub max_age_us: Setting,
    /// The first event that stays readable, as a version for a stream, as a position for a category or a
    /// path. It cannot be taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncate_before: Option<u64>,
}

impl SettingsChange {
    /// Returns a change that changes nothing yet.
    pub fn new() -> SettingsChange {
        SettingsChange::default()
    }

    /// Keeps only this number of the newest events of a stream; at least 1.
    #[must_use]
    pub fn max_count(self, events: u64) -> SettingsChange {
        SettingsChange { max_count: Setting::Put(events), ..self }
    }

    /// Removes events older than this, measured by the time of the newest entry of the log; at least a
    /// microsecond.
    #[must_use]
    pub fn max_age(self, age: Duration) -> SettingsChange {
        let max_age_us = Setting::Put(u64::try_from(age.as_micros()).unwrap_or(u64::MAX));
        SettingsChange { max_age_us, ..self }
    }

    /// Clears `max_count`: the setting of the nearest scope around counts again.
    #[must_use]
    pub fn clear_max_count(self) -> SettingsChange {
        SettingsChange { max_count: Setting::Clear, ..self }
    }

    /// Clears `max_age`: the setting of the nearest scope around counts again.
    #[must_use]
    pub fn clear_max_age(self) -> SettingsChange {
        SettingsChange { max_age_us: Setting::Clear, ..self }
    }

    /// Removes the events before this number: a version of a stream, or a position for a category or a path.
    /// It cannot be taken back.
    #[must_use]
    pub fn truncate_before(self, number: u64) -> SettingsChange {
        SettingsChange { truncate_before: Some(number), ..self }
    }

    /// Checks that there is something to change, and that no value is senseless.
    pub fn check(&self) -> Result<(), Invalid> {
        if *self == SettingsChange::default() {
            return Err(Invalid::new("settings", "change nothing"));
        }
        for (field, setting) in [("max_count", self.max_count), ("max_age", self.max_age_us)] {
            if setting == Setting::Put(0) {
                return Err(Invalid::new(field, "is 0; delete the stream instead"));
            }
        }
        if matches!(self.max_age_us, Setting::Put(age) if i64::try_from(age).is_err()) {
            return Err(Invalid::new("max_age", "is longer than 292,000 years"));
        }
        Ok(())
    }
}

/// The kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// Settings, of a stream, a category or a path.
    Settings(SettingsChange),
    /// A stream's events are gone; it can be appended to again, and numbering goes on.
    Delete,
    /// A stream's events are gone, and the name is closed for good.
    Tombstone,
}

/// A change of settings, or the end of life of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The scope of the change.
    pub scope: Scope,
    /// The demand on the stream; `Any` for a category or a path.
    pub expectation: Expectation,
    /// The id of the event that records the change; kept over repetitions.
    pub id: EventId,
    /// The kind of the change.
    pub kind: ChangeKind,
}

impl Change {
    /// Returns the append that makes the change: an event in the scope's stream of changes, and the
    /// expectation on the stream itself.
    pub fn to_append(&self) -> Result<Append, Invalid> {
        let is_stream = matches!(self.scope, Scope::Stream(_));
        let (kind, data) = match &self.kind {
            ChangeKind::Settings(change) => {
                change.check()?;
                (SETTINGS, serde_json::to_vec(change).expect("numbers can be written"))
            }
            _ if !is_stream => {
                return Err(Invalid::new("stream", "is missing: only a stream can be deleted"));
            }
            ChangeKind::Delete => (DELETED, Vec::new()),
            ChangeKind::Tombstone => (TOMBSTONED, Vec::new()),
        };
        let kind = EventType::new(kind).expect("a constant");
        let event = Event::new(self.id, kind, Bytes::from(data));
        let stream = self.scope.changes()?;
        let writes = vec![Write { stream, expectation: Expectation::Any, events: vec![event] }];
        let requirements = match &self.scope {
            Scope::Stream(stream) => {
                vec![Requirement { stream: stream.clone(), expectation: self.expectation }]
            }
            _ if self.expectation != Expectation::Any => {
                return Err(Invalid::new("expectation", "needs a stream"));
            }
            _ => Vec::new(),
        };
        Ok(Append { writes, requirements, ..Append::default() })
    }

    /// Returns the change that an append makes, if [`Change::to_append`] made the append.
    ///
    /// # Errors
    /// The append writes to a stream of the system, and is not such a change.
    pub fn of_append(append: &Append) -> Result<Option<Change>, Invalid> {
        if append.writes.iter().all(|write| !write.stream.is_system()) {
            return Ok(None);
        }
        let refuse = || Invalid::new("stream", "begins with `$`, which is kept for the system");
        let [write] = append.writes.as_slice() else { return Err(refuse()) };
        let [event] = write.events.as_slice() else { return Err(refuse()) };
        let scope = Scope::changed_by(&write.stream).ok_or_else(refuse)?;
        let expectation =
            append.requirements.first().map_or(Expectation::Any, |one| one.expectation);
        let kind = ChangeKind::of_event(event)?;
        let change = Change { scope, expectation, id: event.id, kind };
        if change.to_append()? != *append {
            return Err(refuse());
        }
        Ok(Some(change))
    }
}

impl ChangeKind {
    /// Returns the change that an event of a stream of changes records.
    pub fn of_event(event: &Event) -> Result<ChangeKind, Invalid> {
        match event.kind.as_str() {
            SETTINGS => serde_json::from_slice(&event.data)
                .map(ChangeKind::Settings)
                .map_err(|error| Invalid::new("settings", format!("are no settings: {error}"))),
            DELETED => Ok(ChangeKind::Delete),
            TOMBSTONED => Ok(ChangeKind::Tombstone),
            kind => {
                let why = format!("is `{kind}`, which a stream of the system does not take");
                Err(Invalid::new("type", why))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Version;

    fn change(scope: Scope, kind: ChangeKind) -> Change {
        let id = EventId::from_bytes([7; 16]).expect("an id");
        let expectation = match scope {
            Scope::Stream(_) => Expectation::Exactly(Version(3)),
            _ => Expectation::Any,
        };
        Change { scope, expectation, id, kind }
    }

    #[test]
    fn a_change_survives_being_an_append() {
        let stream = Scope::Stream(StreamName::new("acme/order-42").expect("a name"));
        let category = Scope::Category(Category::new("order").expect("a name"));
        let path = Scope::Path(Path::new("acme/eu").expect("a name"));
        let settings = SettingsChange { max_count: Setting::Put(5), ..SettingsChange::default() };
        let cleared = SettingsChange {
            max_age_us: Setting::Clear,
            truncate_before: Some(9),
            ..SettingsChange::default()
        };
        for (scope, kind, name) in [
            (stream.clone(), ChangeKind::Settings(settings), "$$acme/order-42"),
            (stream.clone(), ChangeKind::Delete, "$$acme/order-42"),
            (stream, ChangeKind::Tombstone, "$$acme/order-42"),
            (category, ChangeKind::Settings(cleared), "$category/order"),
            (path, ChangeKind::Settings(settings), "$path/acme/eu"),
        ] {
            let change = change(scope, kind);
            let append = change.to_append().expect("an append");
            assert_eq!(append.writes[0].stream.as_str(), name);
            assert!(append.check().is_err(), "no user may send it");
            assert_eq!(Change::of_append(&append), Ok(Some(change)));
        }
    }

    #[test]
    fn what_changes_nothing_or_cannot_be_is_refused() {
        let category = || Scope::Category(Category::new("order").expect("a name"));
        let zero = SettingsChange { max_count: Setting::Put(0), ..SettingsChange::default() };
        for kind in [
            ChangeKind::Delete,
            ChangeKind::Tombstone,
            ChangeKind::Settings(SettingsChange::default()),
            ChangeKind::Settings(zero),
        ] {
            assert!(change(category(), kind).to_append().is_err(), "{kind:?}");
        }
        let system = Scope::Stream(StreamName::new("$$order-1").expect("a name"));
        assert!(change(system, ChangeKind::Delete).to_append().is_err());
    }
}
