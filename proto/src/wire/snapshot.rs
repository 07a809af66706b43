//! Aggregate snapshots on the wire.

use super::v1;
use crate::{Invalid, RecordedSnapshot, Snapshot, StreamName, Timestamp, Version};

impl From<Snapshot> for v1::Snapshot {
    fn from(snapshot: Snapshot) -> v1::Snapshot {
        v1::Snapshot {
            stream: snapshot.stream.as_str().to_owned(),
            version: snapshot.version.0,
            schema: snapshot.schema,
            data: snapshot.data,
            recorded_at: 0,
        }
    }
}

impl TryFrom<Option<v1::Snapshot>> for Snapshot {
    type Error = Invalid;

    /// The result passed [`Snapshot::check`].
    fn try_from(snapshot: Option<v1::Snapshot>) -> Result<Snapshot, Invalid> {
        let snapshot = snapshot.ok_or_else(|| Invalid::new("snapshot", "is missing"))?;
        let snapshot = Snapshot {
            stream: StreamName::new(snapshot.stream)?,
            version: Version(snapshot.version),
            schema: snapshot.schema.max(1),
            data: snapshot.data,
        };
        snapshot.check()?;
        Ok(snapshot)
    }
}

impl From<RecordedSnapshot> for v1::Snapshot {
    fn from(recorded: RecordedSnapshot) -> v1::Snapshot {
        v1::Snapshot { recorded_at: recorded.recorded_at.0, ..recorded.snapshot.into() }
    }
}

impl TryFrom<v1::Snapshot> for RecordedSnapshot {
    type Error = Invalid;

    fn try_from(snapshot: v1::Snapshot) -> Result<RecordedSnapshot, Invalid> {
        let recorded_at = Timestamp(snapshot.recorded_at);
        Ok(RecordedSnapshot { snapshot: Snapshot::try_from(Some(snapshot))?, recorded_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::SNAPSHOT_BYTES_MAX;

    fn snapshot() -> Snapshot {
        let stream = StreamName::new("order-42").expect("a name");
        Snapshot { stream, version: Version(7), schema: 2, data: "state".into() }
    }

    #[test]
    fn a_snapshot_survives_its_way_over_the_wire() {
        assert_eq!(Snapshot::try_from(Some(v1::Snapshot::from(snapshot()))), Ok(snapshot()));
        let recorded = RecordedSnapshot { snapshot: snapshot(), recorded_at: Timestamp(5) };
        assert_eq!(RecordedSnapshot::try_from(v1::Snapshot::from(recorded.clone())), Ok(recorded));
        let without_schema = v1::Snapshot { schema: 0, ..snapshot().into() };
        assert_eq!(Snapshot::try_from(Some(without_schema)).map(|one| one.schema), Ok(1));
    }

    type Spoil = fn(&mut v1::Snapshot);

    #[test]
    fn what_breaks_a_rule_is_refused_with_its_field() {
        let cases: [(&str, Spoil); 4] = [
            ("stream", |snapshot| snapshot.stream.clear()),
            ("stream", |snapshot| snapshot.stream = "$$order-42".into()),
            ("version", |snapshot| snapshot.version = 0),
            ("snapshot", |snapshot| snapshot.data = vec![0; SNAPSHOT_BYTES_MAX + 1].into()),
        ];
        for (field, spoil) in cases {
            let mut wire = v1::Snapshot::from(snapshot());
            spoil(&mut wire);
            assert_eq!(Snapshot::try_from(Some(wire)).expect_err(field).field, field);
        }
        assert_eq!(Snapshot::try_from(None).expect_err("nothing").field, "snapshot");
    }
}
