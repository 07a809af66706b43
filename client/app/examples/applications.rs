//! A read model of loan applications: the state, the amount and the number of events of each, in SQLite or PostgreSQL.
//!
//! The events are those of `quorate import`: a stream `application-N` for each application, whose first event carries
//! the amount asked for, and whose state is the type of its last event that begins with `A_`.
//!
//! ```text
//! cargo run -p quorate-app --features postgres --example applications -- \
//!     [--endpoints ADDR,…] [--sqlite FILE | --postgres URL] [--rebuild] [--until POSITION]
//! ```

use std::error::Error;
use std::time::Duration;

use quorate_app::projection::{
    Handler, HandlerError, OnFailure, Projection, Running, Sqlite, SqliteModel, Store,
};
use quorate_app::sqlx;
use quorate_client::{Client, Query, RecordedEvent};

/// The part of an application's first event that the model needs.
#[derive(serde::Deserialize)]
struct Facts {
    #[serde(rename = "AMOUNT_REQ")]
    amount: Option<String>,
}

/// The change that one event makes to the model.
struct Change {
    stream: String,
    state: Option<String>,
    amount: Option<i64>,
}

fn change(event: &RecordedEvent) -> Result<Change, HandlerError> {
    let facts: Facts = event.json()?;
    let kind = event.kind.as_str();
    Ok(Change {
        stream: event.stream.to_string(),
        state: kind.starts_with("A_").then(|| kind.to_owned()),
        amount: facts.amount.map(|amount| amount.parse()).transpose()?,
    })
}

const COLUMNS: &str =
    "(stream TEXT PRIMARY KEY, state TEXT, amount BIGINT, events BIGINT NOT NULL)";

/// Returns SQL that counts an event of an application; a state or an amount that the event lacks is kept.
fn upsert(table: &str) -> String {
    format!(
        "INSERT INTO {table} AS known VALUES ($1, $2, $3, 1) ON CONFLICT (stream) DO UPDATE SET \
         state = COALESCE(excluded.state, known.state), \
         amount = COALESCE(excluded.amount, known.amount), events = known.events + 1"
    )
}

struct Applications;

impl Handler<SqliteModel> for Applications {
    async fn set_up(&self, model: &mut SqliteModel) -> Result<(), HandlerError> {
        let create = format!("CREATE TABLE {} {COLUMNS}", model.table("applications"));
        sqlx::query(&create).execute(&mut **model).await?;
        Ok(())
    }

    async fn apply(
        &self,
        model: &mut SqliteModel,
        event: &RecordedEvent,
    ) -> Result<(), HandlerError> {
        let Change { stream, state, amount } = change(event)?;
        let upsert = upsert(&model.table("applications"));
        let upsert = sqlx::query(&upsert).bind(stream).bind(state).bind(amount);
        upsert.execute(&mut **model).await?;
        Ok(())
    }
}

#[cfg(feature = "postgres")]
impl Handler<quorate_app::projection::PostgresModel> for Applications {
    async fn set_up(
        &self,
        model: &mut quorate_app::projection::PostgresModel,
    ) -> Result<(), HandlerError> {
        let create = format!("CREATE TABLE applications {COLUMNS}");
        sqlx::query(&create).execute(&mut **model).await?;
        Ok(())
    }

    async fn apply(
        &self,
        model: &mut quorate_app::projection::PostgresModel,
        event: &RecordedEvent,
    ) -> Result<(), HandlerError> {
        let Change { stream, state, amount } = change(event)?;
        let upsert = upsert("applications");
        let upsert = sqlx::query(&upsert).bind(stream).bind(state).bind(amount);
        upsert.execute(&mut **model).await?;
        Ok(())
    }
}

/// The arguments of the command line.
struct Arguments {
    endpoints: Vec<String>,
    sqlite: String,
    postgres: Option<String>,
    /// True if the model is made anew beside the live one; the program ends when the new one has replaced it.
    rebuild: bool,
    /// The position at which the program ends: when everything up to it is in the model.
    until: Option<u64>,
}

impl Arguments {
    fn read() -> Result<Arguments, Box<dyn Error>> {
        let endpoints = ["127.0.0.1:7701", "127.0.0.1:7702", "127.0.0.1:7703"];
        let mut arguments = Arguments {
            endpoints: endpoints.map(str::to_owned).to_vec(),
            sqlite: "applications.sqlite".into(),
            postgres: None,
            rebuild: false,
            until: None,
        };
        let mut given = std::env::args().skip(1);
        while let Some(flag) = given.next() {
            let mut value = || given.next().ok_or(format!("`{flag}` needs a value"));
            match flag.as_str() {
                "--endpoints" => {
                    arguments.endpoints = value()?.split(',').map(str::to_owned).collect();
                }
                "--sqlite" => arguments.sqlite = value()?,
                "--postgres" => arguments.postgres = Some(value()?),
                "--rebuild" => arguments.rebuild = true,
                "--until" => arguments.until = Some(value()?.parse()?),
                _ => return Err(format!("`{flag}` is not known").into()),
            }
        }
        Ok(arguments)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::read()?;
    let client = Client::connect(arguments.endpoints.clone()).await?;
    match &arguments.postgres {
        None => {
            let store = Sqlite::open(&arguments.sqlite).await?;
            project(store, client, &arguments).await
        }
        #[cfg(feature = "postgres")]
        Some(url) => {
            let store = quorate_app::projection::Postgres::connect(url).await?;
            project(store, client, &arguments).await
        }
        #[cfg(not(feature = "postgres"))]
        Some(_) => Err("built without PostgreSQL: add `--features postgres`".into()),
    }
}

async fn project<S: Store>(
    store: S,
    client: Client,
    arguments: &Arguments,
) -> Result<(), Box<dyn Error>>
where
    Applications: Handler<S::Model>,
{
    let query = Query::category("application");
    let projection = Projection::new("applications", query, store, Applications)
        .on_failure(OnFailure::Park)
        .progress_bar();
    if arguments.rebuild {
        projection.rebuild(client).wait().await?;
        println!("rebuilt up to position {}", projection.position().await?);
        return Ok(());
    }
    let running = projection.start(client);
    tokio::select! {
        arrived = arrive(&running, arguments.until) => arrived?,
        pressed = tokio::signal::ctrl_c() => pressed?,
    }
    let status = running.status();
    println!("{} events applied, up to position {}", status.applied, status.position);
    for parked in projection.parked().await? {
        println!("parked: {} `{}`: {}", parked.position, parked.stream, parked.reason);
    }
    Ok(running.stop().await?)
}

/// Waits until the model has everything up to position `until`, or the projection cannot go on.
async fn arrive(running: &Running, until: Option<u64>) -> Result<(), Box<dyn Error>> {
    let position = until.unwrap_or(u64::MAX);
    Ok(running.reached(position, Duration::MAX).await?)
}
