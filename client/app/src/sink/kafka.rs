//! Kafka: the sink produces each event to the partition of its stream, and waits for the acknowledgement.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_client::{RecordedEvent, json_line};
use rskafka::BackoffConfig;
use rskafka::chrono::DateTime;
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{Compression, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::Record;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::sink::error::SinkError;
use crate::sink::runner::Sink;

/// The time that the brokers may take for one record.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Produces events to a topic, each as the JSON object that `quorate read --json` prints, with the stream's
/// name as its key and the headers `id`, `type`, `stream`, `version` and `position`.
///
/// The partition depends on the key, as in Kafka's own clients, so a stream's events are in order in
/// one partition. The number of partitions is read when the sink connects. An event is delivered when all
/// in-sync replicas have it. If the acknowledgement of a record is lost, the record is produced again:
/// consumers recognize it by its `id`.
///
/// ```no_run
/// # async fn example(client: quorate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use quorate_app::sink::{Kafka, SinkRunner};
/// let kafka = Kafka::connect(["kafka-1:9092", "kafka-2:9092"], "orders").await?;
/// SinkRunner::new(client.group("orders-to-kafka"), kafka).run().await?;
/// # Ok(()) }
/// ```
pub struct Kafka {
    client: Client,
    topic: String,
    /// The partitions by their number, from 0 without a gap.
    partitions: Vec<OnceCell<PartitionClient>>,
}

opaque_debug!(Kafka);

/// The reason why a sink cannot be made.
///
/// ```no_run
/// # async fn example() -> Result<(), quorate_app::sink::KafkaError> {
/// use quorate_app::sink::{Kafka, KafkaError};
/// let kafka = match Kafka::connect(["localhost:9092"], "orders").await {
///     Err(KafkaError::NoTopic { topic }) => panic!("make the topic `{topic}` first"),
///     connected => connected?,
/// };
/// # let _ = kafka; Ok(()) }
/// ```
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// No broker was reached, or none answered the question.
    #[error("no Kafka broker answers: {0}")]
    Connect(String),
    /// There is no such topic.
    #[error("there is no topic `{topic}`")]
    NoTopic {
        /// The topic.
        topic: String,
    },
}

impl Kafka {
    /// Connects to some of the brokers (`host:port`), and produces to an existing topic.
    pub async fn connect<A: Into<String>>(
        brokers: impl IntoIterator<Item = A>,
        topic: &str,
    ) -> Result<Kafka, KafkaError> {
        let backoff = BackoffConfig {
            max_backoff: Duration::from_secs(2),
            deadline: Some(TIMEOUT),
            ..BackoffConfig::default()
        };
        let brokers = brokers.into_iter().map(Into::into).collect();
        let client = ClientBuilder::new(brokers).client_id("quorate").backoff_config(backoff);
        let failed = |error: Error| KafkaError::Connect(error.to_string());
        let client = client.build().await.map_err(failed)?;
        let topics = client.list_topics().await.map_err(failed)?;
        let found = topics.into_iter().find(|found| found.name == topic);
        let count = found.map_or(0, |found| found.partitions.len());
        if count == 0 {
            return Err(KafkaError::NoTopic { topic: topic.to_owned() });
        }
        let partitions = (0..count).map(|_| OnceCell::new()).collect();
        Ok(Kafka { client, topic: topic.to_owned(), partitions })
    }

    async fn produce(&self, event: &RecordedEvent) -> Result<(), SinkError> {
        let number = partition_of(event.stream.as_str().as_bytes(), self.partitions.len());
        let (Some(partition), Ok(partition_id)) =
            (self.partitions.get(number), i32::try_from(number))
        else {
            return Err(SinkError::poison(format!("there is no partition {number}")));
        };
        let connect =
            || self.client.partition_client(&self.topic, partition_id, UnknownTopicHandling::Retry);
        let partition =
            partition.get_or_try_init(connect).await.map_err(|error| refusal(&error))?;
        let produced = partition.produce(vec![record(event)], Compression::NoCompression);
        produced.await.map_err(|error| refusal(&error))?;
        Ok(())
    }
}

impl Sink for Kafka {
    async fn deliver(&self, event: &RecordedEvent) -> Result<(), SinkError> {
        let produced = timeout(TIMEOUT, self.produce(event)).await;
        produced.unwrap_or_else(|_| Err(SinkError::retry("no broker answered in time")))
    }
}

fn record(event: &RecordedEvent) -> Record {
    let headers: BTreeMap<String, Vec<u8>> = [
        ("id", event.id.to_string()),
        ("type", event.kind.to_string()),
        ("stream", event.stream.to_string()),
        ("version", event.version.to_string()),
        ("position", event.position.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.into_bytes()))
    .collect();
    Record {
        key: Some(event.stream.as_str().into()),
        value: Some(json_line(event)),
        headers,
        timestamp: DateTime::from_timestamp_micros(event.recorded_at.0).unwrap_or_default(),
    }
}

fn refusal(error: &Error) -> SinkError {
    match error {
        Error::ServerError {
            protocol_error: ProtocolError::MessageTooLarge | ProtocolError::InvalidRecord,
            ..
        } => SinkError::poison(error.to_string()),
        _ => SinkError::retry(error.to_string()),
    }
}

/// Returns the partition of a key, as Kafka's own clients choose it.
fn partition_of(key: &[u8], partitions: usize) -> usize {
    (murmur2(key) & 0x7fff_ffff) as usize % partitions.max(1)
}

/// Kafka's variant of MurmurHash2.
fn murmur2(key: &[u8]) -> u32 {
    const MIX: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ key.len() as u32;
    let (words, rest) = key.as_chunks::<4>();
    for word in words {
        let mut word = u32::from_le_bytes(*word).wrapping_mul(MIX);
        word ^= word >> 24;
        hash = hash.wrapping_mul(MIX) ^ word.wrapping_mul(MIX);
    }
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(MIX);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MIX);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values are those in the tests of Kafka's own client.
    #[test]
    fn keys_are_hashed_as_kafkas_clients_do() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }
}
