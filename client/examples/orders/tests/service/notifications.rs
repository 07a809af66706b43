//! Notifications: mails that fail are tried again, and become dead letters that are sent again.

use serde_json::{Value, json};

use super::kit::{Shop, eventually};

const LETTERS: &str = "/operations/dead-letters";

/// Waits until there are so many dead letters, and returns them.
async fn letters(shop: &Shop, count: usize) -> Vec<Value> {
    eventually(&format!("{count} dead letters"), async || {
        let letters = shop.see(LETTERS).await;
        let letters = letters.as_array().expect("a list").clone();
        (letters.len() == count).then_some(letters)
    })
    .await
}

#[tokio::test]
async fn a_mail_that_fails_is_tried_again() {
    let shop = Shop::open().await;
    shop.post.lock().away_for = 2;
    shop.submit_order("/tenants/acme/orders/42", "ann").await;
    assert_eq!(shop.post.sent(1).await, ["please pay 700 cents for your order 42"]);
    assert_eq!(shop.post.lock().attempts, 3);
    letters(&shop, 0).await;
}

#[tokio::test]
async fn a_mail_that_fails_each_time_is_a_dead_letter_and_is_sent_again() {
    let shop = Shop::with(|settings| settings.mail_attempts = 2).await;
    shop.post.lock().away_for = usize::MAX;
    let position = shop.submit_order("/tenants/acme/orders/42", "ann").await;
    let dead = letters(&shop, 1).await;
    assert_eq!(dead[0]["position"], position);
    assert_eq!(dead[0]["attempts"], 2);
    assert_eq!(dead[0]["stream"], "acme/order-42");
    assert_eq!(dead[0]["reason"], "the mail server is away: no route");
    shop.post.lock().away_for = 0;
    let replay = json!({ "positions": [position] });
    let replayed = shop.post(&format!("{LETTERS}/replay"), replay).await;
    assert_eq!(replayed.body, json!({ "replayed": 1 }));
    assert_eq!(shop.post.sent(1).await, ["please pay 700 cents for your order 42"]);
    letters(&shop, 0).await;
}

#[tokio::test]
async fn a_mail_that_cannot_be_sent_is_a_dead_letter_at_once_and_holds_nobody_up() {
    let shop = Shop::open().await;
    shop.post.lock().without_address.insert("bob".into());
    shop.submit_order("/tenants/acme/orders/1", "bob").await;
    shop.submit_order("/tenants/acme/orders/2", "ann").await;
    assert_eq!(shop.post.sent(1).await, ["please pay 700 cents for your order 2"]);
    let dead = letters(&shop, 1).await;
    assert_eq!(
        (&dead[0]["attempts"], &dead[0]["reason"]),
        (&json!(1), &json!("`bob` has no address"))
    );
    shop.post.lock().without_address.clear();
    let replayed = shop.post(&format!("{LETTERS}/replay"), json!({})).await;
    assert_eq!(replayed.body, json!({ "replayed": 1 }));
    shop.post.sent(2).await;
    letters(&shop, 0).await;
}
