//! Tenants: nobody sees or changes what is another's.

use serde_json::{Value, json};

use super::kit::{Shop, tea};

#[tokio::test]
async fn tenants_are_kept_apart() {
    let shop = Shop::open().await;
    shop.submit_order("/tenants/acme/orders/42", "ann").await;
    let other = "/tenants/globex/orders/42";
    assert_eq!(
        shop.post(&format!("{other}/cancel"), json!({ "reason": "mine" })).await.status,
        422
    );
    let last = shop.done(other, json!({ "customer": "ann" })).await;
    let page = shop.see(&format!("{other}?at_least={last}")).await;
    assert_eq!((&page["status"], &page["items"]), (&json!("open"), &json!([])));
    for (tenant, total) in [("acme", 700), ("globex", 0)] {
        let orders = shop.see(&format!("/tenants/{tenant}/orders?at_least={last}")).await;
        let totals: Vec<_> =
            orders.as_array().expect("rows").iter().map(|row| &row["total"]).collect();
        assert_eq!(totals, [total], "{tenant}");
        let customer = shop.see(&format!("/tenants/{tenant}/customers/ann?at_least={last}")).await;
        assert_eq!(customer["orders"], 1, "{tenant}");
        let sales = shop.see(&format!("/tenants/{tenant}/sales?at_least={last}")).await;
        assert_eq!(sales[0]["created"], 1, "{tenant}");
    }
    let nobody = shop.see(&format!("/tenants/initech/orders?at_least={last}")).await;
    assert_eq!(nobody, json!([]));
}

#[tokio::test]
async fn no_id_leads_out_of_a_tenant() {
    let shop = Shop::open().await;
    shop.submit_order("/tenants/acme/orders/42", "ann").await;
    for path in ["/tenants/globex/orders/..%2Facme%2Forder-42", "/tenants/globex/orders/a%2Fb"] {
        let answer = shop.post(&format!("{path}/items"), tea(1)).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(shop.get(&format!("{path}/history")).await.status, 400);
    }
    for tenant in ["acme%2Feu", "ACME", "%24system", "a b"] {
        let path = format!("/tenants/{tenant}/orders/42/submit");
        assert_eq!(shop.post(&path, Value::Null).await.status, 400, "{tenant}");
    }
}
