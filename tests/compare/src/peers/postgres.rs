//! PostgreSQL: one table, whose unique constraint refuses a version that is taken.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, pin_mut};
use tokio::process::Command;
use tokio::time::Instant;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Statement};
use uuid::Uuid;

use super::{Programs, version};
use crate::columns::Column;
use crate::peer::{About, Event, Mark, Peer, Place, Store, Tally};
use crate::servers::Servers;

pub(crate) static ABOUT: About = About {
    name: "postgres",
    title: "PostgreSQL, *1 node*",
    durable: "fdatasync before the answer",
    replicated: "no",
    checked: "unique (stream, version); nothing keeps a version from being left out",
    order: "positions from a sequence: they have gaps, and a smaller one may become visible later",
    lacks: &[(Column::CatchUp, "there is no subscription; applications poll")],
};

/// The user that runs the server if this is run by root, which PostgreSQL refuses.
const NOBODY: &str = "nobody";
/// Clients beyond this number share connections, pipelined: fewer are slower, and more cost a process each.
const CONNECTIONS_MAX: usize = 64;

const SCHEMA: &str = "create table if not exists events (
    position bigint generated always as identity primary key,
    stream text not null,
    version bigint not null,
    id uuid not null,
    type text not null,
    data bytea not null,
    unique (stream, version))";
const APPEND_ONE: &str =
    "insert into events (stream, version, id, type, data) values ($1, $2, $3, $4, $5)";
const APPEND_SOME: &str = "insert into events (stream, version, id, type, data)
    select $1, $2 + n - 1, id, type, data
    from unnest($3::uuid[], $4::text[], $5::bytea[]) with ordinality as e (id, type, data, n)";
const READ_STREAM: &str =
    "select version, id, type, data from events where stream = $1 order by version";
const READ_ALL: &str =
    "select position, stream, version, id, type, data from events order by position";

struct Postgres(PathBuf);

pub(crate) fn find(_: &Programs) -> Result<Box<dyn Peer>> {
    let versions = fs::read_dir("/usr/lib/postgresql").context("`postgres` is not installed")?;
    let folders = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    let newest = folders.filter(|folder| folder.join("initdb").exists()).max();
    Ok(Box::new(Postgres(newest.context("`initdb` is not installed")?)))
}

#[async_trait(?Send)]
impl Peer for Postgres {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn version(&self) -> Result<String> {
        version(&self.0.join("postgres"), "--version")
    }

    async fn start(&self, place: &Place) -> Result<Servers> {
        let data = place.folder.join("data");
        if !data.exists() {
            self.found(place).await?;
        }
        let mut servers = Servers::default();
        let mut command = as_nobody(place, &self.0.join("postgres"));
        command.arg("-D").arg(&data).arg("-k").arg(&place.folder);
        command.args(["-h", "127.0.0.1", "-p", &place.port.to_string()]);
        for setting in [
            "fsync=on",
            "synchronous_commit=on",
            "shared_buffers=1GB",
            "max_wal_size=4GB",
            "max_connections=200",
        ] {
            command.args(["-c", setting]);
        }
        servers.spawn(command, &place.folder)?;
        servers.wait_for(async || Ok(connect(place).await?.batch_execute(SCHEMA).await?)).await?;
        Ok(servers)
    }

    async fn connect(&self, place: &Place, clients: usize) -> Result<Arc<dyn Store>> {
        let mut sessions = Vec::new();
        for _ in 0..clients.min(CONNECTIONS_MAX) {
            sessions.push(Session::new(connect(place).await?).await?);
        }
        Ok(Arc::new(Sessions(sessions)))
    }
}

impl Postgres {
    /// Makes the folder with an empty database.
    async fn found(&self, place: &Place) -> Result<()> {
        if is_root() {
            let owned = Command::new("chown").arg(NOBODY).arg(&place.folder).status().await?;
            ensure!(owned.success(), "chown failed");
        }
        let untraced = Place { trace: None, folder: place.folder.clone(), port: place.port };
        let mut init = as_nobody(&untraced, &self.0.join("initdb"));
        init.args(["--auth=trust", "--username=test", "--pgdata"]).arg(place.folder.join("data"));
        let made = init.output().await?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Ok(())
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn as_nobody(place: &Place, program: &PathBuf) -> Command {
    if !is_root() {
        return place.command(program);
    }
    // No process stays between, so that signals reach the server.
    let mut command = place.command("setpriv");
    command.args(["--reuid", NOBODY, "--clear-groups"]).arg(program);
    command
}

async fn connect(place: &Place) -> Result<Client> {
    let url = format!("host=127.0.0.1 port={} user=test dbname=postgres", place.port);
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
    // The connection ends when its client is dropped.
    tokio::spawn(connection);
    Ok(client)
}

/// A connection with its prepared statements.
struct Session {
    client: Client,
    append_one: Statement,
    append_some: Statement,
    read_stream: Statement,
    read_all: Statement,
}

impl Session {
    async fn new(client: Client) -> Result<Session> {
        Ok(Session {
            append_one: client.prepare(APPEND_ONE).await?,
            append_some: client.prepare(APPEND_SOME).await?,
            read_stream: client.prepare(READ_STREAM).await?,
            read_all: client.prepare(READ_ALL).await?,
            client,
        })
    }

    async fn read(
        &self,
        statement: &Statement,
        stream: Option<&str>,
        deadline: Option<Instant>,
    ) -> Result<Tally> {
        let mut tally = Tally::default();
        let rows = self.client.query_raw(statement, stream).await?;
        pin_mut!(rows);
        while let Some(row) = rows.next().await {
            let row = row?;
            let data: &[u8] = row.try_get("data")?;
            let _whole: (i64, Uuid, &str) =
                (row.try_get("version")?, row.try_get("id")?, row.try_get("type")?);
            tally.take(data);
            if tally.is_late(deadline) {
                self.client.cancel_token().cancel_query(NoTls).await?;
                break;
            }
        }
        Ok(tally)
    }
}

struct Sessions(Vec<Session>);

#[async_trait]
impl Store for Sessions {
    async fn append(
        &self,
        client: usize,
        stream: &str,
        mark: Mark,
        events: Vec<Event>,
    ) -> Result<Mark> {
        let session = &self.0[client % self.0.len()];
        let first = mark as i64 + 1;
        if let [event] = &events[..] {
            let (kind, data) = (&*event.kind, &event.data[..]);
            let values: [&(dyn ToSql + Sync); 5] = [&stream, &first, &event.id, &kind, &data];
            session.client.execute(&session.append_one, &values).await?;
        } else {
            let ids: Vec<Uuid> = events.iter().map(|event| event.id).collect();
            let kinds: Vec<&str> = events.iter().map(|event| &*event.kind).collect();
            let data: Vec<&[u8]> =
                events.iter().map(|event: &Event| Bytes::as_ref(&event.data)).collect();
            let values: [&(dyn ToSql + Sync); 5] = [&stream, &first, &ids, &kinds, &data];
            session.client.execute(&session.append_some, &values).await?;
        }
        Ok(mark + events.len() as u64)
    }

    async fn read_stream(&self, stream: &str) -> Result<Tally> {
        let session = &self.0[0];
        session.read(&session.read_stream, Some(stream), None).await
    }

    async fn replay(&self, deadline: Instant) -> Result<Tally> {
        let session = &self.0[0];
        session.read(&session.read_all, None, Some(deadline)).await
    }

    async fn catch_up(&self, _: u64, _: Instant) -> Result<Tally> {
        anyhow::bail!("PostgreSQL has no subscription")
    }
}
