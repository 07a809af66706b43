//! The payment process: orders that are not paid, not wanted any more, or both at once.

use std::time::Duration;

use orders::domain::{Order, OrderCommand, Payment, PaymentCommand};
use quorate_app::decider::Repository;
use serde_json::json;

use super::kit::Shop;

const ORDER: &str = "/tenants/acme/orders/42";

#[tokio::test]
async fn an_order_that_is_not_paid_in_time_is_cancelled() {
    let shop = Shop::with(|settings| settings.payment_time = Duration::from_millis(50)).await;
    shop.submit_order(ORDER, "ann").await;
    shop.becomes(ORDER, "cancelled", "withdrawn").await;
    let late = json!({ "amount": 700, "reference": "b-1" });
    let refused = shop.post(&format!("{ORDER}/payment"), late).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    let mails = shop.post.sent(2).await;
    assert_eq!(mails[1], "your order 42 is cancelled: not paid in time");
    // The process did it for the one who submitted the order.
    let history = shop.see(&format!("{ORDER}/history")).await;
    let cancelled = history.as_array().and_then(|entries| entries.last()).expect("an entry");
    assert_eq!((&cancelled["by"], &cancelled["correlation"]), (&json!("ann"), &json!("visit-7")));
}

#[tokio::test]
async fn the_payment_of_a_cancelled_order_is_withdrawn() {
    let shop = Shop::open().await;
    shop.submit_order(ORDER, "ann").await;
    shop.becomes(ORDER, "submitted", "requested").await;
    shop.done(&format!("{ORDER}/cancel"), json!({ "reason": "changed my mind" })).await;
    shop.becomes(ORDER, "cancelled", "withdrawn").await;
}

#[tokio::test]
async fn the_money_for_an_order_that_was_cancelled_meanwhile_is_given_back() {
    for pays_first in [true, false] {
        let mut shop = Shop::open().await;
        shop.submit_order(ORDER, "ann").await;
        shop.becomes(ORDER, "submitted", "requested").await;
        // While the process does not run, both happen.
        shop.close().await;
        let client = shop.cluster.client();
        let (orders, payments) =
            (Repository::<Order>::new(client.clone()), Repository::<Payment>::new(client));
        let cancel = OrderCommand::Cancel { reason: "changed my mind".into() };
        let cancelling = async || {
            orders.handle("42", &cancel).tenant("acme").await.expect("it is cancelled");
        };
        if !pays_first {
            cancelling().await;
        }
        let receive = PaymentCommand::Receive { amount: 700, reference: "b-1".into() };
        payments.handle("42", &receive).tenant("acme").await.expect("it is received");
        if pays_first {
            cancelling().await;
        }
        shop.reopen().await;
        shop.becomes(ORDER, "cancelled", "refunded").await;
    }
}

#[tokio::test]
async fn a_payment_is_taken_once_it_is_requested_and_in_full() {
    let shop = Shop::open().await;
    let pay = async |amount: u64| {
        let paid = json!({ "amount": amount, "reference": "b-1" });
        shop.post(&format!("{ORDER}/payment"), paid).await
    };
    assert_eq!(pay(700).await.status, 422);
    shop.submit_order(ORDER, "ann").await;
    shop.becomes(ORDER, "submitted", "requested").await;
    let refused = pay(600).await;
    assert_eq!((refused.status, &refused.body["detail"]), (422, &json!("700 is due")));
    assert_eq!(pay(700).await.status, 200);
    shop.becomes(ORDER, "completed", "received").await;
}
