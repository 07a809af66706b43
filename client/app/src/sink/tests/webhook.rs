//! Tests of the webhook with an HTTP server whose answers each test sets.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use quorate_client::Timestamp;
use sha2::Sha256;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::clock::Clock;
use crate::sink::runner::drive;
use crate::sink::tests::group::{Group, Settled, events};
use crate::sink::webhook::{Webhook, WebhookError};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A request as the server received it.
#[derive(Clone, Debug)]
struct Request {
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// The server's answer to a request, whole and verbatim; none = it never answers.
type Answer = fn(&serde_json::Value, usize) -> Option<&'static str>;

const OK: &str = "HTTP/1.1 204 No Content\r\n\r\n";

struct Server {
    url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    async fn start(answer: Answer) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url =
            format!("http://{}/hook?token=s3cret", listener.local_addr().expect("an address"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, answer, seen.clone()));
            }
        });
        Server { url, requests }
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no panic").clone()
    }
}

async fn serve(connection: TcpStream, answer: Answer, seen: Arc<Mutex<Vec<Request>>>) {
    let mut connection = BufReader::new(connection);
    while let Some(request) = read(&mut connection).await {
        let event: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
        let nth = {
            let mut seen = seen.lock().expect("no panic");
            seen.push(request.clone());
            let same = |one: &&Request| one.headers["webhook-id"] == request.headers["webhook-id"];
            seen.iter().filter(same).count()
        };
        match answer(&event, nth) {
            Some(text) => connection.write_all(text.as_bytes()).await.expect("it is written"),
            None => pending().await,
        }
    }
}

async fn read(connection: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    connection.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    assert_eq!(line, "POST /hook?token=s3cret HTTP/1.1\r\n");
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        connection.read_line(&mut line).await.expect("a header");
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers["content-length"].parse().expect("a length");
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await.expect("the body");
    Some(Request { headers, body })
}

/// A clock that stands still.
struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp(1_767_268_800_999_999)
    }
}

fn webhook(server: &Server) -> Webhook {
    Webhook::new(&server.url, SECRET).expect("a webhook").clock(Noon)
}

async fn deliver(webhook: &Webhook, count: u64, streams: u64, attempts: u32) -> Settled {
    let (group, settled) = Group::of(events(count, streams), attempts);
    drive(webhook, group, pending()).await.expect("it ends when all is settled");
    std::mem::take(&mut settled.lock().expect("no panic"))
}

#[tokio::test]
async fn an_event_is_posted_as_json_and_signed() {
    let server = Server::start(|_, _| Some(OK)).await;
    let other = "whsec_AAECAwQFBgcICQoLDA0ODw==";
    let webhook = webhook(&server).and_secret(other).expect("a secret");
    assert_eq!(deliver(&webhook, 1, 1, 1).await.acknowledged, [1]);
    let Request { headers, body } = server.requests().remove(0);
    let event: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(event["stream"], "order-0");
    assert_eq!(event["data"], 1);
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["webhook-id"], event["id"].as_str().expect("an id"));
    assert_eq!(headers["webhook-timestamp"], "1767268800");
    let signed = [SECRET, other].map(|secret| {
        let secret = STANDARD.decode(&secret["whsec_".len()..]).expect("base64");
        let mut mac = Hmac::<Sha256>::new_from_slice(&secret).expect("a key");
        mac.update(format!("{}.1767268800.", headers["webhook-id"]).as_bytes());
        mac.update(&body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    });
    assert_eq!(headers["webhook-signature"], signed.join(" "));
}

/// The specification's example proves that others compute the same signature.
#[test]
fn a_signature_is_the_one_of_the_specification() {
    let webhook = Webhook::new("http://localhost", SECRET).expect("a webhook");
    let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    let signature = webhook.signatures(id, 1_614_265_330, br#"{"test": 2432232314}"#);
    assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[tokio::test]
async fn what_the_server_cannot_take_now_is_sent_again_with_the_same_id_and_in_order() {
    let server = Server::start(|event, nth| match (event["position"].as_u64()? % 4, nth) {
        (0, 1) => Some("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"),
        (1, 1 | 2) => Some("HTTP/1.1 429 Slow Down\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"),
        (2, 1) => Some("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"),
        _ => Some(OK),
    })
    .await;
    let settled = deliver(&webhook(&server), 40, 4, 5).await;
    assert_eq!(settled.acknowledged.len(), 40);
    assert_eq!(server.requests().len(), 40 + 10 + 20 + 10);
    assert_eq!(settled.delays.iter().flatten().count(), 20);
    assert!(settled.delays.iter().flatten().all(|delay| *delay == Duration::from_secs(7)));
    let mut versions: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for request in server.requests() {
        let event: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
        let stream = event["stream"].as_str().expect("a stream").to_owned();
        versions.entry(stream).or_default().push(event["version"].as_u64().expect("a version"));
    }
    assert!(versions.values().all(|versions| versions.is_sorted()), "{versions:?}");
}

#[tokio::test]
async fn what_the_server_refuses_is_parked_with_its_answer_and_the_next_goes_on() {
    let server = Server::start(|event, _| match event["position"].as_u64()? {
        1 => Some("HTTP/1.1 422 Unprocessable\r\nContent-Length: 15\r\n\r\nno such\naccount"),
        2 => {
            Some("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
        }
        3 => Some("HTTP/1.1 503 Never\r\nContent-Length: 0\r\n\r\n"),
        _ => Some(OK),
    })
    .await;
    let settled = deliver(&webhook(&server), 4, 1, 3).await;
    assert_eq!(settled.acknowledged, [4]);
    assert_eq!(settled.parked[&1], "422 Unprocessable Entity: no such\naccount");
    assert_eq!(settled.parked[&2], "302 Found");
    assert_eq!(settled.parked[&3], "503 Service Unavailable", "after its attempts");
    assert_eq!(server.requests().len(), 1 + 1 + 3 + 1);
}

#[tokio::test]
async fn an_answer_is_read_only_so_far() {
    let server = Server::start(|_, _| {
        // The answer promises more than it ever sends, so the wait for the rest ends with the time-out.
        Some(concat!(
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 1000000\r\n\r\n",
            "0123456789012345678901234567890123456789"
        ))
    })
    .await;
    let webhook = webhook(&server).timeout(Duration::from_millis(200));
    let settled = deliver(&webhook, 1, 1, 1).await;
    assert!(settled.parked[&1].starts_with("400 Bad Request: 0123"), "{:?}", settled.parked);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_in_time_and_no_url_is_shown() {
    let server = Server::start(|_, nth| if nth < 2 { None } else { Some(OK) }).await;
    let webhook = webhook(&server).timeout(Duration::from_millis(100));
    let settled = deliver(&webhook, 1, 1, 1).await;
    assert!(settled.parked[&1].contains("timed out"), "{:?}", settled.parked);
    assert!(!settled.parked[&1].contains("s3cret"), "{:?}", settled.parked);
    assert_eq!(deliver(&webhook, 1, 1, 3).await.acknowledged, [1]);

    // Nobody listens on this port.
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", nobody.local_addr().expect("an address"));
    drop(nobody);
    let webhook = Webhook::new(&url, SECRET).expect("a webhook");
    let settled = deliver(&webhook, 1, 1, 2).await;
    assert_eq!(settled.delays, [None, None]);
}

#[test]
fn what_makes_no_webhook_is_refused() {
    for url in ["", "nowhere", "ftp://host/", "/path"] {
        let refused = Webhook::new(url, SECRET).expect_err(url);
        assert!(matches!(refused, WebhookError::Url { .. }), "{refused}");
    }
    for secret in ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!", "whsec_AAAA"] {
        let refused = Webhook::new("http://host/", secret).expect_err(secret);
        assert!(matches!(refused, WebhookError::Secret { .. }), "{refused}");
    }
}
