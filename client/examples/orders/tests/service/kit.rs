//! A shop for tests: a cluster in memory, the service on a free port, a post office, and an HTTP client.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use orders::notifications::{Mail, MailError, Mailer};
use orders::{Service, Settings};
use quorate_testing::Cluster;
use reqwest::{Client as Http, Method};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The limit of waits, longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A service that runs, and all around it.
pub(crate) struct Shop {
    pub(crate) cluster: Cluster,
    pub(crate) post: PostOffice,
    settings: Settings,
    open: Option<Open>,
    http: Http,
    _folder: TempDir,
}

/// The part of a shop that ends when it is closed.
struct Open {
    address: String,
    close: oneshot::Sender<()>,
    service: JoinHandle<anyhow::Result<()>>,
}

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Shop {
    /// Opens a shop with read models in SQLite, where customers have time to pay.
    pub(crate) async fn open() -> Shop {
        Shop::with(|_| ()).await
    }

    /// Opens a shop with other settings.
    pub(crate) async fn with(set: impl FnOnce(&mut Settings)) -> Shop {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = Settings {
            sqlite: folder.path().join("orders.sqlite"),
            mail_delay: Duration::from_millis(10),
            ..Settings::default()
        };
        set(&mut settings);
        let cluster = quorate_testing::start().await.expect("a cluster");
        let (post, http) = (PostOffice::default(), Http::new());
        let mut shop = Shop { cluster, post, settings, open: None, http, _folder: folder };
        shop.reopen().await;
        shop
    }

    /// Opens a closed shop again, on the same cluster and the same database.
    pub(crate) async fn reopen(&mut self) {
        let client = self.cluster.client();
        let service = Service::prepare(client, &self.settings, self.post.clone()).await;
        let service = service.expect("a service");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let (close, closed) = oneshot::channel();
        let service = tokio::spawn(service.run_until(listener, async { _ = closed.await }));
        self.open = Some(Open { address, close, service });
    }

    /// Opens the shop in another process, so to say, and speaks with that one from now on; returns the former one, which
    /// is closed when it is dropped.
    pub(crate) async fn open_beside(&mut self) -> impl Sized + use<> {
        let former = self.open.take();
        self.reopen().await;
        former
    }

    /// Closes the shop, and checks that the service ends in order.
    pub(crate) async fn close(&mut self) {
        let Open { close, service, .. } = self.open.take().expect("it is open");
        close.send(()).expect("the service runs");
        let ended = tokio::time::timeout(PATIENCE, service).await.expect("it ends");
        ended.expect("no panic").expect("no error");
    }

    /// Returns the URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.open.as_ref().expect("it is open").address)
    }

    /// Sends a request of ann.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: Value,
    ) -> Answer {
        let mut request = self.http.request(method, self.url(path));
        request = request.header("X-User", "ann").header("X-Correlation-Id", "visit-7");
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let answer = request.json(&body).send().await.expect("an answer");
        let (status, text) = (answer.status().as_u16(), answer.text().await.expect("a body"));
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Answer { status, body }
    }

    /// Sends a command.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, None, body).await
    }

    /// Sends a query.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None, Value::Null).await
    }

    /// Sends a query that has an answer.
    pub(crate) async fn see(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.body
    }

    /// Sends a command that is carried out, and returns its position.
    pub(crate) async fn done(&self, path: &str, body: Value) -> u64 {
        let answer = self.post(path, body).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.body["position"].as_u64().expect("a position")
    }

    /// Submits a new order of two teas, for 700 cents, and returns the position of the submission.
    pub(crate) async fn submit_order(&self, order: &str, customer: &str) -> u64 {
        self.done(order, json!({ "customer": customer })).await;
        self.done(&format!("{order}/items"), tea(2)).await;
        self.done(&format!("{order}/submit"), Value::Null).await
    }

    /// Waits until an order has a status and a payment, and returns it.
    pub(crate) async fn becomes(&self, order: &str, status: &str, payment: &str) -> Value {
        eventually(&format!("{order} is {status}, and its payment {payment}"), async || {
            let page = self.get(order).await.body;
            (page["status"] == status && page["payment"] == payment).then_some(page)
        })
        .await
    }
}

/// Returns some pieces of an article of 350 cents, as in a request.
pub(crate) fn tea(quantity: u32) -> Value {
    json!({ "sku": "tea", "quantity": quantity, "unit_price": 350 })
}

/// Waits until there is a value.
pub(crate) async fn eventually<T>(what: &str, find: impl AsyncFn() -> Option<T>) -> T {
    let give_up_at = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = find().await {
            return found;
        }
        assert!(Instant::now() < give_up_at, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A post office that keeps what is sent, and can be made to fail.
#[derive(Clone, Default)]
pub(crate) struct PostOffice(Arc<Mutex<Post>>);

#[derive(Default)]
pub(crate) struct Post {
    pub(crate) sent: Vec<Mail>,
    pub(crate) attempts: usize,
    /// The number of attempts that fail before it is there again.
    pub(crate) away_for: usize,
    pub(crate) without_address: BTreeSet<String>,
}

impl PostOffice {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Post> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until so many mails are sent, and returns their texts.
    pub(crate) async fn sent(&self, mails: usize) -> Vec<String> {
        eventually(&format!("{mails} mails"), async || {
            let post = self.lock();
            let texts = post.sent.iter().map(|mail| mail.text.clone());
            (post.sent.len() >= mails).then(|| texts.collect())
        })
        .await
    }
}

impl Mailer for PostOffice {
    async fn send(&self, mail: Mail) -> Result<(), MailError> {
        let mut post = self.lock();
        post.attempts += 1;
        if post.away_for > 0 {
            post.away_for -= 1;
            return Err(MailError::Away("no route".into()));
        }
        if post.without_address.contains(&mail.customer) {
            return Err(MailError::NoAddress(mail.customer));
        }
        if post.sent.iter().all(|sent| sent.id != mail.id) {
            post.sent.push(mail);
        }
        Ok(())
    }
}
