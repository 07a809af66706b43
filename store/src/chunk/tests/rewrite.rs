//! Scavenged chunks against a naive filter, with flipped bits and power cuts.

use super::*;
use quorate_proto::LogIndex;

/// The versions below which the streams of a chunk are cut.
type Cuts = BTreeMap<StreamName, u64>;

const CHECKPOINT: LogIndex = LogIndex(77);

fn scavenge(
    vfs: &MemVfs,
    chunk: &Chunk,
    cuts: &Cuts,
    keep_stub_from: u64,
) -> Result<Option<ChunkSummary>, Fault> {
    let mut cut = |stream: &StreamName| Ok(Version(cuts.get(stream).copied().unwrap_or(0)));
    let keep_stub_from = Position(keep_stub_from);
    rewrite(vfs, directory(), &IDENTITY, chunk, &mut cut, keep_stub_from, CHECKPOINT)
}

fn is_kept(event: &StoredEvent, cuts: &Cuts) -> bool {
    cuts.get(&event.stream).is_none_or(|cut| event.version.0 >= *cut)
}

/// Checks the answers of a scavenged chunk: the events that the cuts leave, and the identities of removed
/// events from a position on.
fn check_scavenged(chunk: &Chunk, events: &[StoredEvent], cuts: &Cuts, stubs_from: u64) {
    let kept = |event: &&StoredEvent| is_kept(event, cuts);
    let known = |event: &&StoredEvent| kept(event) || event.position.0 >= stubs_from;
    let expected: Vec<StoredEvent> = events.iter().filter(kept).cloned().collect();
    let all = 0..u32::MAX;
    assert_eq!(chunk.read(all.clone(), usize::MAX, &mut reads()).expect("readable"), expected);
    let identities: Vec<Identity> = events.iter().filter(known).map(|e| e.identity()).collect();
    assert_eq!(chunk.identities(all, &mut reads()).expect("readable"), identities);
    for (key, before) in naive(events) {
        let stands = |ordinal: &u32| {
            let event = &&events[*ordinal as usize];
            if matches!(key, Key::Stream(_)) { known(event) } else { kept(event) }
        };
        let ordinals: Vec<u32> = before.ordinals.iter().copied().filter(stands).collect();
        let gone = before.ordinals.len() - ordinals.len();
        let first_version = before.first_version.map(|version| version.plus(gone as u64));
        let expected = Posting { ordinals, first_version, previous: before.previous };
        assert_eq!(chunk.find(&key, &mut reads()).expect("readable"), Some(expected), "{key:?}");
    }
    let first = events[0].position.0;
    let from = stubs_from.saturating_sub(first) as u32;
    let ids: Vec<_> = events.iter().skip(from as usize).map(|event| event.id).collect();
    assert_eq!(chunk.ids_from(from).expect("known"), ids);
    assert_eq!(chunk.count() as usize, expected.len());
    chunk.verify().expect("whole");
}

/// Generates streams of `build`, each with the version below which it is cut.
fn any_cuts() -> impl Strategy<Value = Vec<(u8, u64)>> {
    prop::collection::vec((0..9_u8, 40..60_u64), 0..9)
}

fn cuts_of(events: &[StoredEvent], cuts: &[(u8, u64)]) -> Cuts {
    let suffix = |event: &StoredEvent| event.stream.as_str().rsplit('-').next().map(str::to_owned);
    let cut = |event: &StoredEvent| {
        let cut = cuts.iter().find(|(stream, _)| Some(stream.to_string()) == suffix(event))?;
        Some((event.stream.clone(), cut.1))
    };
    events.iter().filter_map(cut).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_chunk_scavenged_twice_is_what_a_naive_filter_leaves(
        small in prop::collection::vec((0..9_u8, any::<u8>(), 0..900_usize, 0..4_u8), 1..100),
        cuts in any_cuts(),
        more in any_cuts(),
        stubs_from in 0..130_u64,
        later in 0..60_u64,
    ) {
        let events = build(11, &small);
        let (vfs, before, chunk) = written(&events);
        let cuts = cuts_of(&events, &cuts);
        let loses = events.iter().any(|event| !is_kept(event, &cuts));
        let done = scavenge(&vfs, &chunk, &cuts, stubs_from).expect("scavenged");
        prop_assert_eq!(done.is_some(), loses);
        prop_assert_eq!(&done.unwrap_or(before.summary.clone()), &before.summary);
        let again = open(&vfs, &before).expect("opened");
        prop_assert_eq!(again.scavenged_at(), loses.then_some(CHECKPOINT));
        check_scavenged(&again, &events, &cuts, stubs_from);
        // A reader of the old file goes on with it.
        prop_assert_eq!(chunk.read(0..u32::MAX, usize::MAX, &mut reads()).expect("readable"), &events[..]);

        // Floors only move up, and so does the position from which on stubs are kept.
        let mut higher = cuts_of(&events, &more);
        for (stream, cut) in cuts {
            let entry = higher.entry(stream).or_insert(0);
            *entry = cut.max(*entry);
        }
        if scavenge(&vfs, &again, &higher, stubs_from + later).expect("scavenged").is_some() {
            let third = open(&vfs, &before).expect("opened");
            check_scavenged(&third, &events, &higher, stubs_from + later);
            let left = scavenge(&vfs, &third, &higher, stubs_from + later).expect("looked at");
            prop_assert_eq!(left, None, "nothing is left to do");
        }
    }
}

#[test]
fn a_large_chunk_loses_most_of_its_events_and_their_bytes() {
    let small: Vec<Small> = (0..9_000).map(|at| ((at % 5) as u8, at as u8, 50, 0)).collect();
    let events = build(1, &small);
    let (vfs, before, chunk) = written(&events);
    let cuts = cuts_of(&events, &[(0, 1000), (1, 1500), (2, 9999), (3, 1841), (4, 0)]);
    scavenge(&vfs, &chunk, &cuts, 8_000).expect("scavenged").expect("rewritten");
    let again = open(&vfs, &before).expect("opened");
    check_scavenged(&again, &events, &cuts, 8_000);
    assert!(again.bytes() < chunk.bytes() * 2 / 3, "{} of {}", again.bytes(), chunk.bytes());
}

#[test]
fn a_chunk_may_lose_all_its_events() {
    let events = some_events();
    let (vfs, before, chunk) = written(&events);
    let all: Cuts = events.iter().map(|event| (event.stream.clone(), 1000)).collect();
    scavenge(&vfs, &chunk, &all, u64::MAX).expect("scavenged").expect("rewritten");
    let again = open(&vfs, &before).expect("opened");
    check_scavenged(&again, &events, &all, u64::MAX);
    assert_eq!(again.ordinals_between(None, None), 0..0);
}

fn some_cuts(events: &[StoredEvent]) -> Cuts {
    cuts_of(events, &[(0, 42), (1, 42), (2, 100)])
}

#[test]
fn a_flipped_bit_at_any_byte_of_a_scavenged_chunk_is_noticed_and_never_served() {
    let events = some_events();
    let (vfs, before, chunk) = written(&events);
    let cuts = some_cuts(&events);
    scavenge(&vfs, &chunk, &cuts, 103).expect("scavenged").expect("rewritten");
    let scavenged = open(&vfs, &before).expect("opened");
    check_scavenged(&scavenged, &events, &cuts, 103);
    let kept: Vec<StoredEvent> =
        events.iter().filter(|event| is_kept(event, &cuts)).cloned().collect();
    for byte in 0..scavenged.bytes() {
        let vfs = vfs.fork();
        vfs.flip_bit(&chunk_path(), byte, (byte % 8) as u8).expect("there");
        let Ok(chunk) = open(&vfs, &before) else { continue };
        assert!(chunk.verify().is_err(), "byte {byte}");
        if let Ok(found) = chunk.read(0..u32::MAX, usize::MAX, &mut reads()) {
            assert_eq!(found, kept, "byte {byte}");
        }
    }
}

#[test]
fn a_scavenge_that_wrote_something_else_than_it_should_leaves_the_old_chunk() {
    let events = some_events();
    let (vfs, before, mut chunk) = written(&events);
    chunk.footer.digest = chunk.footer.digest.wrapping_add(1);
    let refused = scavenge(&vfs, &chunk, &some_cuts(&events), 0).expect_err("it does not add up");
    assert!(refused.is_damage(), "{refused}");
    let names = vfs.list(directory()).expect("listed");
    assert_eq!(names.len(), 1, "{names:?}");
    let old = open(&vfs, &before).expect("still there");
    assert_eq!(old.scavenged_at(), None);
    old.verify().expect("whole");
}

#[test]
fn a_power_cut_at_any_moment_of_scavenging_leaves_the_old_chunk_or_the_new() {
    let events = some_events();
    let cuts = some_cuts(&events);
    let (mut old, mut new) = (0, 0);
    for changes in 0.. {
        let (vfs, before, chunk) = written(&events);
        vfs.cut_after(changes);
        let done = scavenge(&vfs, &chunk, &cuts, 0);
        for survival in [Survival::Nothing, Survival::Everything, Survival::Seeded(changes)] {
            let vfs = vfs.fork();
            vfs.restart(survival);
            let chunk = open(&vfs, &before).expect("the one or the other");
            chunk.verify().expect("whole");
            assert!(done.is_err() || chunk.scavenged_at().is_some(), "it was reported as durable");
            match chunk.scavenged_at() {
                Some(_) => new += 1,
                None => old += 1,
            }
            // The files that are left do not prevent scavenging the chunk again.
            scavenge(&vfs, &chunk, &cuts, 0).expect("scavenged");
            check_scavenged(&open(&vfs, &before).expect("opened"), &events, &cuts, 0);
        }
        if done.is_ok() {
            break;
        }
    }
    assert!(old > 0 && new > 0);
}
