//! The ids of commands: the tag by which a repeated command is found, the event ids that follow from it, and the newest
//! commands of a stream.

use std::collections::VecDeque;

use quorate_client::{Event, EventId, Invalid, Position, RecordedEvent, Tag, Version};
use uuid::Uuid;

/// The beginning of the tag that names the command of an event.
const TAG: &str = "command:";
/// The beginning of the tag that names the command, and its scope, of an event.
const SCOPED_TAG: &str = "decision:";
/// The number of the newest commands of a stream that are remembered beside its state.
const REMEMBERED_MAX: usize = 512;
/// The namespace of the ids of events.
const NAMESPACE: Uuid = Uuid::from_u128(0x2b9c_7a41_e05d_4f66_8c13_d9b7_4e62_a108);

/// The id of a command, which is the same whenever the command is repeated.
#[derive(Clone, Debug)]
pub(crate) struct CommandId {
    id: String,
    tag: String,
}

/// The answer to a command: where its last event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) version: Version,
    pub(crate) position: Position,
}

impl CommandId {
    /// Makes the id of a command to one aggregate.
    pub(crate) fn new(id: String) -> Result<CommandId, Invalid> {
        let tag = format!("{TAG}{id}");
        CommandId::tagged(id, tag)
    }

    /// Makes the id of a command that is known within a scope, and not by its stream.
    pub(crate) fn within(scope: &str, id: String) -> Result<CommandId, Invalid> {
        let tag = format!("{SCOPED_TAG}{scope}:{id}");
        CommandId::tagged(id, tag)
    }

    fn tagged(id: String, tag: String) -> Result<CommandId, Invalid> {
        if id.is_empty() {
            return Err(Invalid::new("command id", "is empty"));
        }
        Tag::new(&tag).map_err(|invalid| Invalid { field: "command id", ..invalid })?;
        Ok(CommandId { id, tag })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.id
    }

    /// Returns the tag by which the last event of the command is found.
    pub(crate) fn tag(&self) -> &str {
        &self.tag
    }

    /// Returns the events with the ids that this command's events have whenever they are decided, within a scope: the
    /// same command id means another command there. The last one gets the command's tag.
    pub(crate) fn mark(&self, scope: &str, events: Vec<Event>) -> Vec<Event> {
        let count = events.len();
        let mark = |(index, event): (usize, Event)| {
            let event = event.id(self.event_id(scope, index));
            if index + 1 == count { event.tag(&self.tag) } else { event }
        };
        events.into_iter().enumerate().map(mark).collect()
    }

    /// No name of a stream and no command id has a zero byte.
    fn event_id(&self, scope: &str, index: usize) -> EventId {
        let name = format!("{scope}\0{}\0{index}", self.id);
        EventId::new(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
            .expect("a version 5 UUID names its version and so is never nil")
    }
}

/// Returns the id of the command of which an event is the last one.
pub(crate) fn command_of(event: &RecordedEvent) -> Option<&str> {
    event.tags.iter().rev().find_map(|tag| tag.as_str().strip_prefix(TAG))
}

/// The newest commands of a stream.
///
/// Invariant: every command whose last event came after `complete_after` is among them.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecentCommands {
    /// The hashes of their ids, of 122 bits, and their answers.
    newest: VecDeque<(Uuid, Answer)>,
    complete_after: Version,
}

impl RecentCommands {
    /// Returns the commands of a stream of which only the events after a version are seen.
    pub(crate) fn after(version: Version) -> RecentCommands {
        RecentCommands { newest: VecDeque::new(), complete_after: version }
    }

    /// Notes the command of an event, if it is the last one of a command.
    pub(crate) fn note(&mut self, event: &RecordedEvent) {
        if let Some(id) = command_of(event) {
            let answer = Answer { version: event.version, position: event.position };
            self.remember(id, answer);
        }
    }

    pub(crate) fn remember(&mut self, id: &str, answer: Answer) {
        self.newest.push_back((hash(id), answer));
        if self.newest.len() > REMEMBERED_MAX
            && let Some((_, oldest)) = self.newest.pop_front()
        {
            self.complete_after = oldest.version;
        }
    }

    /// Returns the answer that a command got, if it is among the newest. A command has one answer at most, unless its
    /// events were written without an id that was looked up; then the first one counts.
    pub(crate) fn answer(&self, id: &CommandId) -> Option<Answer> {
        let hash = hash(id.as_str());
        self.newest.iter().find(|(own, _)| *own == hash).map(|(_, answer)| *answer)
    }

    /// Returns true if a command that is not among these was never carried out in this stream.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete_after == Version::ZERO
    }
}

fn hash(id: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, id.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(number: u64) -> Answer {
        Answer { version: Version(number), position: Position(number + 100) }
    }

    #[test]
    fn commands_beyond_the_newest_make_the_memory_incomplete() {
        let mut recent = RecentCommands::default();
        for number in 1..=REMEMBERED_MAX as u64 {
            recent.remember(&format!("c{number}"), answer(number));
        }
        let id = |id: &str| CommandId::new(id.to_owned()).expect("an id");
        assert!(recent.is_complete());
        assert_eq!(recent.answer(&id("c1")), Some(answer(1)));
        assert_eq!(recent.answer(&id("c")), None);
        recent.remember("more", answer(1_000));
        assert!(!recent.is_complete());
        assert_eq!((recent.answer(&id("c1")), recent.answer(&id("c2"))), (None, Some(answer(2))));
    }

    #[test]
    fn ids_follow_from_the_stream_the_command_and_the_place() {
        let id = CommandId::new("cmd-91".to_owned()).expect("an id");
        let events = || vec![Event::new("A", "1"), Event::new("B", "2")];
        let events = || events().into_iter().map(|event| event.expect("an event")).collect();
        let recorded = |scope: &str| -> Vec<RecordedEvent> {
            let stream = quorate_client::StreamName::new("order-1").expect("a name");
            let time = quorate_client::Timestamp(0);
            let marked = id.mark(scope, events()).into_iter();
            marked.map(|event| event.recorded(1, stream.clone(), 1, time)).collect()
        };
        let (one, again, other) = (recorded("order-1"), recorded("order-1"), recorded("order-2"));
        assert_eq!(one, again);
        assert!(one[0].id != one[1].id && one[0].id != other[0].id);
        assert_eq!([one[0].tags.len(), one[1].tags.len()], [0, 1]);
        let mut recent = RecentCommands::default();
        one.iter().for_each(|event| recent.note(event));
        assert!(recent.answer(&id).is_some());
    }

    #[test]
    fn an_id_that_is_no_part_of_a_tag_is_refused() {
        for id in ["", "a\nb", &"x".repeat(121)] {
            assert!(CommandId::new(id.to_owned()).is_err(), "{id:?}");
        }
        assert!(CommandId::new("x".repeat(120)).is_ok());
    }
}
