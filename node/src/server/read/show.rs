//! The settings and numbers of a stream, a category or a path.

use quorate_proto::Scope;
use quorate_proto::wire::v1;
use quorate_store::{Fault, Reader, Settings, StreamState};

/// Returns what this node knows of a scope, as of what it has applied.
pub(crate) fn of_scope(reader: &Reader, scope: &Scope) -> Result<v1::ShowStreamResponse, Fault> {
    match scope {
        Scope::Stream(stream) => Ok(of_stream(reader.stream(stream)?)),
        Scope::Category(_) | Scope::Path(_) => {
            // The point is read first: the settings that are read after it are at least as new.
            let as_of = reader.point().position.0;
            let settings = Some(wire_settings(reader.settings(scope)?));
            Ok(v1::ShowStreamResponse { as_of, settings, ..v1::ShowStreamResponse::default() })
        }
    }
}

fn of_stream(state: StreamState) -> v1::ShowStreamResponse {
    v1::ShowStreamResponse {
        as_of: state.as_of.0,
        version: state.version.0,
        first_version: state.first_version.0,
        closed: state.closed,
        deleted_at: state.deleted.0,
        settings: Some(wire_settings(state.own)),
        effective: Some(wire_settings(state.effective)),
        snapshot_version: state.snapshot.unwrap_or_default().0,
    }
}

fn wire_settings(settings: Settings) -> v1::StreamSettings {
    let Settings { max_count, max_age_us, truncate_before } = settings;
    v1::StreamSettings { max_count, max_age_us, truncate_before }
}
