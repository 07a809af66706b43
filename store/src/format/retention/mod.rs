//! Records of changes and aggregate snapshots, as they stand in the catalog.
//!
//! ```text
//! record    version 1 (1), flags 1 (1 closed, 2 max count, 4 max age), max count varint and max age varint if
//!           so flagged, truncate before varint, deleted varint, count of formers varint, formers
//! former    flags 1 (2 max count, 4 max age), max count and max age likewise, until varint, log time then 8
//! snapshot  version 1 (1), stream's version 8, schema 4, recorded_at 8, data: the rest
//! ```
//!
//! The catalog puts them under a checksum, and has the names of their owners in its keys.

mod history;
mod record;

use bytes::Bytes;
use quorate_proto::{Position, RecordedSnapshot, Snapshot, StreamName, Timestamp, Version};

use super::{Input, Malformed, Output};

pub(crate) use history::{FormerLimits, History, Limits};
pub(crate) use record::Record;

const VERSION: u8 = 1;
const CLOSED: u8 = 1;
const MAX_COUNT: u8 = 2;
const MAX_AGE: u8 = 4;
const KNOWN: u8 = CLOSED | MAX_COUNT | MAX_AGE;

pub(crate) fn encode_record(record: &Record) -> Bytes {
    let mut out = Vec::new();
    out.put_u8(VERSION);
    put_limits(&record.limits, if record.closed { CLOSED } else { 0 }, &mut out);
    out.put_varint(record.truncate_before);
    out.put_varint(record.deleted.0);
    out.put_varint(record.former.len() as u64);
    record.former.with(|all| {
        for former in all {
            put_limits(&former.limits, 0, &mut out);
            out.put_varint(former.until.0);
            out.put_i64(former.until_time.0);
        }
    });
    Bytes::from(out)
}

pub(crate) fn decode_record(value: Bytes) -> Result<Record, Malformed> {
    let mut input = Input::new(value);
    check_version(&mut input)?;
    let (limits, closed) = take_limits(&mut input)?;
    let truncate_before = input.varint()?;
    let deleted = Version(input.varint()?);
    let mut former = Vec::new();
    for _ in 0..input.varint()? {
        let (limits, _) = take_limits(&mut input)?;
        let (until, until_time) = (Position(input.varint()?), Timestamp(input.i64()?));
        former.push(FormerLimits { limits, until, until_time });
    }
    input.end()?;
    Ok(Record { limits, former: former.into(), truncate_before, deleted, closed })
}

pub(crate) fn encode_snapshot(recorded: &RecordedSnapshot) -> Bytes {
    let RecordedSnapshot { snapshot, recorded_at } = recorded;
    let mut out = Vec::with_capacity(21 + snapshot.data.len());
    out.put_u8(VERSION);
    out.put_u64(snapshot.version.0);
    out.put_u32(snapshot.schema);
    out.put_i64(recorded_at.0);
    out.put(&snapshot.data);
    Bytes::from(out)
}

/// Decodes the snapshot of a stream; its data is a slice of `value`.
pub(crate) fn decode_snapshot(
    stream: &StreamName,
    value: Bytes,
) -> Result<RecordedSnapshot, Malformed> {
    let mut input = Input::new(value);
    check_version(&mut input)?;
    let (version, schema) = (Version(input.u64()?), input.u32()?);
    let recorded_at = Timestamp(input.i64()?);
    let snapshot = Snapshot { stream: stream.clone(), version, schema, data: input.rest() };
    Ok(RecordedSnapshot { snapshot, recorded_at })
}

fn check_version(input: &mut Input) -> Result<(), Malformed> {
    match input.u8()? {
        VERSION => Ok(()),
        other => Err(Malformed::new(format!("has the version {other}, unknown to this build"))),
    }
}

fn put_limits(limits: &Limits, closed: u8, out: &mut Vec<u8>) {
    let Limits { max_count, max_age_us } = limits;
    let flag = |there: bool, flag: u8| if there { flag } else { 0 };
    out.put_u8(closed | flag(max_count.is_some(), MAX_COUNT) | flag(max_age_us.is_some(), MAX_AGE));
    for value in [max_count, max_age_us].into_iter().flatten() {
        out.put_varint(*value);
    }
}

/// Takes limits, and whether the stream is closed.
fn take_limits(input: &mut Input) -> Result<(Limits, bool), Malformed> {
    let flags = input.u8()?;
    if flags & !KNOWN != 0 {
        return Err(Malformed::new(format!("has the unknown flags {flags:#x}")));
    }
    let mut value = |flag: u8| {
        if flags & flag == 0 { Ok(None) } else { input.varint().map(Some) }
    };
    let limits = Limits { max_count: value(MAX_COUNT)?, max_age_us: value(MAX_AGE)? };
    Ok((limits, flags & CLOSED != 0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_limits() -> impl Strategy<Value = Limits> {
        (any::<Option<u64>>(), any::<Option<u64>>())
            .prop_map(|(max_count, max_age_us)| Limits { max_count, max_age_us })
    }

    fn any_record() -> impl Strategy<Value = Record> {
        let former =
            (any_limits(), any::<u64>(), any::<i64>()).prop_map(|(limits, until, time)| {
                FormerLimits { limits, until: Position(until), until_time: Timestamp(time) }
            });
        let former = prop::collection::vec(former, 0..4);
        (any_limits(), former, any::<u64>(), any::<u64>(), any::<bool>()).prop_map(
            |(limits, former, truncate_before, deleted, closed)| {
                let deleted = Version(deleted);
                Record { limits, former: former.into(), truncate_before, deleted, closed }
            },
        )
    }

    proptest! {
        #[test]
        fn a_record_that_is_encoded_is_decoded_and_a_part_of_it_is_malformed(
            record in any_record(), cut in any::<prop::sample::Index>()
        ) {
            let bytes = encode_record(&record);
            prop_assert!(decode_record(bytes.slice(..cut.index(bytes.len()))).is_err());
            prop_assert_eq!(decode_record(bytes), Ok(record));
        }

        #[test]
        fn decoders_take_whatever_bytes_there_are(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let bytes = Bytes::from(bytes);
            let stream = StreamName::new("order-1").expect("a name");
            let _ = decode_record(bytes.clone());
            let _ = decode_snapshot(&stream, bytes);
        }
    }

    #[test]
    fn a_snapshot_that_is_encoded_is_decoded() {
        let stream = StreamName::new("order-1").expect("a name");
        let data = Bytes::from_static(b"state");
        let snapshot = Snapshot { stream: stream.clone(), version: Version(7), schema: 2, data };
        let recorded = RecordedSnapshot { snapshot, recorded_at: Timestamp(-3) };
        assert_eq!(decode_snapshot(&stream, encode_snapshot(&recorded)), Ok(recorded));
    }
}
