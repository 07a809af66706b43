//! Tests that only SQLite needs: other writers of the file, views over a model, names.

use quorate_app::projection::{ProjectionError, Sqlite};
use quorate_app::sqlx::{self, Connection, Row, SqliteConnection};
use tempfile::TempDir;

use super::harness::{PATIENCE, finish, projection, run};
use super::kit::Notes;
use super::script::Script;

async fn store(folder: &TempDir) -> Sqlite {
    Sqlite::open(folder.path().join("models.sqlite")).await.expect("a file")
}

async fn connection(folder: &TempDir) -> SqliteConnection {
    let path = folder.path().join("models.sqlite").display().to_string();
    SqliteConnection::connect(&path).await.expect("a file")
}

async fn count(connection: &mut SqliteConnection, select: &str) -> i64 {
    sqlx::query(select).fetch_one(connection).await.expect("a row").get(0)
}

#[test]
fn other_writers_of_the_file_are_waited_for() {
    run(async {
        let (folder, script) = (tempfile::tempdir().expect("a folder"), Script::new());
        script.fill(10);
        let orders = projection(store(&folder).await, "orders", Notes::new("orders"));
        let running = orders.start(script.clone());
        running.reached(10, PATIENCE).await.expect("everything is applied");
        let mut other = connection(&folder).await;
        sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.expect("the lock");
        sqlx::query("CREATE TABLE mine (id INTEGER)").execute(&mut other).await.expect("a table");
        script.fill(10);
        let late = running.reached(20, std::time::Duration::from_millis(300)).await;
        late.expect_err("the file is locked");
        sqlx::query("COMMIT").execute(&mut other).await.expect("committed");
        finish(running, &script).await;
        assert_eq!(count(&mut other, "SELECT COUNT(*) FROM notes_orders").await, 20);
    });
}

/// Views name the live tables: a swap must neither fail because of them nor leave them at the old tables.
#[test]
fn views_over_a_model_and_its_indexes_outlive_a_swap() {
    run(async {
        let (folder, script) = (tempfile::tempdir().expect("a folder"), Script::new());
        script.fill(20);
        let orders = projection(store(&folder).await, "orders", Notes::new("orders"));
        finish(orders.start(script.clone()), &script).await;
        let mut reader = connection(&folder).await;
        let view = "CREATE VIEW last AS SELECT MAX(version) FROM notes_orders";
        sqlx::query(view).execute(&mut reader).await.expect("a view");
        for rebuilds in 1..=3 {
            script.fill(7);
            orders.rebuild(script.clone()).wait().await.expect("it is swapped");
            let rows = count(&mut reader, "SELECT COUNT(*) FROM notes_orders").await;
            assert_eq!(rows, 20 + 7 * rebuilds);
            assert!(count(&mut reader, "SELECT * FROM last").await >= 3);
            let indexes = "SELECT COUNT(*) FROM sqlite_master WHERE tbl_name = 'notes_orders' \
                           AND type = 'index'";
            assert_eq!(count(&mut reader, indexes).await, 1);
            let left =
                "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name LIKE '%rebuild%'";
            assert_eq!(count(&mut reader, left).await, 0);
        }
    });
}

/// Each connection to a database in memory would have its own, so that readers would see no model.
#[test]
fn a_database_that_is_no_file_is_refused() {
    run(async {
        for name in [":memory:", ""] {
            let error = Sqlite::open(name).await.map(|_| ()).expect_err(name);
            assert!(error.to_string().contains("need a file in WAL mode"), "{error}");
        }
        let shared = "sqlite::memory:".parse().expect("options");
        let error = Sqlite::with(shared).await.map(|_| ()).expect_err("it is in memory");
        assert!(error.to_string().contains("need a file in WAL mode"), "{error}");
    });
}

#[test]
fn a_name_that_breaks_a_rule_is_reported() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["", "two words", "a/b", "ö", &"x".repeat(49)] {
            let orders = projection(store(&folder).await, name, Notes::new("orders"));
            let error = orders.start(Script::new()).wait().await.expect_err("it is refused");
            assert!(matches!(error, ProjectionError::Invalid(_)), "{error}");
        }
        let orders = projection(store(&folder).await, "orders", Notes::new("orders"));
        let error =
            orders.partitions(0).start(Script::new()).wait().await.expect_err("it is refused");
        assert!(error.to_string().contains("from 1 to 256"), "{error}");
    });
}
