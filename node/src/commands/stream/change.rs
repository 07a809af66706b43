//! Changes of streams, categories and paths: their settings, and the end of streams.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use quorate_client::{AppendError, Client, Done, Expect, ScopeRef, Settings};
use quorate_proto::{EventId, Scope, StreamName};

use super::scope::{Whose, named};
use crate::cli::{Confirmation, Exit, Global, connect};
use crate::output::{DoneLine, append_failed, append_not_begun, write_json};
use crate::values::{expectation, span};

/// The expectation that a change has, and its id.
#[derive(Args, Debug)]
struct How {
    /// What must be the case with the stream: any, none (no event there), exists, or its version. The default
    /// is `any`: nothing is checked. Not for a category or a path.
    #[arg(long, value_name = "WHAT", value_parser = expectation::parse)]
    expect: Option<Expect>,
    /// The id of the change, a UUID: the same one again makes a repetition safe. A new one if not given.
    #[arg(long, value_name = "UUID", value_parser = EventId::parse)]
    id: Option<EventId>,
}

#[derive(Args, Debug)]
pub(super) struct SetArgs {
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    how: How,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
struct What {
    /// Only so many of the newest events of a stream are there.
    #[arg(
        long,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u64).range(1..))]
    max_count: Option<u64>,
    /// Events older than this are not there: `90s`, `10m`, `2h`, `30d`, `4w`.
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    max_age: Option<Duration>,
    /// Take --max-count back.
    #[arg(long, conflicts_with = "max_count")]
    clear_max_count: bool,
    /// Take --max-age back.
    #[arg(long, conflicts_with = "max_age")]
    clear_max_age: bool,
}

#[derive(Args, Debug)]
pub(super) struct TruncateArgs {
    #[command(flatten)]
    whose: Whose,
    /// The first event that stays: a version of a stream, a position for a category or a path.
    #[arg(long, value_name = "NUMBER")]
    before: u64,
    #[command(flatten)]
    how: How,
}

#[derive(Args, Debug)]
pub(super) struct EndArgs {
    /// The stream.
    stream: StreamName,
    #[command(flatten)]
    how: How,
}

#[derive(Args, Debug)]
pub(super) struct TombstoneArgs {
    #[command(flatten)]
    end: EndArgs,
    #[command(flatten)]
    confirmation: Confirmation,
}

pub(super) async fn set(args: SetArgs, global: &Global) -> Result<(), Exit> {
    let SetArgs { whose, what, how } = args;
    change(Change::Settings(whose.scope()?, what.settings()), how, global).await
}

pub(super) async fn truncate(args: TruncateArgs, global: &Global) -> Result<(), Exit> {
    let TruncateArgs { whose, before, how } = args;
    let cut = Settings::new().truncate_before(before);
    change(Change::Settings(whose.scope()?, cut), how, global).await
}

pub(super) async fn delete(args: EndArgs, global: &Global) -> Result<(), Exit> {
    let EndArgs { stream, how } = args;
    change(Change::Delete(stream), how, global).await
}

pub(super) async fn tombstone(args: TombstoneArgs, global: &Global) -> Result<(), Exit> {
    let TombstoneArgs { end: EndArgs { stream, how }, confirmation } = args;
    confirmation.ask(&format!("closes `{stream}` for good"))?;
    change(Change::Tombstone(stream), how, global).await
}

#[derive(Clone, Debug)]
enum Change {
    Settings(Scope, Settings),
    Delete(StreamName),
    Tombstone(StreamName),
}

impl Change {
    fn scope(&self) -> Scope {
        match self {
            Change::Settings(scope, _) => scope.clone(),
            Change::Delete(stream) | Change::Tombstone(stream) => Scope::Stream(stream.clone()),
        }
    }
}

async fn change(change: Change, how: How, global: &Global) -> Result<(), Exit> {
    let scope = change.scope();
    let changes = scope.changes().map_err(Exit::usage)?;
    let expect = how.expect_of(&scope)?;
    let not_begun = |problem| append_not_begun(global, problem);
    let client = connect(global).await.map_err(not_begun)?;
    let done = send(&client, &change, expect, how.id).await;
    let done = done.map_err(|error| append_failed(global, &error))?;
    Exit::after_report(Ok(()), report(global, &change, &changes, expect, &done))
}

fn report(
    global: &Global,
    change: &Change,
    changes: &StreamName,
    expect: Expect,
    done: &Done,
) -> io::Result<()> {
    let mut output = io::stdout().lock();
    if global.json() {
        let versions = BTreeMap::from([(changes.as_str(), done.version.0)]);
        return write_json(&mut output, &DoneLine { position: done.position.0, versions });
    }
    let what = match change {
        Change::Settings(..) => "is under new settings",
        Change::Delete(_) => "is deleted",
        Change::Tombstone(_) => "is closed for good",
    };
    let scope = change.scope();
    let (named, position) = (named(&scope), done.position);
    write!(output, "{named} {what}, position {position}")?;
    match scope {
        Scope::Stream(_) => writeln!(output, " ({})", expectation::met(expect, false)),
        Scope::Category(_) | Scope::Path(_) => writeln!(output),
    }
}

async fn send(
    client: &Client,
    change: &Change,
    expect: Expect,
    id: Option<EventId>,
) -> Result<Done, AppendError> {
    let stream = |name: &StreamName| {
        let stream = client.stream(name.as_str());
        id.into_iter().fold(stream, |stream, id| stream.id(id))
    };
    let set = |scope: ScopeRef, settings: Settings| {
        let scope = id.into_iter().fold(scope, |scope, id| scope.id(id));
        async move { scope.set(settings).await }
    };
    match change {
        Change::Delete(name) => stream(name).delete(expect).await,
        Change::Tombstone(name) => stream(name).tombstone(expect).await,
        Change::Settings(Scope::Stream(name), settings) => {
            stream(name).set_expecting(expect, *settings).await
        }
        Change::Settings(Scope::Category(name), settings) => {
            set(client.category(name.as_str()), *settings).await
        }
        Change::Settings(Scope::Path(name), settings) => {
            set(client.path(name.as_str()), *settings).await
        }
    }
}

impl How {
    /// Returns the expectation of the change; only a stream has a version to expect.
    fn expect_of(&self, scope: &Scope) -> Result<Expect, Exit> {
        match (self.expect, scope) {
            (Some(_), Scope::Category(_) | Scope::Path(_)) => {
                let message = format!("--expect is about a stream, and {} is none", named(scope));
                Err(Exit::usage(message))
            }
            (expect, _) => Ok(expect.unwrap_or(Expect::Any)),
        }
    }
}

impl What {
    fn settings(self) -> Settings {
        let mut settings = Settings::new();
        if let Some(count) = self.max_count {
            settings = settings.max_count(count);
        }
        if let Some(age) = self.max_age {
            settings = settings.max_age(age);
        }
        if self.clear_max_count {
            settings = settings.clear_max_count();
        }
        if self.clear_max_age {
            settings = settings.clear_max_age();
        }
        settings
    }
}

fn parse_age(text: &str) -> Result<Duration, String> {
    match span::parse_age(text) {
        Some(Duration::ZERO) => Err("is no time at all; delete the stream instead".to_owned()),
        Some(age) => Ok(age),
        None => Err("is no time span like `10m` or `30d`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use quorate_proto::{Category, Path};

    use super::*;

    #[test]
    fn only_of_a_stream_something_can_be_expected() {
        let stream = Scope::Stream(StreamName::new("order-1").expect("a name"));
        let category = Scope::Category(Category::new("order").expect("a name"));
        let path = Scope::Path(Path::new("acme").expect("a name"));
        let how = |expect| How { expect, id: None };
        assert_eq!(how(Some(Expect::version(3))).expect_of(&stream), Ok(Expect::version(3)));
        for scope in [&stream, &category, &path] {
            assert_eq!(how(None).expect_of(scope), Ok(Expect::Any));
        }
        for scope in [&category, &path] {
            let refused = how(Some(Expect::Any)).expect_of(scope).expect_err("no stream");
            assert_eq!(refused.code, crate::cli::Code::Usage);
        }
    }
}
