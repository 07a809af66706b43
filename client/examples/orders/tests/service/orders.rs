//! Orders from their creation to their completion, and what keeps them right.

use orders::domain::{Item, Order, OrderCommand};
use quorate_app::decider::Repository;
use reqwest::Method;
use serde_json::{Value, json};

use super::kit::{Shop, tea};

const ORDER: &str = "/tenants/acme/orders/42";

#[tokio::test]
async fn an_order_goes_from_its_creation_to_its_completion() {
    let mut shop = Shop::open().await;
    shop.done(ORDER, json!({ "customer": "ann" })).await;
    shop.done(&format!("{ORDER}/items"), tea(2)).await;
    let cup = json!({ "sku": "cup", "quantity": 1, "unit_price": 900 });
    shop.done(&format!("{ORDER}/items"), cup).await;
    let removed = shop.send(Method::DELETE, &format!("{ORDER}/items/cup"), None, Value::Null).await;
    assert_eq!(removed.status, 200, "{removed:?}");
    shop.done(&format!("{ORDER}/submit"), Value::Null).await;
    shop.becomes(ORDER, "submitted", "requested").await;
    let paid = json!({ "amount": 700, "reference": "b-1" });
    shop.done(&format!("{ORDER}/payment"), paid).await;
    let page = shop.becomes(ORDER, "completed", "received").await;
    assert_eq!((&page["total"], &page["items"]), (&json!(700), &json!([tea(2)])));

    // A moment may lie between the read models.
    let at = &page["position"];
    let customer = shop.see(&format!("/tenants/acme/customers/ann?at_least={at}")).await;
    let expected =
        json!({ "customer": "ann", "orders": 1, "completed": 1, "cancelled": 0, "spent": 700 });
    assert_eq!(customer, expected);
    let sales = shop.see(&format!("/tenants/acme/sales?at_least={at}")).await;
    let sum = |column: &str| -> u64 {
        let days = sales.as_array().expect("days");
        days.iter().map(|day| day[column].as_u64().expect("a number")).sum()
    };
    let sums = ["created", "submitted", "completed", "cancelled", "revenue"].map(sum);
    assert_eq!(sums, [1, 1, 1, 0, 700]);
    let mails = shop.post.sent(2).await;
    assert_eq!(
        mails,
        ["please pay 700 cents for your order 42", "thank you: your order 42 is on its way"]
    );
    shop.close().await;
}

#[tokio::test]
async fn a_refused_command_changes_nothing() {
    let shop = Shop::open().await;
    shop.done(ORDER, json!({ "customer": "ann" })).await;
    let refused = shop.post(&format!("{ORDER}/submit"), Value::Null).await;
    assert_eq!((refused.status, &refused.body["title"]), (422, &json!("refused")));
    assert_eq!(refused.body["detail"], "the order has no items");
    let history = shop.see(&format!("{ORDER}/history")).await;
    assert_eq!(history.as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_repeated_command_gets_the_first_answer() {
    let shop = Shop::open().await;
    shop.done(ORDER, json!({ "customer": "ann" })).await;
    let add = || shop.send(Method::POST, "/tenants/acme/orders/42/items", Some("add-1"), tea(2));
    let (first, second) = (add().await.body, add().await.body);
    assert_eq!(first["is_repetition"], false);
    assert_eq!(second["is_repetition"], true);
    assert_eq!((&first["position"], &first["version"]), (&second["position"], &second["version"]));
    let page = shop.see(&format!("{ORDER}?at_least={}", second["position"])).await;
    assert_eq!(page["items"], json!([tea(2)]));
}

/// Adds an item as another process would, behind the back of the service's cache.
async fn add_elsewhere(shop: &Shop) {
    let elsewhere = Repository::<Order>::new(shop.cluster.client());
    let item = Item { sku: "cup".into(), quantity: 1, unit_price: 900 };
    let add = OrderCommand::AddItem(item);
    elsewhere.handle("42", &add).tenant("acme").await.expect("it is added");
}

#[tokio::test]
async fn a_command_that_was_overtaken_is_decided_again() {
    let shop = Shop::open().await;
    shop.done(ORDER, json!({ "customer": "ann" })).await;
    add_elsewhere(&shop).await;
    let position = shop.done(&format!("{ORDER}/items"), tea(2)).await;
    let page = shop.see(&format!("{ORDER}?at_least={position}")).await;
    assert_eq!(page["total"], 900 + 700);
}

#[tokio::test]
async fn a_command_that_is_not_decided_again_is_a_conflict() {
    let shop = Shop::with(|settings| settings.retries = 0).await;
    shop.done(ORDER, json!({ "customer": "ann" })).await;
    add_elsewhere(&shop).await;
    let conflict = shop.post(&format!("{ORDER}/items"), tea(2)).await;
    assert_eq!((conflict.status, &conflict.body["title"]), (409, &json!("conflict")));
    // The conflict has told the service that there is something new.
    shop.done(&format!("{ORDER}/items"), tea(2)).await;
}

#[tokio::test]
async fn a_query_shows_what_a_command_did() {
    let shop = Shop::open().await;
    for number in 1..=20_u64 {
        let order = format!("/tenants/acme/orders/{number}");
        let position = shop.done(&order, json!({ "customer": "ann" })).await;
        let page = shop.see(&format!("{order}?at_least={position}")).await;
        assert_eq!((&page["status"], &page["position"]), (&json!("open"), &json!(position)));
        let orders = shop.see(&format!("/tenants/acme/orders?at_least={position}")).await;
        assert_eq!(orders[0]["id"], number.to_string());
        let customer = shop.see(&format!("/tenants/acme/customers/ann?at_least={position}")).await;
        assert_eq!(customer["orders"], number);
        let sales = shop.see(&format!("/tenants/acme/sales?at_least={position}")).await;
        let days = sales.as_array().expect("days").iter();
        assert_eq!(days.filter_map(|day| day["created"].as_u64()).sum::<u64>(), number);
    }
}

#[tokio::test]
async fn lists_are_filtered() {
    let shop = Shop::open().await;
    shop.submit_order("/tenants/acme/orders/1", "ann").await;
    let last = shop.done("/tenants/acme/orders/2", json!({ "customer": "bob" })).await;
    let ids = async |filter: &str| -> Vec<String> {
        let list = shop.see(&format!("/tenants/acme/orders?at_least={last}&{filter}")).await;
        let rows = list.as_array().expect("rows").iter();
        rows.map(|row| row["id"].as_str().expect("an id").to_owned()).collect()
    };
    assert_eq!(ids("customer=ann").await, ["1"]);
    assert_eq!(ids("status=open").await, ["2"]);
    assert_eq!(ids("customer=ann&status=open").await, [""; 0]);
    assert_eq!(ids("").await.len(), 2);
}

#[tokio::test]
async fn the_history_says_who_did_what_and_the_past_what_was() {
    let shop = Shop::open().await;
    shop.submit_order(ORDER, "ann").await;
    let history = shop.see(&format!("{ORDER}/history")).await;
    let kinds: Vec<_> = history.as_array().expect("entries").iter().map(|it| &it["type"]).collect();
    assert_eq!(kinds, ["OrderCreated", "ItemAdded", "OrderSubmitted"]);
    let added = &history[1];
    assert_eq!((&added["by"], &added["correlation"]), (&json!("ann"), &json!("visit-7")));
    assert_eq!(added["data"], tea(2));
    let at = added["at"].as_str().expect("a time");
    let past = shop.see(&format!("{ORDER}/past?at={at}")).await;
    // Events of one moment are all of the past at that moment.
    assert!(past["version"].as_u64() >= Some(2), "{past}");
    assert_eq!(past["total"], 700);
    let before = shop.see(&format!("{ORDER}/past?at=2020-01-01T00:00:00Z")).await;
    assert_eq!((&before["version"], &before["order"]["status"]), (&json!(0), &json!("missing")));
}
