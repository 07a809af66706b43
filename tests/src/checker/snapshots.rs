//! Judging aggregate snapshots: a snapshot that is read was put, belongs to this life of the stream, and is
//! never older than one that was known to be stored.

use quorate_proto::{Consistency, Read, Snapshot, Source, StreamName, Version};

use super::Anomaly;
use super::canonical::Canonical;
use crate::history::{History, Moment, ReadAnswer};

/// Judges all puts and all reads of snapshots.
pub(super) fn judge(history: &History, canonical: &Canonical<'_>) -> Vec<Anomaly> {
    let mut anomalies = Vec::new();
    for (put, operation) in history.snapshots.iter().enumerate() {
        let Some((returned, stored)) = operation.answer else { continue };
        let Snapshot { stream, version, .. } = &operation.request;
        let is_put = was_put(history, stream, stored, returned, |_| true);
        if stored < *version || !is_put {
            let what = format!("version {stored} was returned as the stored one of `{stream}`");
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
    let found = answer.snapshot.as_ref().map_or(Version::ZERO, |snapshot| snapshot.version);
    let schema = answer.snapshot.as_ref().map_or(0, |snapshot| snapshot.schema);
    if let Some(snapshot) = &answer.snapshot {
        if !was_put(history, stream, found, returned, |put| put == snapshot) {
            return Err(format!("nobody put the snapshot of `{stream}` at version {found}"));
        }
        if found > canonical.version(stream, answer.as_of) || found <= deleted {
            let why = format!("the stream was deleted at {deleted}, as of {}", answer.as_of);
            return Err(format!("a snapshot at version {found} cannot be there: {why}"));
        }
    }
    if read.consistency != Consistency::Linearizable {
        return Ok(());
    }
    let known = history.snapshots.iter().filter(|put| put.request.stream == *stream);
    // Between two at one version, the newer schema is stored. If a newer version is, its schema is unknown here.
    let known = known.filter_map(|put| {
        let (_, stored) =
            put.answer.filter(|(moment, stored)| *moment < invoked && *stored > deleted)?;
        let schema = if stored == put.request.version { put.request.schema } else { 0 };
        Some((stored, schema))
    });
    match known.max() {
        Some((stored, of)) if (stored, of) > (found, schema) => Err(format!(
            "the snapshot of `{stream}` is at {found} of schema {schema}, and one at {stored} of schema \
             {of} was stored before"
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
