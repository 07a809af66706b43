//! One stream, category or path: its settings, its end, and the snapshot of its state.

use quorate_proto::wire::v1;
use quorate_proto::{
    Category, Change, ChangeKind, Consistency, EventId, Expectation, Invalid, Path, Problem,
    RecordedSnapshot, Scope, SettingsChange, Snapshot as ProtoSnapshot, StreamName, Version,
};

use crate::append::{AppendError, Done};
use crate::ask::ask;
use crate::client::Client;
use crate::event::new_id;
use crate::settings::{ScopeState, StreamState};
use crate::snapshot::Snapshot;
use crate::transaction::Transaction;
use crate::trouble::not_appended;

/// A stream, by its name; no node is asked before one of its methods is called.
///
/// Its changes are events themselves, in the stream `$$NAME`: they are appended as all events are, answered
/// with that stream's version and their position, and repeated with [`Client::repeat`] if their outcome stays
/// unknown.
///
/// ```no_run
/// # async fn example(client: quorate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use quorate_client::{Expect, Settings};
/// let order = client.stream("order-42");
/// order.set(Settings::new().max_count(100)).await?;
/// println!("{:?}", order.show().await?);
/// order.delete(Expect::version(5)).await?; // reading is empty at version 5, and numbering goes on at 6
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is asked before one of its methods is called"]
pub struct StreamRef {
    client: Client,
    name: Result<StreamName, Invalid>,
    id: Option<EventId>,
}

impl StreamRef {
    pub(crate) fn new(client: Client, name: Result<StreamName, Invalid>) -> StreamRef {
        StreamRef { client, name, id: None }
    }

    /// Sets the id of the event that records the next change: with the same id, a repetition is safe, also from
    /// another process. By default the id is new.
    pub fn id(mut self, id: EventId) -> StreamRef {
        self.id = Some(id);
        self
    }

    /// Changes the stream's settings, whatever its version.
    pub async fn set(&self, settings: SettingsChange) -> Result<Done, AppendError> {
        self.change(Expectation::Any, ChangeKind::Settings(settings)).await
    }

    /// Changes the stream's settings if the stream is as expected.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::AppendError> {
    /// use quorate_client::{Expect, Settings};
    /// let cut = Settings::new().truncate_before(40);
    /// client.stream("order-42").set_expecting(Expect::version(52), cut).await?;
    /// # Ok(()) }
    /// ```
    pub async fn set_expecting(
        &self,
        expect: Expectation,
        settings: SettingsChange,
    ) -> Result<Done, AppendError> {
        self.change(expect, ChangeKind::Settings(settings)).await
    }

    /// Deletes the stream's events. It can be appended to again, and numbering goes on; its snapshot is dropped.
    pub async fn delete(&self, expect: Expectation) -> Result<Done, AppendError> {
        self.change(expect, ChangeKind::Delete).await
    }

    /// Deletes the stream's events and closes the name for good.
    pub async fn tombstone(&self, expect: Expectation) -> Result<Done, AppendError> {
        self.change(expect, ChangeKind::Tombstone).await
    }

    /// Returns the state of the stream beside its events, including every append that was acknowledged before.
    pub async fn show(&self) -> Result<StreamState, Problem> {
        self.show_as(Consistency::Linearizable).await
    }

    /// Returns the state of the stream beside its events, as fresh as requested.
    pub async fn show_as(&self, consistency: Consistency) -> Result<StreamState, Problem> {
        let scope = Scope::Stream(self.name.clone()?);
        Ok(show(&self.client, scope, consistency).await?.into())
    }

    /// Keeps a snapshot of the stream's state, if it is not older than the one that is kept. Returns the version of the
    /// snapshot that is kept then. Safe to repeat.
    ///
    /// Between two snapshots at one version, the one of the newer schema is kept, then the later one: while programs
    /// are upgraded one by one, an old program does not replace the snapshot of a new one, which knows both schemas.
    /// The old one finds a schema that it does not know, and reads the stream without the snapshot.
    ///
    /// # Errors
    /// `Conflict` if the stream is not at that version yet, or was deleted at it or after it; `StreamClosed`.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use quorate_client::Snapshot;
    /// let order = client.read("order-42").with_snapshot().collect().await?;
    /// let mut total: u64 = order.snapshot.as_ref().map_or(Ok(0), |snapshot| snapshot.json())?;
    /// for event in &order.events {
    ///     total += event.json::<u64>()?;
    /// }
    /// if order.events.len() > 100 {
    ///     client.stream("order-42").put_snapshot(Snapshot::json(order.version, &total)?).await?;
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn put_snapshot(&self, snapshot: Snapshot) -> Result<Version, Problem> {
        let Snapshot { version, schema, data } = snapshot;
        let snapshot = ProtoSnapshot { stream: self.name.clone()?, version, schema, data };
        snapshot.check()?;
        let nodes = &self.client.shared.nodes;
        let response = ask(
            &self.client,
            || nodes.for_appends(),
            |mut events, time_left_ms| {
                let snapshot = Some(snapshot.clone().into());
                let request = v1::PutSnapshotRequest { snapshot, time_left_ms };
                async move { events.put_snapshot(request).await }
            },
        );
        Ok(Version(response.await?.version))
    }

    /// Returns the snapshot that is kept.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
    /// if let Some(snapshot) = client.stream("order-42").snapshot().await? {
    ///     println!("version {}, {} bytes", snapshot.version, snapshot.data.len());
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn snapshot(&self) -> Result<Option<RecordedSnapshot>, Problem> {
        self.snapshot_as(Consistency::Linearizable).await
    }

    /// Returns the snapshot that is kept, as fresh as requested.
    pub async fn snapshot_as(
        &self,
        consistency: Consistency,
    ) -> Result<Option<RecordedSnapshot>, Problem> {
        let reading = self.client.read(self.name.clone()?).with_snapshot().limit(0);
        Ok(reading.consistency(consistency).stream().await?.take_snapshot())
    }

    async fn change(&self, expect: Expectation, kind: ChangeKind) -> Result<Done, AppendError> {
        let scope = self.name.clone().map(Scope::Stream);
        change(&self.client, scope, expect, self.id, kind).await
    }
}

/// A category or a path; no node is asked before one of its methods is called.
///
/// ```no_run
/// # async fn example(client: quorate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use quorate_client::Settings;
/// let month = Settings::new().max_age(Duration::from_secs(30 * 24 * 3600));
/// client.category("session").set(month).await?;
/// client.path("acme/test").set(Settings::new().truncate_before(120_000)).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is asked before one of its methods is called"]
pub struct ScopeRef {
    client: Client,
    scope: Result<Scope, Invalid>,
    id: Option<EventId>,
}

impl ScopeRef {
    pub(crate) fn category(client: Client, name: Result<Category, Invalid>) -> ScopeRef {
        ScopeRef { client, scope: name.map(Scope::Category), id: None }
    }

    pub(crate) fn path(client: Client, name: Result<Path, Invalid>) -> ScopeRef {
        ScopeRef { client, scope: name.map(Scope::Path), id: None }
    }

    /// Sets the id of the event that records the next change, as [`StreamRef::id`] does.
    pub fn id(mut self, id: EventId) -> ScopeRef {
        self.id = Some(id);
        self
    }

    /// Changes the scope's settings. They hold for every stream in it, unless the stream or a nearer scope has
    /// its own; `truncate_before` always holds, and is a position.
    pub async fn set(&self, settings: SettingsChange) -> Result<Done, AppendError> {
        let kind = ChangeKind::Settings(settings);
        change(&self.client, self.scope.clone(), Expectation::Any, self.id, kind).await
    }

    /// Returns the settings of the scope, including every change that was acknowledged before.
    pub async fn show(&self) -> Result<ScopeState, Problem> {
        self.show_as(Consistency::Linearizable).await
    }

    /// Returns the settings of the scope, as fresh as requested.
    pub async fn show_as(&self, consistency: Consistency) -> Result<ScopeState, Problem> {
        Ok(show(&self.client, self.scope.clone()?, consistency).await?.into())
    }
}

impl Client {
    /// Names one stream, for its settings, its end and the snapshot of its state.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use quorate_client::Settings;
    /// client.stream("order-42").set(Settings::new().max_count(100)).await?;
    /// println!("{:?}", client.stream("order-42").show().await?);
    /// # Ok(()) }
    /// ```
    pub fn stream(&self, name: impl AsRef<str>) -> StreamRef {
        StreamRef::new(self.clone(), StreamName::new(name))
    }

    /// Names all streams of a category, in any path, for their settings.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use quorate_client::Settings;
    /// client.category("order").set(Settings::new().max_count(1000)).await?;
    /// # Ok(()) }
    /// ```
    pub fn category(&self, name: impl AsRef<str>) -> ScopeRef {
        ScopeRef::category(self.clone(), Category::new(name))
    }

    /// Names all streams in a path, for their settings.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// println!("{:?}", client.path("acme/eu").show().await?.settings);
    /// # Ok(()) }
    /// ```
    pub fn path(&self, name: impl AsRef<str>) -> ScopeRef {
        ScopeRef::path(self.clone(), Path::new(name))
    }
}

async fn change(
    client: &Client,
    scope: Result<Scope, Invalid>,
    expectation: Expectation,
    id: Option<EventId>,
    kind: ChangeKind,
) -> Result<Done, AppendError> {
    let id = id.unwrap_or_else(new_id);
    let change = scope.map(|scope| Change { scope, expectation, id, kind });
    Transaction::of_change(client.clone(), change).commit().await
}

async fn show(
    client: &Client,
    scope: Scope,
    consistency: Consistency,
) -> Result<v1::ShowStreamResponse, Problem> {
    let nodes = &client.shared.nodes;
    let shown = ask(
        client,
        || nodes.for_reads(),
        |mut events, time_left_ms| {
            let (scope, consistency) = (Some(scope.clone().into()), Some(consistency.into()));
            let request = v1::ShowStreamRequest { scope, consistency, time_left_ms };
            async move { events.show_stream(request).await }
        },
    );
    shown.await.map_err(not_appended)
}
