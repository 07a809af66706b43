//! Requests that cannot be met: without a user, with a body that is none, of what is not there.

use reqwest::Client as Http;
use serde_json::{Value, json};

use super::kit::Shop;

#[tokio::test]
async fn a_request_without_a_user_is_not_met() {
    let shop = Shop::open().await;
    let request = Http::new().get(shop.url("/tenants/acme/orders")).send().await;
    assert_eq!(request.expect("an answer").status().as_u16(), 401);
}

#[tokio::test]
async fn a_body_that_is_none_is_invalid() {
    let shop = Shop::open().await;
    for body in [Value::Null, json!({}), json!({ "customer": 7 }), json!({ "customer": "" })] {
        let answer = shop.post("/tenants/acme/orders/42", body.clone()).await;
        let expected = if body["customer"] == "" { 422 } else { 400 };
        assert_eq!(answer.status, expected, "{body}: {answer:?}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_missing() {
    let shop = Shop::open().await;
    assert_eq!(shop.get("/tenants/acme/orders/42").await.status, 404);
    assert_eq!(shop.get("/tenants/acme/customers/ann").await.status, 404);
    assert_eq!(shop.post("/tenants/acme/orders/42/submit", Value::Null).await.status, 422);
}
