//! The session of the README with processes: `quorate dev`, whose leader is killed meanwhile, and the service.

use reqwest::{Client as Http, Method, RequestBuilder};
use serde_json::{Value, json};

use super::dev::{Dev, Program};
use super::kit::eventually;

const README: &str = include_str!("../../README.md");
const ORDER: &str = "/tenants/acme/orders/42";

/// The service as a process, and a caller.
struct Caller {
    http: Http,
    address: String,
}

impl Caller {
    /// Starts the service on a free port, with everything else as it is by default.
    fn of_service(cluster: &Dev) -> (Caller, Program) {
        let mut command = cluster.command(env!("CARGO_BIN_EXE_orders"));
        let mut service = cluster.run(command.env("QUORATE_EXAMPLE_LISTEN", "127.0.0.1:0"));
        let said = service.prints("orders are taken at http://");
        let address = said.split_whitespace().find(|word| word.starts_with("http://"));
        let address = address.expect("an address").trim_end_matches(';').to_owned();
        (Caller { http: Http::new(), address }, service)
    }

    /// Sends a command of ann, and returns the status and the body of the answer.
    async fn post(&self, path: &str, key: &str, body: &Value) -> (u16, String) {
        let request = self.request(Method::POST, path).header("Idempotency-Key", key).json(body);
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    }

    /// Sends a command again, with the same key, as long as the answer is that it may be carried out later.
    async fn insist(&self, path: &str, key: &str, body: Value) {
        eventually(path, async || {
            let (status, body) = self.post(path, key, &body).await;
            assert!([200, 503, 504].contains(&status), "{path}: {status} {body}");
            (status == 200).then_some(())
        })
        .await;
    }

    /// Sends a query of ann.
    async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.request(Method::GET, path).send().await.expect("an answer");
        let (status, body) = (answer.status().as_u16(), answer.text().await.expect("a body"));
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.address)).header("X-User", "ann")
    }

    /// Sends a query again until its answer is as expected, and returns the answer.
    async fn becomes(&self, path: &str, is_expected: impl Fn(&Value) -> bool) -> Value {
        eventually(path, async || {
            let (status, body) = self.get(path).await;
            (status == 200 && is_expected(&body)).then_some(body)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_session_of_the_readme_goes_on_when_the_leader_is_killed() {
    let Some(mut cluster) = Dev::start() else { return };
    let (caller, mut service) = Caller::of_service(&cluster);
    let answers_as_documented = |(status, body): (u16, String), expected: u16| {
        assert_eq!(status, expected, "{body}");
        assert!(README.contains(&body), "the README does not show this answer: {body}");
    };

    let tea = json!({ "sku": "tea", "quantity": 2, "unit_price": 350 });
    let items = format!("{ORDER}/items");
    let created = caller.post(ORDER, "create", &json!({ "customer": "ann" })).await;
    answers_as_documented(created, 200);
    answers_as_documented(caller.post(&items, "add-1", &tea).await, 200);
    let (status, again) = caller.post(&items, "add-1", &tea).await;
    let expected = json!({ "events": 0, "is_repetition": true, "position": 2, "version": 2 });
    assert_eq!((status, again), (200, expected.to_string()));
    let (status, page) = caller.get(&format!("{ORDER}?at_least=2")).await;
    assert_eq!((status, &page["status"], &page["total"]), (200, &json!("open"), &json!(700)));
    assert_eq!(page["items"], json!([tea]));

    let leader = cluster.kill_leader().await;
    caller.insist(&format!("{ORDER}/submit"), "submit", Value::Null).await;
    service.prints("mail to ann of acme: please pay 700 cents for your order 42");
    caller.becomes(ORDER, |page| page["payment"] == "requested").await;
    let paid = json!({ "amount": 700, "reference": "b-1" });
    caller.insist(&format!("{ORDER}/payment"), "payment", paid).await;
    let page = caller.becomes(ORDER, |page| page["status"] == "completed").await;
    assert_eq!(page["payment"], "received");
    service.prints("mail to ann of acme: thank you: your order 42 is on its way");
    cluster.start_again(&leader);
    let cancel = json!({ "reason": "changed my mind" });
    answers_as_documented(caller.post(&format!("{ORDER}/cancel"), "cancel", &cancel).await, 422);

    check_the_views(&caller, &page["position"]).await;
    check_another_tenant(&caller, &page["position"]).await;
    service.signal("INT");
    let (ended, printed) = service.ends();
    assert!(ended.success(), "{printed:?}");
}

/// Checks what the tenant of the order sees at a position.
async fn check_the_views(caller: &Caller, position: &Value) {
    let (_, history) = caller.get(&format!("{ORDER}/history")).await;
    let kinds: Vec<&Value> =
        history.as_array().expect("entries").iter().map(|entry| &entry["type"]).collect();
    assert_eq!(kinds, ["OrderCreated", "ItemAdded", "OrderSubmitted", "OrderCompleted"]);
    let (_, past) = caller.get(&format!("{ORDER}/past?at=2026-01-01T00:00:00Z")).await;
    assert_eq!((&past["version"], &past["order"]["status"]), (&json!(0), &json!("missing")));
    let customer = format!("/tenants/acme/customers/ann?at_least={position}");
    let (status, customer) = caller.get(&customer).await;
    assert_eq!((status, &customer["completed"], &customer["spent"]), (200, &json!(1), &json!(700)));
    let (status, sales) = caller.get(&format!("/tenants/acme/sales?at_least={position}")).await;
    let revenue = sales.as_array().expect("days").iter().filter_map(|day| day["revenue"].as_u64());
    assert_eq!((status, revenue.sum()), (200, 700_u64));
    assert_eq!(caller.get("/operations/dead-letters").await, (200, json!([])));
    let (status, document) = caller.get("/openapi.yaml").await;
    assert_eq!((status, document), (200, json!(include_str!("../../openapi.yaml"))));
}

/// Checks that another tenant neither sees nor changes what happened.
async fn check_another_tenant(caller: &Caller, position: &Value) {
    for path in ["orders/42", "customers/ann"] {
        let path = format!("/tenants/globex/{path}?at_least={position}");
        assert_eq!(caller.get(&path).await.0, 404, "{path}");
    }
    for path in ["orders", "sales"] {
        let path = format!("/tenants/globex/{path}?at_least={position}");
        assert_eq!(caller.get(&path).await, (200, json!([])), "{path}");
    }
    let cancel = json!({ "reason": "mine" });
    let (status, body) = caller.post("/tenants/globex/orders/42/cancel", "cancel", &cancel).await;
    assert_eq!(status, 422, "{body}");
}
