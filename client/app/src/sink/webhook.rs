//! A webhook: each event is posted over HTTP as JSON, signed as the Standard Webhooks specification says.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use quorate_client::{RecordedEvent, Timestamp, json_line};
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use sha2::Sha256;

use crate::clock::{Clock, SystemClock};
use crate::sink::error::SinkError;
use crate::sink::runner::Sink;

/// The default time for a destination to answer.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// The number of bytes of an answer that are read: more than this is not worth keeping a connection for.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// The number of bytes of an answer that are quoted in a reason.
const ANSWER_BYTES_SHOWN: usize = 300;
/// The length of the shortest secret that is accepted, in bytes.
const SECRET_BYTES_MIN: usize = 16;

/// Posts events to a URL, each as the JSON object that `quorate read --json` prints, with the headers of
/// [Standard Webhooks](https://www.standardwebhooks.com): `webhook-id` is the event's id, the same each time;
/// `webhook-timestamp` is when it was sent, in seconds; `webhook-signature` has, for each secret, `v1,` and
/// the base64 of the HMAC-SHA256 of `id.timestamp.body`.
///
/// Any answer of 200 to 299 is an acknowledgement. After 408, 425, 429 and 500 or more, or no answer in time,
/// the event is tried again, after the time in `Retry-After` (an hour at most). After any other answer it is
/// parked; the status and the beginning of the answer are the reason. Redirects are not followed.
///
/// The library is built without TLS: for `https` let the program depend on `reqwest` with one of its TLS
/// features, or post to a proxy beside it. No proxy is taken from the environment.
///
/// ```
/// use std::time::Duration;
/// use quorate_app::sink::Webhook;
/// let webhook = Webhook::new("http://localhost:8080/orders", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?
///     .and_secret("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")?
///     .timeout(Duration::from_secs(3));
/// # let _ = webhook; Ok::<(), quorate_app::sink::WebhookError>(())
/// ```
pub struct Webhook {
    url: Url,
    secrets: Vec<Vec<u8>>,
    timeout: Duration,
    http: Client,
    clock: Box<dyn Clock>,
}

opaque_debug!(Webhook);

/// The reason why a webhook cannot be created.
///
/// ```
/// use quorate_app::sink::{Webhook, WebhookError};
/// let refused = Webhook::new("ftp://localhost/orders", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
/// assert!(matches!(refused, Err(WebhookError::Url { .. })));
/// let refused = Webhook::new("http://localhost/orders", "whsec_c2hvcnQ=");
/// assert!(matches!(refused, Err(WebhookError::Secret { .. })));
/// ```
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// Events cannot be posted to the URL.
    #[error("`{url}` cannot be posted to: {why}")]
    Url {
        /// The given URL.
        url: String,
        /// The reason.
        why: String,
    },
    /// The secret is malformed or too short.
    #[error("the secret is not `whsec_` and at least {SECRET_BYTES_MIN} bytes in base64: {why}")]
    Secret {
        /// The reason, without the secret.
        why: String,
    },
    /// No HTTP client could be created.
    #[error("there can be no HTTP client: {0}")]
    Http(String),
}

impl Webhook {
    /// Creates a webhook that posts to this URL and signs with this secret: `whsec_` and at least 16 base64 bytes.
    pub fn new(url: &str, secret: &str) -> Result<Webhook, WebhookError> {
        let refused = |why: String| WebhookError::Url { url: url.to_owned(), why };
        let parsed = Url::parse(url).map_err(|error| refused(error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(refused("it is neither `http` nor `https`".into()));
        }
        let http = Client::builder().redirect(Policy::none()).no_proxy().build();
        let http = http.map_err(|error| WebhookError::Http(error.to_string()))?;
        Ok(Webhook {
            url: parsed,
            secrets: vec![secret_of(secret)?],
            timeout: TIMEOUT_DEFAULT,
            http,
            clock: Box::new(SystemClock),
        })
    }

    /// Also signs with another secret, while receivers move from one to the other.
    pub fn and_secret(mut self, secret: &str) -> Result<Webhook, WebhookError> {
        self.secrets.push(secret_of(secret)?);
        Ok(self)
    }

    /// Sets the time for the destination to answer; 10 s by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Webhook {
        self.timeout = timeout;
        self
    }

    /// Sets the clock that stamps messages; this machine's by default.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Webhook {
        self.clock = Box::new(clock);
        self
    }

    pub(crate) fn signatures(&self, id: &str, seconds: i64, body: &[u8]) -> String {
        let sign = |secret: &Vec<u8>| {
            let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any length is a key");
            mac.update(format!("{id}.{seconds}.").as_bytes());
            mac.update(body);
            format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
        };
        self.secrets.iter().map(sign).collect::<Vec<_>>().join(" ")
    }

    async fn post(&self, event: &RecordedEvent) -> Result<(), SinkError> {
        let body = json_line(event);
        let id = event.id.to_string();
        let now = self.clock.now();
        let seconds = now.0.div_euclid(1_000_000);
        let request = self
            .http
            .post(self.url.clone())
            .timeout(self.timeout)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", self.signatures(&id, seconds, &body))
            .body(body);
        let answer = request.send().await.map_err(unanswered)?;
        judge(answer, now).await
    }
}

impl Sink for Webhook {
    async fn deliver(&self, event: &RecordedEvent) -> Result<(), SinkError> {
        self.post(event).await
    }
}

/// Converts an answer to the outcome of the delivery.
async fn judge(answer: Response, now: Timestamp) -> Result<(), SinkError> {
    let status = answer.status();
    let wait = wait_of(answer.headers(), now);
    let text = beginning(answer).await;
    if status.is_success() {
        return Ok(());
    }
    let reason = match text.is_empty() {
        true => status.to_string(),
        false => format!("{status}: {text}"),
    };
    let may_pass = status.is_server_error()
        || matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY
        );
    Err(match (may_pass, wait) {
        (false, _) => SinkError::poison(reason),
        (true, None) => SinkError::retry(reason),
        (true, Some(wait)) => SinkError::retry_after(reason, wait),
    })
}

/// Returns the time that the destination asks to wait: it names seconds, or the end of the wait.
fn wait_of(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let asked = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until =
        httpdate::parse_http_date(asked).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    let now = Duration::from_micros(u64::try_from(now.0).ok()?);
    Some(until.saturating_sub(now))
}

/// Returns the beginning of an answer, as text. Reads a little more, to keep the connection usable.
async fn beginning(mut answer: Response) -> String {
    let (mut bytes, mut read) = (Vec::new(), 0);
    while let Ok(Some(chunk)) = answer.chunk().await {
        let room = ANSWER_BYTES_SHOWN.saturating_sub(bytes.len());
        bytes.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        read += chunk.len();
        if read > ANSWER_BYTES_MAX {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// Returns the error for a missing answer. The URL is left out: it may hold a token.
fn unanswered(error: reqwest::Error) -> SinkError {
    let error = error.without_url();
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        reason = format!("{reason}: {cause}");
        source = cause.source();
    }
    match error.is_builder() {
        true => SinkError::poison(reason),
        false => SinkError::retry(reason),
    }
}

fn secret_of(text: &str) -> Result<Vec<u8>, WebhookError> {
    let refused = |why: &str| WebhookError::Secret { why: why.to_owned() };
    let encoded = text.strip_prefix("whsec_").ok_or_else(|| refused("it begins otherwise"))?;
    let secret = STANDARD.decode(encoded).map_err(|_| refused("it is no base64"))?;
    match secret.len() >= SECRET_BYTES_MIN {
        true => Ok(secret),
        false => Err(refused("it is too short")),
    }
}
