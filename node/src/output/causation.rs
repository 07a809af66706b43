//! Events of one correlation id as a tree: below each event those that it caused.

use std::collections::HashMap;
use std::io::{self, BufWriter, Write};

use quorate_client::{EventId, EventStream, RecordedEvent};

use super::{print_events, write_event, write_line};
use crate::cli::Exit;

/// The most events of a tree …
const EVENTS_MAX: usize = 10_000;
/// … and the most bytes of memory that they may take.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// The number of levels that are indented; lines of deeper levels show their level.
const LEVELS_INDENTED: usize = 32;

/// Prints all events of a stream as a tree to standard output, or as a list if they are too many for that; returns
/// how many there were.
pub(crate) async fn print_tree(events: &mut EventStream) -> Result<u64, Exit> {
    let (mut all, mut bytes) = (Vec::new(), 0);
    while all.len() <= EVENTS_MAX && bytes <= BYTES_MAX {
        let Some(event) = events.try_next().await? else {
            let mut output = BufWriter::new(io::stdout().lock());
            write_tree(&mut output, &all)?;
            output.flush()?;
            return Ok(all.len() as u64);
        };
        bytes += event.data.len() + event.metadata.len();
        all.push(event);
    }
    let mut output = BufWriter::new(io::stdout().lock());
    for event in &all {
        write_event(&mut output, event, false)?;
    }
    output.flush()?;
    drop(output);
    let more = print_events(events, false).await?;
    writeln!(io::stdout(), "too many events for a tree: they stand in the order of the log")?;
    Ok(all.len() as u64 + more)
}

/// Writes events, which ascend in position, as a tree. A root is an event whose cause is not among them; where
/// events cause each other in a circle, it is the first of them.
fn write_tree(output: &mut impl Write, events: &[RecordedEvent]) -> io::Result<()> {
    let Forest { mut children, roots } = Forest::of(events);
    for root in roots {
        // The branches still to be written, the next one last.
        let mut branches = vec![Branch { event: root, level: 0, is_last: true }];
        // For each level above the next branch: true if a line goes on beside it.
        let mut goes_on = Vec::new();
        while let Some(Branch { event: at, level, is_last }) = branches.pop() {
            let Some(event) = events.get(at) else { continue };
            goes_on.truncate(level.saturating_sub(1));
            let indentation = indentation(&goes_on, level, is_last);
            let event = shown(event, level == 0);
            write_line(output, format_args!("{indentation}{event}"))?;
            if level > 0 {
                goes_on.push(!is_last);
            }
            // The children are taken out, so that a circle ends here.
            let caused = children.get_mut(at).map(std::mem::take).unwrap_or_default();
            let newest_first = caused.into_iter().rev().enumerate();
            branches.extend(newest_first.map(|(index, event)| Branch {
                event,
                level: level + 1,
                is_last: index == 0,
            }));
        }
    }
    Ok(())
}

/// An event with its place in the tree.
struct Branch {
    event: usize,
    level: usize,
    /// True if the event is the last one below its cause.
    is_last: bool,
}

/// The causes of the events in a list, by the places in the list.
///
/// Invariant: every event is below exactly one root, but for the roots themselves.
struct Forest {
    /// For each event the events that it caused, ascending.
    children: Vec<Vec<usize>>,
    /// The roots, ascending.
    roots: Vec<usize>,
}

impl Forest {
    fn of(events: &[RecordedEvent]) -> Forest {
        let mut places: HashMap<EventId, usize> = HashMap::new();
        for (place, event) in events.iter().enumerate() {
            places.entry(event.id).or_insert(place);
        }
        let cause = |event: &RecordedEvent| {
            let id = EventId::parse(&event.causation_id).ok()?;
            places.get(&id).copied()
        };
        let mut causes: Vec<Option<usize>> = events.iter().map(cause).collect();
        break_circles(&mut causes);
        let mut forest = Forest { children: vec![Vec::new(); events.len()], roots: Vec::new() };
        for (place, cause) in causes.into_iter().enumerate() {
            match cause.and_then(|cause| forest.children.get_mut(cause)) {
                Some(siblings) => siblings.push(place),
                None => forest.roots.push(place),
            }
        }
        forest
    }
}

/// Removes the cause of the first event of each circle.
fn break_circles(causes: &mut [Option<usize>]) {
    // The number of the walk that met each event first; 0 if none did.
    let mut met = vec![0; causes.len()];
    for start in 0..causes.len() {
        let mut at = Some(start);
        while let Some(place) = at {
            match met.get_mut(place) {
                Some(walk) if *walk == 0 => *walk = start + 1,
                // The walk came back to where it has been.
                Some(walk) if *walk == start + 1 => {
                    let first = circle(causes, place).min().unwrap_or(place);
                    if let Some(cause) = causes.get_mut(first) {
                        *cause = None;
                    }
                    break;
                }
                _ => break,
            }
            at = causes.get(place).copied().flatten();
        }
    }
}

/// Returns the places of the circle on which this place lies.
fn circle(causes: &[Option<usize>], place: usize) -> impl Iterator<Item = usize> {
    let next = move |at: &usize| causes.get(*at).copied().flatten().filter(|next| *next != place);
    std::iter::successors(Some(place), next)
}

fn indentation(goes_on: &[bool], level: usize, is_last: bool) -> String {
    let above = goes_on.iter().take(LEVELS_INDENTED - 1);
    let mut indentation: String = above.map(|on| if *on { "│  " } else { "   " }).collect();
    if level > 0 {
        indentation.push_str(if is_last { "└─ " } else { "├─ " });
    }
    if level > LEVELS_INDENTED {
        indentation.push_str(&format!("(level {level}) "));
    }
    indentation
}

fn shown(event: &RecordedEvent, is_root: bool) -> String {
    let RecordedEvent { position, stream, version, recorded_at, .. } = event;
    let (kind, causation_id) = (&event.kind, &event.causation_id);
    let mut shown = format!("{position}  {stream}  {version}  {kind}  {recorded_at}");
    if is_root && !causation_id.is_empty() {
        shown.push_str(&format!("  (caused by {causation_id})"));
    }
    shown
}

#[cfg(test)]
mod tests {
    use quorate_client::{Event, StreamName, Timestamp};

    use super::*;

    fn id(number: u8) -> EventId {
        EventId::from_bytes([number; 16]).expect("not nil")
    }

    /// Returns events at positions 1, 2, 3 …, whose ids are made of their positions, each with its cause.
    fn caused(causes: &[&str]) -> Vec<RecordedEvent> {
        let event = |(cause, position): (&&str, u64)| {
            let cause = match cause.parse::<u8>() {
                Ok(number) => id(number).to_string().to_uppercase(),
                Err(_) => (*cause).to_owned(),
            };
            let event = Event::new("Made", "").expect("an event").id(id(position as u8));
            let event = event.correlation("cmd-1").causation(cause);
            let stream = StreamName::new(format!("order-{}", position % 3)).expect("a name");
            let recorded_at = Timestamp(position as i64 * 1_000_000);
            event.recorded(position, stream, position.div_ceil(3), recorded_at)
        };
        causes.iter().zip(1..).map(event).collect()
    }

    fn tree(causes: &[&str]) -> String {
        let mut output = Vec::new();
        write_tree(&mut output, &caused(causes)).expect("memory");
        String::from_utf8(output).expect("text")
    }

    #[test]
    fn what_an_event_caused_stands_below_it() {
        let shown = tree(&["", "1", "cmd-1", "2", "1", "2", "4", "5", "3"]);
        let expected = "\
1  order-1  1  Made  1970-01-01T00:00:01.000000Z
├─ 2  order-2  1  Made  1970-01-01T00:00:02.000000Z
│  ├─ 4  order-1  2  Made  1970-01-01T00:00:04.000000Z
│  │  └─ 7  order-1  3  Made  1970-01-01T00:00:07.000000Z
│  └─ 6  order-0  2  Made  1970-01-01T00:00:06.000000Z
└─ 5  order-2  2  Made  1970-01-01T00:00:05.000000Z
   └─ 8  order-2  3  Made  1970-01-01T00:00:08.000000Z
3  order-0  1  Made  1970-01-01T00:00:03.000000Z  (caused by cmd-1)
└─ 9  order-0  3  Made  1970-01-01T00:00:09.000000Z
";
        assert_eq!(shown, expected);
    }

    /// Returns the positions in the order of the lines, each with the level of its indentation.
    fn places(causes: &[&str]) -> Vec<(u64, usize)> {
        let place = |line: &str| {
            let start = line.find(|c: char| c.is_ascii_digit()).expect("a position");
            let (before, rest) = line.split_at(start);
            let position = rest.split(' ').next().and_then(|word| word.parse().ok());
            (position.expect("a position"), before.chars().count() / 3)
        };
        tree(causes).lines().map(place).collect()
    }

    #[test]
    fn events_that_cause_each_other_are_all_there_once() {
        assert_eq!(places(&["1"]), [(1, 0)], "itself");
        assert_eq!(places(&["2", "1"]), [(1, 0), (2, 1)]);
        // 4 leads into the circle of 2 and 3; 1 hangs below it.
        assert_eq!(places(&["3", "3", "2", "1"]), [(2, 0), (3, 1), (1, 2), (4, 3)]);
        assert_eq!(places(&["3", "1", "2"]), [(1, 0), (2, 1), (3, 2)]);
    }

    #[test]
    fn an_event_may_stand_before_its_cause() {
        assert_eq!(places(&["2", "", "1"]), [(2, 0), (1, 1), (3, 2)]);
    }

    #[test]
    fn a_long_chain_is_indented_only_so_far() {
        let causes: Vec<String> = (1..200).map(|number| number.to_string()).collect();
        let causes: Vec<&str> = [""].into_iter().chain(causes.iter().map(String::as_str)).collect();
        let shown = tree(&causes);
        assert_eq!(shown.lines().count(), 200);
        let deepest = shown.lines().last().expect("a line").trim_start();
        assert!(deepest.starts_with("└─ (level 199) 200  order-2"), "{deepest}");
        let widest = shown.lines().map(|line| line.chars().count()).max();
        assert!(widest < Some(3 * LEVELS_INDENTED + 80), "{widest:?}");
    }
}
