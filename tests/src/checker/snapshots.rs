//! Judging aggregate snapshots: a snapshot that is read was put, belongs to this life of the stream, and is
//! never older than one that was known to be kept.

use quorate_proto::{Consistency, Read, Snapshot, Source, StreamName, Version};

use super::Anomaly;
use super::canonical::Canonical;
use crate::history::{History, Moment, ReadAnswer};

/// Judges all puts and all reads of snapshots.
pub(super) fn judge(history: &History, canonical: &Canonical<'_>) -> Vec<Anomaly> {
    let mut anomalies = Vec::new();
    for (put, operation) in history.snapshots.iter().enumerate() {
        let Some((returned, kept)) = operation.answer else { continue };
        let Snapshot { stream, version, .. } = &operation.request;
        let is_put = was_put(history, stream, kept, returned, |_| true);
        if kept < *version || !is_put {
            let what = format!("version {kept} is said to be kept of `{stream}`");
            anomalies.push(Anomaly::WrongSnapshot { put, what });
        }
    }
    for (read, operation) in history.reads.iter().enumerate() {
        let (Source::Stream { stream, .. }, Some((returned, answer))) =
            (&operation.request.source, &operation.answer)
        else {
            continue;
        };
        if operation.request.with_snapshot {
            let times = (operation.invoked, *returned);
            let judged = read_of(history, canonical, (&operation.request, stream), answer, times);
            anomalies.extend(judged.err().map(|what| Anomaly::WrongRead { read, what }));
        }
    }
    anomalies
}

fn read_of(
    history: &History,
    canonical: &Canonical<'_>,
    (read, stream): (&Read, &StreamName),
    answer: &ReadAnswer,
    (invoked, returned): (Moment, Moment),
) -> Result<(), String> {
    let deleted = canonical.end_of(stream, answer.as_of).map_or(Version::ZERO, |end| end.version);
    let told = answer.snapshot.as_ref().map_or(Version::ZERO, |snapshot| snapshot.version);
    let schema = answer.snapshot.as_ref().map_or(0, |snapshot| snapshot.schema);
    if let Some(snapshot) = &answer.snapshot {
        if !was_put(history, stream, told, returned, |put| put == snapshot) {
            return Err(format!("nobody put the snapshot of `{stream}` at version {told}"));
        }
        if told > canonical.version(stream, answer.as_of) || told <= deleted {
            let why = format!("the stream was deleted at {deleted}, as of {}", answer.as_of);
            return Err(format!("a snapshot at version {told} cannot be there: {why}"));
        }
    }
    if read.consistency != Consistency::Linearizable {
        return Ok(());
    }
    let known = history.snapshots.iter().filter(|put| put.request.stream == *stream);
    // Between two at one version, the newer schema is kept. If a newer version is kept, its schema is unknown here.
    let known = known.filter_map(|put| {
        let (_, kept) = put.answer.filter(|(moment, kept)| *moment < invoked && *kept > deleted)?;
        let schema = if kept == put.request.version { put.request.schema } else { 0 };
        Some((kept, schema))
    });
    match known.max() {
        Some((kept, of)) if (kept, of) > (told, schema) => Err(format!(
            "the snapshot of `{stream}` is at {told} of schema {schema}, and one at {kept} of schema {of} was kept before"
        )),
        _ => Ok(()),
    }
}

/// Returns true if somebody had begun to put such a snapshot before an answer came.
fn was_put(
    history: &History,
    stream: &StreamName,
    version: Version,
    returned: Moment,
    is_it: impl Fn(&Snapshot) -> bool,
) -> bool {
    history.snapshots.iter().any(|put| {
        let Snapshot { stream: of, version: at, .. } = &put.request;
        put.invoked < returned && of == stream && *at == version && is_it(&put.request)
    })
}
