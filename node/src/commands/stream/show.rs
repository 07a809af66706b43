//! Shows what is known of a stream, a category or a path beside its events.

use std::io::{self, Write};

use clap::Args;
use quorate_client::{ScopeState, SettingsInForce, StreamState, Version};
use quorate_proto::{Scope, StreamName};
use serde::Serialize;

use super::scope::{Whose, named};
use crate::cli::{Exit, Global, connect};
use crate::output::write_json;
use crate::values::span;

#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    whose: Whose,
}

pub(super) async fn show(args: ShowArgs, global: &Global) -> Result<(), Exit> {
    let scope = args.whose.scope()?;
    let client = connect(global).await?;
    let state = match &scope {
        Scope::Stream(name) => {
            let state = client.stream(name.as_str()).show_as(global.consistency).await?;
            return Ok(write_stream(&mut io::stdout().lock(), name, &state, global.json())?);
        }
        Scope::Category(name) => client.category(name.as_str()).show_as(global.consistency).await?,
        Scope::Path(name) => client.path(name.as_str()).show_as(global.consistency).await?,
    };
    Ok(write_scope(&mut io::stdout().lock(), &scope, &state, global.json())?)
}

#[derive(Serialize)]
struct StreamLine<'a> {
    stream: &'a str,
    #[serde(flatten)]
    state: &'a StreamState,
}

#[derive(Serialize)]
struct ScopeLine<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(flatten)]
    state: &'a ScopeState,
}

fn write_stream(
    output: &mut impl Write,
    stream: &StreamName,
    state: &StreamState,
    json: bool,
) -> io::Result<()> {
    if json {
        return write_json(output, &StreamLine { stream: stream.as_str(), state });
    }
    let StreamState { version, first_version, as_of, .. } = state;
    write!(output, "`{stream}` is at version {version}")?;
    match first_version {
        Version(1) => {}
        first if first > version => write!(output, ", no event is there")?,
        first => write!(output, ", the first event is version {first}")?,
    }
    writeln!(output, ", as of position {as_of}")?;
    if state.closed {
        writeln!(output, "closed for good at version {}", state.deleted_at)?;
    } else if state.deleted_at > Version::ZERO {
        writeln!(output, "deleted last at version {}", state.deleted_at)?;
    }
    writeln!(output, "own settings  {}", shown(&state.settings))?;
    writeln!(output, "in force      {}", shown(&state.in_force))?;
    if state.snapshot_version > Version::ZERO {
        writeln!(output, "snapshot      of version {}", state.snapshot_version)?;
    }
    Ok(())
}

fn write_scope(
    output: &mut impl Write,
    scope: &Scope,
    state: &ScopeState,
    json: bool,
) -> io::Result<()> {
    if json {
        let name = Some(scope.as_str());
        let (category, path) = match scope {
            Scope::Path(_) => (None, name),
            Scope::Category(_) | Scope::Stream(_) => (name, None),
        };
        return write_json(output, &ScopeLine { category, path, state });
    }
    let ScopeState { as_of, settings } = state;
    writeln!(output, "{}: {}, as of position {as_of}", named(scope), shown(settings))
}

/// Writes settings for people.
fn shown(settings: &SettingsInForce) -> String {
    let count = settings.max_count.map(|count| format!("max count {count}"));
    let age = settings.max_age.map(|age| format!("max age {}", span::show_age(age)));
    let cut = settings.truncate_before.map(|number| format!("truncated before {number}"));
    let all: Vec<String> = count.into_iter().chain(age).chain(cut).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}
