//! A read model of each application's state and amount, made while the events are imported and the leader is killed:
//! it must equal what follows from the data itself, live or rebuilt, in SQLite and in PostgreSQL.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::process::Stdio;

use flate2::read::GzDecoder;
use quorate_app::projection::{
    Handler, HandlerError, Postgres, PostgresModel, Projection, Running, Sqlite, SqliteModel,
};
use quorate_app::sqlx::{self, Row};
use quorate_client::{Client, Query, RecordedEvent};
use quorate_tests::cluster::{Cluster, PATIENCE, json_lines};
use quorate_tests::data::DataSet;
use quorate_tests::postgres;
use tokio::runtime::Runtime;

/// The number of events in the data set that is generated where the real one is missing.
const GENERATED_EVENTS: u64 = 12_000;
const CREATE: &str = "(stream TEXT PRIMARY KEY, state TEXT, amount BIGINT, events BIGINT NOT NULL)";

/// The model's row for one application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Application {
    /// The type of the application's last event that changed its state.
    state: Option<String>,
    amount: Option<i64>,
    events: i64,
}

type Applications = BTreeMap<String, Application>;

/// Returns the state that an event leads to and the amount that it holds, each if there is one.
fn facts(kind: &str, data: &serde_json::Value) -> (Option<String>, Option<i64>) {
    let amount = data["AMOUNT_REQ"].as_str().and_then(|amount| amount.parse().ok());
    (kind.starts_with("A_").then(|| kind.to_owned()), amount)
}

/// Returns the model as it must be, computed from the file itself.
fn expected(data: &DataSet) -> Applications {
    let bytes = fs::read(&data.file).expect("the file");
    let mut text = Vec::new();
    match data.file.extension().is_some_and(|extension| extension == "gz") {
        true => drop(GzDecoder::new(&bytes[..]).read_to_end(&mut text).expect("a whole file")),
        false => text = bytes,
    }
    let mut applications = Applications::new();
    for line in json_lines(&text) {
        let stream = line["stream"].as_str().expect("a stream").to_owned();
        let (state, amount) = facts(line["type"].as_str().expect("a type"), &line["data"]);
        let application = applications.entry(stream).or_default();
        application.events += 1;
        application.state = state.or(application.state.take());
        application.amount = amount.or(application.amount.take());
    }
    applications
}

/// The handler that makes the model from events, in either database.
struct Projector;

macro_rules! projector {
    ($model:ty, $table:expr) => {
        impl Handler<$model> for Projector {
            async fn set_up(&self, model: &mut $model) -> Result<(), HandlerError> {
                let create = format!("CREATE TABLE {} {CREATE}", $table(model));
                sqlx::query(&create).execute(&mut **model).await?;
                Ok(())
            }

            async fn apply(
                &self,
                model: &mut $model,
                event: &RecordedEvent,
            ) -> Result<(), HandlerError> {
                let (state, amount) = facts(event.kind.as_str(), &event.json()?);
                let table = $table(model);
                let change = format!(
                    "INSERT INTO {table} VALUES ($1, $2, $3, 1) ON CONFLICT (stream) DO UPDATE SET \
                     state = COALESCE(excluded.state, {table}.state), \
                     amount = COALESCE(excluded.amount, {table}.amount), \
                     events = {table}.events + 1"
                );
                let stream = event.stream.as_str();
                let change = sqlx::query(&change).bind(stream).bind(state).bind(amount);
                change.execute(&mut **model).await?;
                Ok(())
            }
        }
    };
}

projector!(SqliteModel, |model: &SqliteModel| model.table("applications"));
projector!(PostgresModel, |_: &PostgresModel| "applications".to_owned());

const ALL: &str = "SELECT stream, state, amount, events FROM applications";

macro_rules! rows {
    ($executor:expr, $all:expr) => {
        sqlx::query($all)
            .fetch_all($executor)
            .await
            .expect("rows")
            .into_iter()
            .map(|row| {
                let (state, amount, events) = (row.get(1), row.get(2), row.get(3));
                (row.get(0), Application { state, amount, events })
            })
            .collect::<Applications>()
    };
}

/// Checks the model against the known facts of the real data, which are from its description.
fn check_known(applications: &Applications) {
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for application in applications.values() {
        *states.entry(application.state.as_deref().expect("a state")).or_default() += 1;
    }
    let known = [
        ("A_ACCEPTED", 3),
        ("A_ACTIVATED", 1_122),
        ("A_APPROVED", 337),
        ("A_CANCELLED", 2_807),
        ("A_DECLINED", 7_635),
        ("A_FINALIZED", 327),
        ("A_PREACCEPTED", 69),
        ("A_REGISTERED", 787),
    ];
    assert_eq!(states, BTreeMap::from(known));
    let amounts = applications.values().filter_map(|application| application.amount);
    assert_eq!(amounts.sum::<i64>(), 177_634_511);
    assert_eq!(applications["application-185548"].events, 175);
}

fn wait_for_position(runtime: &Runtime, running: &Running, position: u64) {
    let reached = runtime.block_on(running.reached(position, 5 * PATIENCE));
    reached.unwrap_or_else(|error| panic!("{error}; it is {:?}", running.status()));
}

#[test]
fn read_models_come_to_what_is_known_while_events_are_imported_and_the_leader_dies() {
    let mut cluster = Cluster::start("4MiB");
    let real = DataSet::real();
    let is_real = real.is_some();
    if !is_real {
        println!("SKIPPED: the real event data is not there; a generated data set is projected");
    }
    let data = real.unwrap_or_else(|| DataSet::generated(cluster.folder(), GENERATED_EVENTS));
    let (events, wanted) = (data.known.events, expected(&data));
    let addresses: Vec<String> = cluster.nodes.iter().map(|node| node.address.clone()).collect();
    let runtime = Runtime::new().expect("a runtime");
    let client = runtime.block_on(Client::connect(addresses)).expect("a cluster");
    let query = || Query::category("application");
    let file = cluster.folder().join("live.sqlite");
    let live = runtime.block_on(Sqlite::open(&file)).expect("a file");
    let projection = Projection::new("applications", query(), live.clone(), Projector);
    let running = runtime.block_on(async { projection.start(client.clone()) });

    let mut import = cluster.command(["import"]);
    import.arg(&data.file).stdout(Stdio::null()).stderr(Stdio::piped());
    let import = import.spawn().expect("the import starts");
    wait_for_position(&runtime, &running, events / 4);
    let leader = cluster.wait_for_leader();
    cluster.nodes[leader].kill();
    cluster.wait_for_leader();
    wait_for_position(&runtime, &running, events / 2);
    cluster.nodes[leader].start();
    let imported = import.wait_with_output().expect("the import ends");
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    wait_for_position(&runtime, &running, events);
    let made = runtime.block_on(async { rows!(live.readers(), ALL) });
    assert!(made == wanted, "what was made live is not what the file says");
    if is_real {
        check_known(&made);
    }

    // The model is made once more from the beginning, beside the live one, and takes its place.
    let rebuilt = runtime.block_on(async { projection.rebuild(client.clone()).wait().await });
    rebuilt.expect("it is rebuilt");
    let made = runtime.block_on(async { rows!(live.readers(), ALL) });
    assert!(made == wanted, "what was rebuilt is not what was live");
    runtime.block_on(running.stop()).expect("it stops");

    match postgres::Postgres::start() {
        None => println!("SKIPPED: the same in PostgreSQL: it is not installed"),
        Some(server) => {
            let store = runtime.block_on(Postgres::connect(&server.url)).expect("PostgreSQL");
            let parted = Projection::new("applications", query(), store.clone(), Projector);
            let parted = parted.partitions(4);
            let running = runtime.block_on(async { parted.start(client.clone()) });
            wait_for_position(&runtime, &running, events);
            let all = "SELECT stream, state, amount, events FROM applications.applications";
            let made = runtime.block_on(async { rows!(store.pool(), all) });
            assert!(made == wanted, "what PostgreSQL has is not what the file says");
            runtime.block_on(running.stop()).expect("it stops");
        }
    }
    cluster.check_logs();
}
