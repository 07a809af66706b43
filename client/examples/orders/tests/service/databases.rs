//! The service with PostgreSQL and with Redis, where they are installed, and its start after an end.

use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};

use super::kit::{Shop, tea};
use super::servers::{self, Server};

const ORDER: &str = "/tenants/acme/orders/42";

#[tokio::test]
async fn read_models_are_in_postgresql() {
    let Some(server) = servers::postgres() else { return };
    let url = format!("postgres:///postgres?user=postgres&host={}", server.path(""));
    let mut shop = Shop::with(|settings| settings.postgres = Some(url)).await;
    shop.submit_order(ORDER, "ann").await;
    shop.becomes(ORDER, "submitted", "requested").await;
    shop.done(&format!("{ORDER}/payment"), json!({ "amount": 700, "reference": "b-1" })).await;
    let page = shop.becomes(ORDER, "completed", "received").await;
    assert_eq!(page["items"], json!([tea(2)]));
    let at = &page["position"];
    let list = shop.see(&format!("/tenants/acme/orders?customer=ann&at_least={at}")).await;
    assert_eq!(list[0]["total"], 700);
    let customer = shop.see(&format!("/tenants/acme/customers/ann?at_least={at}")).await;
    assert_eq!(customer["spent"], 700);
    let sales = shop.see(&format!("/tenants/acme/sales?at_least={at}")).await;
    assert_eq!(sales[0]["created"], 1);
    shop.close().await;
}

#[tokio::test]
async fn a_service_that_starts_again_goes_on() {
    let mut shop = Shop::open().await;
    for number in 1..=3 {
        shop.submit_order(&format!("/tenants/acme/orders/{number}"), "ann").await;
        shop.close().await;
        shop.reopen().await;
    }
    for number in 1..=3 {
        shop.becomes(&format!("/tenants/acme/orders/{number}"), "submitted", "requested").await;
    }
    shop.post.sent(3).await;
    assert_eq!(shop.post.lock().sent.len(), 3);
}

#[tokio::test]
async fn a_second_process_stands_by_answers_and_takes_over() {
    let mut shop = Shop::open().await;
    let first = shop.open_beside().await;
    let position = shop.submit_order(ORDER, "ann").await;
    assert_eq!(shop.see(&format!("{ORDER}?at_least={position}")).await["status"], "submitted");
    let sales = shop.see(&format!("/tenants/acme/sales?at_least={position}")).await;
    assert_eq!(sales[0]["submitted"], 1);
    drop(first);
    shop.done(&format!("{ORDER}/cancel"), json!({ "reason": "changed my mind" })).await;
    shop.becomes(ORDER, "cancelled", "withdrawn").await;
    shop.post.sent(2).await;
    shop.close().await;
}

/// A shop with a cache, and a connection to it.
async fn with_redis(server: &Server) -> (Shop, MultiplexedConnection) {
    let url = format!("redis+unix://{}", server.path("socket"));
    let client = redis::Client::open(url.as_str()).expect("a client");
    let connection = client.get_multiplexed_async_connection().await.expect("a connection");
    (Shop::with(|settings| settings.redis = Some(url)).await, connection)
}

/// Returns the page of the order that is in the cache.
async fn cached(connection: &mut MultiplexedConnection) -> Option<Value> {
    let mut get = redis::cmd("HGET");
    get.arg("orders:page:acme/42").arg("page");
    let page: Option<String> = get.query_async(connection).await.expect("an answer");
    page.map(|page| serde_json::from_str(&page).expect("a page"))
}

#[tokio::test]
async fn pages_are_cached_until_an_event_changes_them() {
    let Some(server) = servers::redis() else { return };
    let (shop, mut connection) = with_redis(&server).await;
    let mut position = shop.done(ORDER, json!({ "customer": "ann" })).await;
    for pieces in 1..=20_u64 {
        let page = shop.see(&format!("{ORDER}?at_least={position}")).await;
        assert_eq!(cached(&mut connection).await, Some(page));
        position = shop.done(&format!("{ORDER}/items"), tea(1)).await;
        // Another query says when the event is in the read model.
        shop.see(&format!("/tenants/acme/orders?at_least={position}")).await;
        assert_eq!(cached(&mut connection).await, None);
        assert_eq!(shop.see(ORDER).await["total"], 350 * pieces);
    }
}

#[tokio::test]
async fn a_page_of_before_an_event_is_not_cached_after_it() {
    let Some(server) = servers::redis() else { return };
    let (shop, mut connection) = with_redis(&server).await;
    let position = shop.done(ORDER, json!({ "customer": "ann" })).await;
    let page = shop.see(&format!("{ORDER}?at_least={position}")).await;
    // The entry as the projection leaves it when it has an event that its database does not have yet.
    let mut mark = redis::pipe();
    mark.hset("orders:page:acme/42", "position", position + 1).hdel("orders:page:acme/42", "page");
    mark.exec_async(&mut connection).await.expect("an answer");
    assert_eq!(shop.see(ORDER).await, page);
    assert_eq!(cached(&mut connection).await, None);
}

#[tokio::test]
async fn a_page_that_is_cached_is_not_read_again() {
    let Some(server) = servers::redis() else { return };
    let (shop, mut connection) = with_redis(&server).await;
    let position = shop.done(ORDER, json!({ "customer": "ann" })).await;
    let mut page = shop.see(&format!("{ORDER}?at_least={position}")).await;
    page["customer"] = json!("the cache");
    let mut change = redis::cmd("HSET");
    change.arg("orders:page:acme/42").arg("page").arg(page.to_string());
    let _: i64 = change.query_async(&mut connection).await.expect("an answer");
    assert_eq!(shop.see(ORDER).await["customer"], "the cache");
}

#[tokio::test]
async fn a_cache_that_is_away_is_missed_by_nobody() {
    let Some(server) = servers::redis() else { return };
    let (shop, _) = with_redis(&server).await;
    drop(server);
    let position = shop.submit_order(ORDER, "ann").await;
    let page = shop.see(&format!("{ORDER}?at_least={position}")).await;
    assert_eq!(page["status"], "submitted");
}
