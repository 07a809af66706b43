//! Runs the scripts of the folder `scripts`: each shows a scenario of one group, and is a test of the script's name.
//!
//! `UPDATE_GOLDENFILES=1 cargo test -p quorate-node dispatcher` writes the present output into the scripts. A new
//! script becomes a test when this file is compiled anew.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

use goldenscript::Context;
use quorate_proto::GroupProgress;

use super::*;

test_each_file::test_each_path! { in "node/src/server/groups/dispatcher/scripts" => run }

fn run(path: &Path) {
    goldenscript::run(&mut Runner::default(), path).expect("a script");
}

/// The commands of a script. A prefix such as `a:` names the consumer that acts. Times are milliseconds; an event's
/// attempts and the time of the next one are written as `3x1@1000`.
#[derive(goldenscript::Command)]
enum Command {
    /// Begins again, with a group of which the log knows this; the words are its failed events.
    Group {
        strategy: String,
        #[arg(optional)]
        failed: Vec<FailedWord>,
        #[arg(key, optional)]
        incarnation: u64,
        #[arg(key, optional)]
        floor: u64,
        #[arg(key)]
        settled: Option<u64>,
        #[arg(key)]
        parked: Option<u64>,
    },
    Configure {
        #[arg(key)]
        timeout: u64,
    },
    /// Takes in events of one stream, while there is room.
    Take {
        positions: Vec<u64>,
        #[arg(key)]
        stream: Option<String>,
        #[arg(key)]
        bytes: Option<usize>,
    },
    ReadThrough(u64),
    TakeFailed(Vec<FailedWord>),
    SetParked(usize),
    Join {
        #[arg(key)]
        window: u32,
        #[arg(key, optional)]
        tells_begun: bool,
    },
    SetOpen(bool),
    Leave,
    IsLost,
    /// Gives consumers all events that are ready, as far as they have room.
    HandOut,
    Begin(Vec<u64>),
    Settle {
        fate: String,
        numbers: Vec<u64>,
        #[arg(key, optional)]
        reason: String,
        #[arg(key)]
        delay: Option<u64>,
    },
    Gone(u64),
    /// Lets the clock go on to a time, or leaves it as it is.
    Tick(Option<i64>),
    Propose {
        #[arg(key)]
        goes_on: Option<bool>,
    },
    Applied,
    PutBack,
    Refused,
    State,
}

struct Runner {
    group: Dispatcher<()>,
    consumers: BTreeMap<String, ConsumerId>,
    now: Timestamp,
}

impl Default for Runner {
    fn default() -> Runner {
        let group = dispatcher(Strategy::RoundRobin);
        Runner { group, consumers: BTreeMap::new(), now: at(0) }
    }
}

impl goldenscript::Runner for Runner {
    type Command = Command;

    fn run(&mut self, command: &Command, context: &Context) -> Result<String, Box<dyn Error>> {
        let name = context.prefix.as_deref();
        let id = name.and_then(|name| self.consumers.get(name)).copied();
        let id = || id.ok_or("no such consumer");
        let (group, now) = (&mut self.group, self.now);
        match command {
            Command::Group { strategy, failed, incarnation, floor, settled, parked } => {
                let known = Known {
                    incarnation: LogIndex(*incarnation),
                    floor: position(*floor),
                    settled: settled.map(position).into_iter().collect(),
                    failed: without_streams(failed),
                    parked_above: parked
                        .filter(|at| at > floor)
                        .map(position)
                        .into_iter()
                        .collect(),
                    parked: usize::from(parked.is_some()),
                };
                let strategy = Strategy::parse(strategy).ok_or("no such strategy")?;
                let group = Dispatcher::new(settings(strategy), known);
                *self = Runner { group, ..Runner::default() };
            }
            Command::Configure { timeout } => {
                group.configure(GroupSettings { timeout_ms: *timeout, ..*group.settings() });
            }
            Command::Take { positions, stream, bytes } => {
                let stream = stream.as_deref().unwrap_or("order-1");
                return Ok(self.take(positions, stream, bytes.unwrap_or(100)));
            }
            Command::ReadThrough(number) => group.read_through(position(*number)),
            Command::TakeFailed(failed) => group.take_failed(without_streams(failed)),
            Command::SetParked(count) => group.set_parked(*count),
            Command::Join { window, tells_begun } => {
                let name = name.ok_or("a consumer has a name")?.to_owned();
                let id = group.join(name.clone(), *window, *tells_begun)?;
                self.consumers.insert(name, id);
            }
            Command::SetOpen(is_open) => group.set_open(id()?, *is_open),
            Command::Leave => group.leave(id()?, Left::Gracefully, now),
            Command::IsLost => group.leave(id()?, Left::Lost, now),
            Command::HandOut => return Ok(self.hand_out()),
            Command::Begin(numbers) => {
                return Ok(show_late(group.begin(id()?, numbers.clone(), now)));
            }
            Command::Settle { fate, numbers, reason, delay } => {
                let fate = parse_fate(fate, reason, *delay)?;
                let settlement = |number: &u64| Settlement { number: *number, fate: fate.clone() };
                let settlements = numbers.iter().map(settlement).collect();
                return Ok(show_late(group.settle(id()?, settlements, now)));
            }
            Command::Gone(number) => {
                let (consumer, position) = (id()?, Position::default());
                group.gone(&Handed { consumer, number: *number, position, attempt: 0, body: None });
            }
            Command::Tick(time) => {
                self.now = time.map_or(now, at);
                let lapsed = group.tick(self.now);
                return Ok(self.deliveries(&format!("{} ms, lapsed", self.now.0 / 1_000), lapsed));
            }
            Command::Propose { goes_on } => {
                let progress = group.propose(goes_on.unwrap_or(true));
                return Ok(progress.map_or("nothing to propose".to_owned(), show));
            }
            Command::Applied => {
                let confirmed = group.applied();
                return Ok(self.deliveries("confirmed", confirmed));
            }
            Command::PutBack => group.put_back(),
            Command::Refused => group.refused(now),
            Command::State => return Ok(self.state()),
        }
        Ok(String::new())
    }
}

impl Runner {
    fn name(&self, id: ConsumerId) -> &str {
        let named = self.consumers.iter().find(|(_, one)| **one == id);
        named.map_or("?", |(name, _)| name)
    }

    fn deliveries(&self, word: &str, deliveries: Vec<(ConsumerId, u64)>) -> String {
        let names = deliveries.iter().map(|(id, number)| format!("{} {number}", self.name(*id)));
        list(word, names)
    }

    fn take(&mut self, positions: &[u64], stream: &str, bytes: usize) -> String {
        for number in positions {
            if !self.group.has_room() {
                return format!("no room for {number}");
            }
            self.group.take(Taken { bytes, ..event(*number, stream) });
        }
        String::new()
    }

    fn hand_out(&mut self) -> String {
        let mut out = String::new();
        while let Some(handed) = self.group.hand_out(self.now) {
            let Handed { consumer, number, position, attempt, body } = handed;
            let name = self.name(consumer);
            let again = if body.is_none() { ", to be read again" } else { "" };
            out += &format!("{name} {number}: event {position}, attempt {attempt}{again}\n");
        }
        if out.is_empty() { "nothing to hand out".to_owned() } else { out }
    }

    fn state(&self) -> String {
        let group = &self.group;
        let due = group.next_due().map_or("none".to_owned(), |due| (due.0 / 1_000).to_string());
        format!(
            "floor {}, {}, {}, {} bytes wait, next due {due}",
            group.floor(),
            if group.has_room() { "room" } else { "no room" },
            if group.has_news() { "news" } else { "no news" },
            group.waiting_bytes,
        )
    }
}

fn parse_fate(word: &str, reason: &str, delay_ms: Option<u64>) -> Result<Fate, &'static str> {
    let reason = reason.to_owned();
    match word {
        "acknowledged" => Ok(Fate::Acknowledged),
        "skipped" => Ok(Fate::Skipped),
        "failed" => Ok(Fate::Failed { reason, delay_ms }),
        "parked" => Ok(Fate::Parked(reason)),
        _ => Err("no such fate"),
    }
}

fn show_late(late: Result<Vec<u64>, Invalid>) -> String {
    late.map_or_else(|invalid| format!("refused: {invalid}"), |late| list("too late", late))
}

/// Returns the items in one line after a word, or nothing if there are none.
fn list(word: &str, items: impl IntoIterator<Item = impl Display>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { String::new() } else { format!("{word}: {}", items.join(", ")) }
}

fn show(progress: GroupProgress) -> String {
    let GroupProgress { incarnation, floor, settled, failed, parked, .. } = progress;
    let mut out = format!("incarnation {incarnation}, floor {floor}");
    for position in settled {
        out += &format!(", settled {position}");
    }
    for Failed { position, attempts, due } in failed {
        out += &format!(", failed {position}x{attempts}@{}", due.0 / 1_000);
    }
    for parked in parked {
        out += &format!(", parked {}x{}: {}", parked.position, parked.attempts, parked.reason);
    }
    out
}

/// A failed event as `2x1@900`: the event at position 2 failed once and is due at 900.
struct FailedWord(Failed);

fn without_streams(failed: &[FailedWord]) -> Vec<(Failed, Option<StreamName>)> {
    failed.iter().map(|word| (word.0, None)).collect()
}

impl FromStr for FailedWord {
    type Err = Box<dyn Error>;

    fn from_str(word: &str) -> Result<FailedWord, Box<dyn Error>> {
        let (number, rest) = word.split_once('x').ok_or("no attempts")?;
        let (attempts, due) = rest.split_once('@').ok_or("no time")?;
        let (attempts, due) = (attempts.parse()?, at(due.parse()?));
        Ok(FailedWord(Failed { position: position(number.parse()?), attempts, due }))
    }
}
