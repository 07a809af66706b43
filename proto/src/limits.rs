//! Every bound of the system in one place: constants of the cluster, not settings of a node.

/// Longest stream name, category, path and event type, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 255;
/// Most parts of a stream name or a path, between slashes: an event is in the index once for each path above it.
pub const NAME_PARTS_MAX: usize = 16;
/// Longest correlation or causation id and content type, in bytes of UTF-8.
pub const IDENTIFIER_BYTES_MAX: usize = 128;
/// Most tags on one event.
pub const TAGS_MAX: usize = 32;
/// Longest tag, in bytes of UTF-8.
pub const TAG_BYTES_MAX: usize = 128;
/// Most bytes of `data` and `metadata` of one event together.
pub const EVENT_PAYLOAD_BYTES_MAX: usize = 1024 * 1024;
/// Most bytes of one append, names and envelopes included (see [`crate::Append::size`]).
pub const APPEND_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most events in one append.
pub const APPEND_EVENTS_MAX: usize = 10_000;
/// Most streams in one append, written and required together.
pub const APPEND_STREAMS_MAX: usize = 100;
/// Most bytes of one Raft entry.
pub const ENTRY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most bytes of one message between peers.
pub const PEER_MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most bytes of one message from a client: an append and its envelope.
pub const CLIENT_MESSAGE_BYTES_MAX: usize = APPEND_BYTES_MAX + 1024 * 1024;
/// Most bytes of one message to a client, with its envelope: the libraries of most languages refuse larger messages
/// by default.
pub const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most bytes of events in one message of a read's answer, unless one event alone is larger.
pub const READ_MESSAGE_BYTES: usize = 256 * 1024;
/// Most items in one query.
pub const QUERY_ITEMS_MAX: usize = 100;
/// Most bytes of one query: its names, and a few for each. The queries of consumer groups are kept in memory.
pub const QUERY_BYTES_MAX: usize = 64 * 1024;
/// Most types in one item of a query.
pub const QUERY_TYPES_MAX: usize = 100;
/// Most tags in one item of a query.
pub const QUERY_TAGS_MAX: usize = TAGS_MAX;
/// Most conditions in one append.
pub const CONDITIONS_MAX: usize = 16;
/// Most bytes of an aggregate snapshot: a little less than 4 MiB, so that the message that carries it has no more.
pub const SNAPSHOT_BYTES_MAX: usize = ANSWER_BYTES_MAX - 4 * 1024;
/// Most changes of the count and age limits of one stream, category or path: what each hid stays hidden, so all of
/// them are kept until a truncation hides all that they could: of a category or a path, one to a position behind their
/// end; of a stream, one of all its events. Deleting a stream ends its history too.
pub const LIMITS_KEPT_MAX: usize = 1_000;
/// The number of the newest positions that are searched for the ids of a repeated append.
pub const RETRY_WINDOW: u64 = 1 << 22;
/// Smallest chunk size a cluster can be created with.
pub const CHUNK_BYTES_MIN: u64 = 64 * 1024;
/// Largest chunk size a cluster can be created with.
pub const CHUNK_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// The chunk size of a cluster that is founded without one.
pub const CHUNK_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;
/// The bytes that an entry without a command counts towards the chunk size.
pub const EMPTY_ENTRY_BYTES: u64 = 256;
/// The bytes that each key of each event, each required stream and each aggregate snapshot of a command counts towards
/// the chunk size, as the command's length does: about what the index in memory takes for it, so that the chunk size bounds that memory.
pub const KEY_BYTES: u64 = 64;
/// The time for which a client goes on with an append by default, in milliseconds.
pub const DEADLINE_MS_DEFAULT: u64 = 10_000;
/// The longest time for which a client goes on with an append, in milliseconds: a day.
pub const DEADLINE_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// The number of changes of groups that are remembered by the ids of their requests, of all groups together.
pub const GROUP_CHANGES_REMEMBERED: usize = 1_024;
/// Most consumer groups of a cluster.
pub const GROUPS_MAX: usize = 10_000;
/// Most events that the consumers of one group hold at once, and so most settled events above the group's floor.
pub const GROUP_WINDOW_MAX: u32 = 65_536;
/// Most events of one group that failed and wait to be tried again.
pub const GROUP_FAILED_MAX: usize = 65_536;
/// Most parked events of one group. While there are so many, an event that would be parked is tried again instead.
pub const GROUP_PARKED_MAX: usize = 100_000;
/// Most parked events of all groups together: they are kept in memory. At this number, every group tries on.
pub const GROUPS_PARKED_MAX: usize = 1_000_000;
/// Most positions that one change of a group names.
pub const GROUP_CHANGE_POSITIONS_MAX: usize = 10_000;
/// Most consumers of one group at once.
pub const GROUP_CONSUMERS_MAX: usize = 1_024;
/// The most unsettled events of a consumer that gives no window of its own.
pub const CONSUMER_WINDOW_DEFAULT: u32 = 16;
/// Longest reason for which an event is parked, in bytes of UTF-8.
pub const REASON_BYTES_MAX: usize = 512;
/// The shortest message timeout of a group, in milliseconds.
pub const GROUP_TIMEOUT_MS_MIN: u64 = 10;
/// The longest message timeout and retry delay of a group, in milliseconds: a week.
pub const GROUP_TIMEOUT_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1000;
/// The highest bound on the attempts of a group.
pub const GROUP_ATTEMPTS_MAX: u32 = 1_000_000;
/// Most runners (projections, process managers) of which a node keeps the newest report, and most in one list of them.
pub const RUNNERS_MAX: usize = 1_000;
/// Longest error in a runner's report, in bytes of UTF-8.
pub const RUNNER_ERROR_BYTES_MAX: usize = 1_024;

const _: () = {
    assert!(EVENT_PAYLOAD_BYTES_MAX < APPEND_BYTES_MAX);
    assert!(APPEND_BYTES_MAX < ENTRY_BYTES_MAX);
    assert!(SNAPSHOT_BYTES_MAX < ENTRY_BYTES_MAX && SNAPSHOT_BYTES_MAX < CLIENT_MESSAGE_BYTES_MAX);
    assert!(ENTRY_BYTES_MAX < PEER_MESSAGE_BYTES_MAX);
    assert!(APPEND_BYTES_MAX < CLIENT_MESSAGE_BYTES_MAX);
    assert!(2 * (READ_MESSAGE_BYTES + EVENT_PAYLOAD_BYTES_MAX) < ANSWER_BYTES_MAX);
    assert!(READ_MESSAGE_BYTES + 2 * QUERY_BYTES_MAX < ANSWER_BYTES_MAX);
    assert!(QUERY_BYTES_MAX < APPEND_BYTES_MAX);
    assert!(TAGS_MAX * TAG_BYTES_MAX < APPEND_BYTES_MAX);
    assert!(APPEND_EVENTS_MAX as u64 <= RETRY_WINDOW);
    // Lengths are stored in 32 bits.
    assert!(PEER_MESSAGE_BYTES_MAX < u32::MAX as usize);
    assert!(DEADLINE_MS_DEFAULT <= DEADLINE_MS_MAX);
    assert!(GROUP_CHANGE_POSITIONS_MAX * (REASON_BYTES_MAX + 32) < ENTRY_BYTES_MAX);
    // A list of runners is one message: two names, an error and a few numbers of each.
    assert!(RUNNERS_MAX * (RUNNER_ERROR_BYTES_MAX + 2 * NAME_BYTES_MAX + 256) < ANSWER_BYTES_MAX);
    assert!(CHUNK_BYTES_MIN <= CHUNK_BYTES_DEFAULT && CHUNK_BYTES_DEFAULT <= CHUNK_BYTES_MAX);
};
