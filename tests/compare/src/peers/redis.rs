//! Redis with an append-only file: one Redis stream is the log, and a list for each stream leads into it.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, bail};
use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Script, Value, cmd};
use tokio::time::Instant;

use super::{Programs, program, version};
use crate::peer::{About, Event, Mark, Peer, Place, Store, Tally};
use crate::servers::Servers;

pub(crate) static ABOUT: About = About {
    name: "redis",
    title: "Redis, AOF always, *1 node*",
    durable: "fdatasync before the answer (`appendfsync always`; the file is never rewritten here)",
    replicated: "no",
    checked: "a script compares the stream's length and appends",
    order: "one log; all data is in memory",
    lacks: &[],
};

/// The key of the log.
const LOG: &str = "log";
/// The number of entries that are read at once.
const PAGE: usize = 5000;

/// Appends to a stream and to the log if the stream is as long as expected; returns the new length, or -1.
const APPEND: &str = "
local length = redis.call('LLEN', KEYS[1])
if length ~= tonumber(ARGV[1]) then return -1 end
local ids = {}
for at = 2, #ARGV, 3 do
  length = length + 1
  ids[#ids + 1] = redis.call('XADD', KEYS[2], '*', 's', KEYS[1], 'v', length,
    'i', ARGV[at], 't', ARGV[at + 1], 'd', ARGV[at + 2])
end
redis.call('RPUSH', KEYS[1], unpack(ids))
return length";

/// Returns the entries of a stream.
const READ: &str = "
local entries = {}
for at, id in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  entries[at] = redis.call('XRANGE', KEYS[2], id, id)[1]
end
return entries";

struct Redis(PathBuf);

pub(crate) fn find(_: &Programs) -> Result<Box<dyn Peer>> {
    Ok(Box::new(Redis(program("redis-server", None)?)))
}

#[async_trait(?Send)]
impl Peer for Redis {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn version(&self) -> Result<String> {
        version(&self.0, "--version")
    }

    async fn start(&self, place: &Place) -> Result<Servers> {
        let mut servers = Servers::default();
        let mut command = place.command(&self.0);
        command.args(["--port", &place.port.to_string(), "--bind", "127.0.0.1", "--dir"]);
        command.arg(&place.folder).args(["--appendonly", "yes", "--appendfsync", "always"]);
        command.args(["--save", "", "--auto-aof-rewrite-percentage", "0"]);
        servers.spawn(command, &place.folder)?;
        servers
            .wait_for(async || {
                let mut connection = connect(place).await?;
                // An answer comes only when the file is loaded.
                let _length: u64 = cmd("XLEN").arg(LOG).query_async(&mut connection).await?;
                Ok(())
            })
            .await?;
        Ok(servers)
    }

    async fn connect(&self, place: &Place, _: usize) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(Scripts {
            connection: connect(place).await?,
            append: Script::new(APPEND),
            read: Script::new(READ),
        }))
    }
}

async fn connect(place: &Place) -> Result<MultiplexedConnection> {
    let client = Client::open(format!("redis://{}", place.address(0)))?;
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    Ok(client.get_multiplexed_async_connection_with_config(&config).await?)
}

/// A connection that pipelines the commands of all clients.
struct Scripts {
    connection: MultiplexedConnection,
    append: Script,
    read: Script,
}

#[async_trait]
impl Store for Scripts {
    async fn append(&self, _: usize, stream: &str, mark: Mark, events: Vec<Event>) -> Result<Mark> {
        let mut call = self.append.key(stream);
        call.key(LOG).arg(mark);
        for event in &events {
            call.arg(&event.id.as_bytes()[..]).arg(&*event.kind).arg(&event.data[..]);
        }
        let length: i64 = call.invoke_async(&mut self.connection.clone()).await?;
        Mark::try_from(length).map_err(|_| anyhow::anyhow!("{stream} is not at {mark}"))
    }

    async fn read_stream(&self, stream: &str) -> Result<Tally> {
        let mut call = self.read.key(stream);
        let entries: Value = call.key(LOG).invoke_async(&mut self.connection.clone()).await?;
        let mut tally = Tally::default();
        take(&mut tally, &entries)?;
        Ok(tally)
    }

    async fn replay(&self, deadline: Instant) -> Result<Tally> {
        let mut tally = Tally::default();
        let mut from = b"-".to_vec();
        while Instant::now() < deadline {
            let mut page = cmd("XRANGE");
            page.arg(LOG).arg(&from).arg("+").arg("COUNT").arg(PAGE);
            let entries: Value = page.query_async(&mut self.connection.clone()).await?;
            let Some(last) = take(&mut tally, &entries)? else { break };
            from = [b"(", last].concat();
        }
        Ok(tally)
    }

    async fn catch_up(&self, events: u64, deadline: Instant) -> Result<Tally> {
        let mut tally = Tally::default();
        let mut after = b"0".to_vec();
        while tally.events < events && Instant::now() < deadline {
            let mut page = cmd("XREAD");
            page.arg("COUNT").arg(PAGE).arg("BLOCK").arg(1000).arg("STREAMS").arg(LOG).arg(&after);
            let keys: Value = page.query_async(&mut self.connection.clone()).await?;
            let Value::Array(keys) = keys else { continue };
            for key in &keys {
                let Value::Array(key) = key else { bail!("no key and entries: {key:?}") };
                let entries = key.get(1).unwrap_or(&Value::Nil);
                if let Some(last) = take(&mut tally, entries)? {
                    after = last.to_vec();
                }
            }
        }
        Ok(tally)
    }
}

/// Takes entries as they come, each an id and its fields; the data is the last of these. Returns the last id.
fn take<'a>(tally: &mut Tally, entries: &'a Value) -> Result<Option<&'a [u8]>> {
    let Value::Array(entries) = entries else { bail!("no entries: {entries:?}") };
    let mut last = None;
    for entry in entries {
        let parts = match entry {
            Value::Array(parts) => &parts[..],
            _ => bail!("no entry: {entry:?}"),
        };
        let [Value::BulkString(id), Value::Array(fields)] = parts else {
            bail!("no id: {entry:?}")
        };
        match &fields[..] {
            [.., Value::BulkString(name), Value::BulkString(data)] if name == b"d" => {
                tally.take(data);
            }
            _ => bail!("no data: {entry:?}"),
        }
        last = Some(&id[..]);
    }
    Ok(last)
}
