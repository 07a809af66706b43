//! Tests that only PostgreSQL needs: connections that are cut, transactions that are broken, schemas.

use std::sync::atomic::{AtomicBool, Ordering};

use quorate_app::projection::{
    Handler, HandlerError, OnFailure, Postgres, PostgresModel, ProjectionError,
};
use quorate_app::sqlx::{self, Row};
use quorate_client::RecordedEvent;

use super::harness::{PATIENCE, finish, projection, run};
use super::kit::{Kit, Notes, PostgresKit};
use super::script::Script;

#[test]
fn connections_that_are_cut_are_made_again() {
    let Some(kit) = PostgresKit::new() else { return };
    run(async {
        let script = Script::new();
        let store = kit.open().await;
        let orders = projection(kit.open().await, "orders", Notes::new("orders")).partitions(3);
        let running = orders.start(script.clone());
        for _ in 0..20 {
            script.fill(100);
            // All other connections are cut, in the middle of their work.
            let cut = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity \
                       WHERE pid <> pg_backend_pid() AND datname = current_database()";
            sqlx::query(cut).execute(store.pool()).await.expect("cut");
        }
        running.reached(script.end(), PATIENCE).await.expect("it goes on");
        finish(running, &script).await;
        let rows = kit.rows(&kit.open().await, "orders").await;
        assert_eq!(rows, Some(script.expected(2_000)));
    });
}

/// A handler that ignores the error of a statement, after which PostgreSQL refuses the rest of the transaction but
/// reports no error of its COMMIT.
struct Swallows(AtomicBool);

impl Handler<PostgresModel> for Swallows {
    async fn apply(
        &self,
        model: &mut PostgresModel,
        event: &RecordedEvent,
    ) -> Result<(), HandlerError> {
        if event.position.0 == 5 && !self.0.load(Ordering::SeqCst) {
            let _swallowed = sqlx::query("SELECT * FROM nowhere").execute(&mut **model).await;
        }
        Ok(())
    }
}

#[test]
fn a_transaction_that_a_handler_broke_is_not_taken_for_committed() {
    let Some(kit) = PostgresKit::new() else { return };
    run(async {
        let script = Script::new();
        script.fill(5);
        let store = kit.open().await;
        let orders = projection(store.clone(), "orders", Swallows(AtomicBool::new(false)));
        let error = orders.start(script.clone()).wait().await.expect_err("it fails");
        assert!(matches!(error, ProjectionError::Handler { position: 5, .. }), "{error}");
        assert_eq!(orders.position().await.expect("an answer"), 4);
        let orders = orders.on_failure(OnFailure::Park);
        finish(orders.start(script.clone()), &script).await;
        let parked = orders.parked().await.expect("an answer");
        assert_eq!(parked.len(), 1);
        orders.replay(&script, &parked).await.expect_err("it fails again");
        assert_eq!(orders.parked().await.expect("an answer"), parked);
        let mended = projection(store, "orders", Swallows(AtomicBool::new(true)));
        assert_eq!(mended.replay(&script, &parked).await.expect("it is applied"), 1);
    });
}

#[test]
fn a_schema_that_is_somebody_elses_is_left_alone() {
    let Some(kit) = PostgresKit::new() else { return };
    run(async {
        let script = Script::new();
        let store = kit.open().await;
        for make in ["CREATE SCHEMA orders", "CREATE TABLE orders.mine (id INT)"] {
            sqlx::query(make).execute(store.pool()).await.expect("made");
        }
        for name in ["orders", "public", "quorate", "pg_orders"] {
            let orders = projection(store.clone(), name, Notes::new("orders"));
            let error = orders.start(script.clone()).wait().await.expect_err("it is refused");
            assert!(matches!(error, ProjectionError::Store(_)), "{error}");
        }
        let rows = sqlx::query("SELECT COUNT(*) FROM orders.mine").fetch_one(store.pool()).await;
        assert_eq!(rows.expect("it is there").get::<i64, _>(0), 0);
    });
}

/// A handler that grants another user the right to read the model when it is set up.
struct Granted;

impl Handler<PostgresModel> for Granted {
    async fn set_up(&self, model: &mut PostgresModel) -> Result<(), HandlerError> {
        let schema = model.schema().to_owned();
        for make in [
            "CREATE TABLE positions (position BIGINT)".to_owned(),
            format!("GRANT USAGE ON SCHEMA {schema} TO reader"),
            "GRANT SELECT ON positions TO reader".to_owned(),
        ] {
            sqlx::query(&make).execute(&mut **model).await?;
        }
        Ok(())
    }

    async fn apply(
        &self,
        model: &mut PostgresModel,
        event: &RecordedEvent,
    ) -> Result<(), HandlerError> {
        let insert = format!("INSERT INTO {} VALUES ($1)", model.table("positions"));
        sqlx::query(&insert).bind(event.position.0 as i64).execute(&mut **model).await?;
        Ok(())
    }
}

#[test]
fn rights_are_granted_anew_with_each_rebuild() {
    let Some(kit) = PostgresKit::new() else { return };
    run(async {
        let script = Script::new();
        script.fill(5);
        let store: Postgres = kit.open().await;
        sqlx::query("CREATE ROLE reader").execute(store.pool()).await.expect("a role");
        let orders = projection(store.clone(), "orders-2", Granted);
        finish(orders.start(script.clone()), &script).await;
        for _ in 0..2 {
            let mut transaction = store.pool().begin().await.expect("a transaction");
            sqlx::query("SET LOCAL ROLE reader").execute(&mut *transaction).await.expect("a role");
            let rows = sqlx::query("SELECT COUNT(*) FROM \"orders-2\".positions");
            let rows = rows.fetch_one(&mut *transaction).await.expect("it may be read");
            assert_eq!(rows.get::<i64, _>(0), 5);
            drop(transaction);
            orders.rebuild(script.clone()).wait().await.expect("it is swapped");
        }
    });
}
