//! Scopes, and the changes of their settings, on the wire.

use bytes::Bytes;

use super::v1;
use super::v1::change::Change as WireChange;
use super::v1::scope::Scope as WireScope;
use crate::{
    Category, Change, ChangeKind, Expectation, Invalid, Path, Scope, Setting, SettingsChange,
    StreamName,
};

impl From<Scope> for v1::Scope {
    fn from(scope: Scope) -> v1::Scope {
        let name = scope.as_str().to_owned();
        let scope = match scope {
            Scope::Stream(_) => WireScope::Stream(name),
            Scope::Category(_) => WireScope::Category(name),
            Scope::Path(_) => WireScope::Path(name),
        };
        v1::Scope { scope: Some(scope) }
    }
}

impl TryFrom<Option<v1::Scope>> for Scope {
    type Error = Invalid;

    fn try_from(scope: Option<v1::Scope>) -> Result<Scope, Invalid> {
        match scope.and_then(|scope| scope.scope) {
            Some(WireScope::Stream(name)) => Ok(Scope::Stream(StreamName::new(name)?)),
            Some(WireScope::Category(name)) => Ok(Scope::Category(Category::new(name)?)),
            Some(WireScope::Path(name)) => Ok(Scope::Path(Path::new(name)?)),
            None => Err(Invalid::new("scope", "is missing: a stream, a category or a path")),
        }
    }
}

impl From<SettingsChange> for v1::SettingsChange {
    fn from(change: SettingsChange) -> v1::SettingsChange {
        let wire = |setting| match setting {
            Setting::Keep => None,
            Setting::Clear => Some(0),
            Setting::Put(value) => Some(value),
        };
        v1::SettingsChange {
            max_count: wire(change.max_count),
            max_age_us: wire(change.max_age_us),
            truncate_before: change.truncate_before,
        }
    }
}

impl From<v1::SettingsChange> for SettingsChange {
    fn from(change: v1::SettingsChange) -> SettingsChange {
        let setting = |wire| match wire {
            None => Setting::Keep,
            Some(0) => Setting::Clear,
            Some(value) => Setting::Put(value),
        };
        SettingsChange {
            max_count: setting(change.max_count),
            max_age_us: setting(change.max_age_us),
            truncate_before: change.truncate_before,
        }
    }
}

impl From<Change> for v1::Change {
    fn from(change: Change) -> v1::Change {
        let expectation = match change.scope {
            Scope::Stream(_) => Some(change.expectation.into()),
            Scope::Category(_) | Scope::Path(_) => None,
        };
        let what = match change.kind {
            ChangeKind::Settings(settings) => WireChange::Settings(settings.into()),
            ChangeKind::Delete => WireChange::Delete(v1::Empty {}),
            ChangeKind::Tombstone => WireChange::Tombstone(v1::Empty {}),
        };
        v1::Change {
            scope: Some(change.scope.into()),
            expectation,
            id: Bytes::copy_from_slice(change.id.as_bytes()),
            change: Some(what),
        }
    }
}

impl TryFrom<Option<v1::Change>> for Change {
    type Error = Invalid;

    /// Makes a change that [`Change::to_append`] can turn into an append.
    fn try_from(change: Option<v1::Change>) -> Result<Change, Invalid> {
        let change = change.ok_or_else(|| Invalid::new("change", "is missing"))?;
        let scope = Scope::try_from(change.scope)?;
        let expectation = match scope {
            Scope::Stream(_) => change.expectation.try_into()?,
            _ if change.expectation.is_some() => {
                return Err(Invalid::new("expectation", "needs a stream"));
            }
            _ => Expectation::Any,
        };
        let kind = match change.change {
            Some(WireChange::Settings(settings)) => ChangeKind::Settings(settings.into()),
            Some(WireChange::Delete(_)) => ChangeKind::Delete,
            Some(WireChange::Tombstone(_)) => ChangeKind::Tombstone,
            None => return Err(Invalid::new("change", "is missing")),
        };
        let change = Change { scope, expectation, id: super::event::id_of(&change.id)?, kind };
        change.to_append()?;
        Ok(change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventId, Version};

    fn change(scope: Scope, kind: ChangeKind) -> Change {
        let expectation = match scope {
            Scope::Stream(_) => Expectation::Exactly(Version(3)),
            _ => Expectation::Any,
        };
        Change { scope, expectation, id: EventId::from_bytes([7; 16]).expect("an id"), kind }
    }

    fn stream() -> Scope {
        Scope::Stream(StreamName::new("acme/order-42").expect("a name"))
    }

    fn category() -> Scope {
        Scope::Category(Category::new("order").expect("a name"))
    }

    #[test]
    fn a_change_survives_its_way_over_the_wire() {
        let path = Scope::Path(Path::new("acme/eu").expect("a name"));
        let settings = |max_count, max_age_us, truncate_before| {
            ChangeKind::Settings(SettingsChange { max_count, max_age_us, truncate_before })
        };
        for change in [
            change(stream(), ChangeKind::Delete),
            change(stream(), ChangeKind::Tombstone),
            change(stream(), settings(Setting::Put(5), Setting::Clear, Some(9))),
            change(category(), settings(Setting::Keep, Setting::Put(1), None)),
            change(path, settings(Setting::Clear, Setting::Keep, Some(0))),
        ] {
            assert_eq!(Change::try_from(Some(v1::Change::from(change.clone()))), Ok(change));
        }
    }

    type Spoil = fn(&mut v1::Change);

    #[test]
    fn what_breaks_a_rule_is_refused_with_its_field() {
        let cases: [(&str, Spoil); 9] = [
            ("scope", |change| change.scope = None),
            ("scope", |change| change.scope = Some(v1::Scope { scope: None })),
            ("stream", |change| {
                let name = WireScope::Stream("$$order-1".into());
                change.scope = Some(v1::Scope { scope: Some(name) });
            }),
            ("stream", |change| change.scope = Some(category().into())),
            ("expectation", |change| change.expectation = None),
            ("id", |change| change.id = vec![7; 15].into()),
            ("change", |change| change.change = None),
            ("settings", |change| {
                change.change = Some(WireChange::Settings(v1::SettingsChange::default()));
            }),
            ("max_age", |change| {
                let settings =
                    v1::SettingsChange { max_age_us: Some(u64::MAX), ..Default::default() };
                change.change = Some(WireChange::Settings(settings));
            }),
        ];
        for (field, spoil) in cases {
            let mut wire = v1::Change::from(change(stream(), ChangeKind::Delete));
            spoil(&mut wire);
            if wire.scope == Some(category().into()) {
                wire.expectation = None;
            }
            let refused = Change::try_from(Some(wire)).expect_err(field);
            assert_eq!(refused.field, field, "{refused}");
        }
        let mut wire = v1::Change::from(change(category(), ChangeKind::Delete));
        wire.expectation = Some(Expectation::Exists.into());
        assert_eq!(Change::try_from(Some(wire)).expect_err("no stream").field, "expectation");
        assert_eq!(Change::try_from(None).expect_err("nothing").field, "change");
    }
}
