//! The events that are measured with: a public event log, and random payloads.

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use flate2::read::GzDecoder;
use quorate_proto::{Event, EventId, EventType, StreamName, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// The events, in the order in which they are appended.
    pub(crate) events: Vec<(StreamName, Event)>,
    /// The name of a long stream.
    pub(crate) stream: StreamName,
    /// A type that few events have.
    pub(crate) rare_type: EventType,
}

#[derive(Deserialize)]
struct Line<'a> {
    stream: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    timestamp: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// Returns the loan applications of the BPI Challenge 2012, each event as `quorate import` would make it.
pub(crate) fn bpic(path: &Path) -> Result<Workload, Box<dyn Error>> {
    let mut events = Vec::new();
    let mut ordinals: HashMap<String, u64> = HashMap::new();
    for line in BufReader::new(GzDecoder::new(File::open(path)?)).lines() {
        let text = line?;
        let line: Line<'_> = serde_json::from_str(&text)?;
        let ordinal = ordinals.entry(line.stream.to_owned()).or_insert(0);
        *ordinal += 1;
        let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{ordinal} {text}").as_bytes());
        let at: jiff::Timestamp = line.timestamp.parse()?;
        let data = line.data.get().as_bytes().to_vec();
        let event = Event {
            occurred_at: Some(Timestamp(at.as_microsecond())),
            ..Event::new(EventId::new(id)?, EventType::new(line.kind)?, data)
        };
        events.push((StreamName::new(line.stream)?, event));
    }
    Ok(Workload {
        name: "bpic2012",
        events,
        stream: StreamName::new("application-185548")?,
        rare_type: EventType::new("W_Wijzigen_contractgegevens")?,
    })
}

/// Returns payloads of 256 random bytes in streams of about 1,000 events, scattered over the whole log; one
/// event in 10,000 is of a rare type.
pub(crate) fn random(count: usize) -> Workload {
    let mut state = 42_u64;
    let mut next = move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    let streams = (count as u64 / 1000).max(1);
    let name = |stream: u64| StreamName::new(format!("account-{stream}")).expect("a name");
    let mut event = |at: usize| {
        let stream = next() % streams;
        let data: Vec<u8> = (0..32).flat_map(|_| next().to_le_bytes()).collect();
        let id = (u128::from(next()) << 64 | u128::from(next())).to_be_bytes();
        let id = uuid::Builder::from_random_bytes(id);
        let kind =
            if at % 10_000 == 9_999 { "Rare".into() } else { format!("Type{}", next() % 20) };
        let id = EventId::new(id.into_uuid()).expect("not nil");
        (name(stream), Event::new(id, EventType::new(kind).expect("a type"), data))
    };
    Workload {
        name: "random-256",
        events: (0..count).map(&mut event).collect(),
        stream: name(0),
        rare_type: EventType::new("Rare").expect("a type"),
    }
}
