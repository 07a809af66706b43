//! Tests that an answer is as of its point to its end, also when another store gives the rest of it, or is refused.

use proptest::prelude::*;
use quorate_proto::{
    Append, ChangeKind, Direction, Expectation, LogPoint, Read, RecordedEvent, Scope, Source,
};
use quorate_store::{Fault, Reader, Scan};

use crate::model::Model;
use crate::scavenge::{Op, any_op, settings};
use crate::support::{category, stream};
use crate::twins::{Twins, short, sources};

/// An answer of which some events were handed out.
struct Begun {
    read: Read,
    point: LogPoint,
    /// The version of the stream at the point, if the source is one.
    version: Option<u64>,
    answer: Vec<RecordedEvent>,
    handed_out: usize,
}

impl Begun {
    fn new(reader: &Reader, read: Read, handed_out: usize) -> Begun {
        let scan = reader.scan(&read).expect("begins");
        let (point, version) = (scan.point(), scan.version().map(|version| version.0));
        let answer = all(scan).expect("it is not continued");
        let handed_out = handed_out.min(answer.len());
        Begun { read, point, version, answer, handed_out }
    }

    fn rest(&self) -> &[RecordedEvent] {
        &self.answer[self.handed_out..]
    }

    /// Returns the rest as this store gives it, requested as a client does.
    fn go_on(&self, reader: &Reader) -> Result<Vec<RecordedEvent>, Fault> {
        let mut read = Read { continues: Some(self.point), ..self.read.clone() };
        read.bounds.before = Some(self.version.unwrap_or(self.point.position.0) + 1);
        if let Some(last) = self.answer[..self.handed_out].last() {
            let is_stream = matches!(read.source, Source::Stream { .. });
            let number = if is_stream { last.version.0 } else { last.position.0 };
            match read.direction {
                Direction::Forwards => read.bounds.after = number,
                Direction::Backwards => read.bounds.before = Some(number),
            }
        }
        read.limit = read.limit.map(|limit| limit - self.handed_out as u64);
        all(reader.scan(&read)?)
    }

    /// Asserts that the rest is what was there at the point, or is refused; returns true if it is not refused.
    fn check(&self, rest: Result<Vec<RecordedEvent>, Fault>) -> bool {
        match rest {
            Ok(rest) => {
                let (found, due) = (short(&rest), short(self.rest()));
                assert!(rest == self.rest(), "{:?}: {found:?}, not {due:?}", self.read);
                true
            }
            Err(Fault::Removed { as_of }) => {
                assert_eq!(as_of, self.point.position);
                false
            }
            Err(fault) => panic!("{fault}"),
        }
    }
}

fn all(mut scan: Scan) -> Result<Vec<RecordedEvent>, Fault> {
    let mut events = Vec::new();
    while let Some(page) = scan.next_page(100)? {
        events.extend(page.iter().map(|event| event.decode()));
    }
    Ok(events)
}

/// Goes on with scans that are open.
fn finish(open: &mut Vec<(Scan, Begun)>) {
    for (scan, begun) in open.drain(..) {
        begun.check(all(scan));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Op(Op),
    /// Begins a read of one of the sources; some events are handed out.
    Begin {
        source: prop::sample::Index,
        backwards: bool,
        limit: Option<u64>,
        handed_out: usize,
    },
    /// Goes on with all reads.
    GoOn,
}

fn any_step() -> impl Strategy<Value = Step> {
    let begin =
        (any::<prop::sample::Index>(), any::<bool>(), prop::option::of(0..8_u64), 0..9_usize);
    prop_oneof![
        6 => any_op().prop_map(Step::Op),
        2 => begin.prop_map(|(source, backwards, limit, handed_out)| {
            Step::Begin { source, backwards, limit, handed_out }
        }),
        1 => Just(Step::GoOn),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn the_rest_of_an_answer_is_what_was_there_at_its_point_or_is_refused(
        steps in proptest::collection::vec(any_step(), 1..120), chunk_bytes in 400..3000_u64
    ) {
        let (mut twins, mut begun) = (Twins::new(chunk_bytes), Vec::new());
        let mut open: Vec<(Scan, Begun)> = Vec::new();
        for step in steps.into_iter().chain([Step::GoOn]) {
            match step {
                Step::Op(op) => {
                    if matches!(op, Op::Restart { .. }) {
                        finish(&mut open);
                    }
                    twins.run(op);
                }
                Step::Begin { source, backwards, limit, handed_out } => {
                    let direction =
                        if backwards { Direction::Backwards } else { Direction::Forwards };
                    let read = Read { direction, limit, ..source.get(&sources()).clone() };
                    let scan = twins.lean.store.reader().scan(&read).expect("begins");
                    let whole = Begun::new(&twins.plain.store.reader(), read.clone(), 0);
                    open.push((scan, whole));
                    begun.push(Begun::new(&twins.plain.store.reader(), read, handed_out));
                }
                Step::GoOn => {
                    for one in &begun {
                        for node in [&twins.plain, &twins.lean] {
                            one.check(one.go_on(&node.store.reader()));
                        }
                    }
                }
            }
        }
        finish(&mut open);
    }
}

fn append(twins: &mut Twins, name: &str) {
    let append = Append::to(stream(name), Expectation::Any, twins.events(1));
    assert!(twins.append(&append).is_some());
}

/// Two streams of a category and one of another, five events each.
fn written() -> Twins {
    let mut twins = Twins::new(1000);
    for _ in 0..5 {
        for name in ["order-1", "order-2", "bill"] {
            append(&mut twins, name);
        }
    }
    twins
}

#[test]
fn a_query_is_refused_its_rest_exactly_where_an_event_of_the_rest_was_removed_since_its_point() {
    let order = || Scope::Stream(stream("order-1"));
    let orders = || Scope::Category(category("order"));
    for (name, scope, kind, goes_on) in [
        ("truncated", order(), settings(None, None, Some(5)), false),
        ("a category truncated", orders(), settings(None, None, Some(12)), false),
        ("deleted", order(), ChangeKind::Delete, false),
        ("too many", order(), settings(Some(2), None, None), false),
        ("too old", orders(), settings(None, Some(3), None), false),
        ("only what was handed out", order(), settings(None, None, Some(3)), true),
        ("nothing", order(), settings(Some(5), None, None), true),
        ("only what is not read", Scope::Stream(stream("bill")), ChangeKind::Delete, true),
    ] {
        for is_sealed in [false, true] {
            let mut twins = written();
            let items = sources().into_iter().find(|read| {
                matches!(&read.source, Source::Query(query)
                    if query.items.iter().any(|item| item.scope == Some(orders())))
            });
            let begun = Begun::new(&twins.plain.store.reader(), items.expect("a query"), 4);
            assert!(
                begun.check(begun.go_on(&twins.plain.store.reader())),
                "{name}: nothing changed"
            );
            twins.at += 2;
            twins.change(scope.clone(), kind);
            twins.at += 2;
            append(&mut twins, "x-9");
            if is_sealed {
                twins.checkpoint();
                twins.checkpoint();
            }
            let went_on = begun.check(begun.go_on(&twins.plain.store.reader()));
            assert_eq!(went_on, goes_on, "{name}, sealed: {is_sealed}");
        }
    }
}

#[test]
fn a_limit_that_was_in_force_before_hides_no_more_of_a_rest_and_what_it_hid_since_then_is_missed() {
    let mut twins = written();
    twins.change(Scope::Stream(stream("order-1")), settings(Some(3), None, None));
    let everything = Begun::new(&twins.plain.store.reader(), Model::all(), 1);
    let of_stream = Read::stream(stream("order-1"));
    let backwards = Read { direction: Direction::Backwards, limit: Some(3), ..of_stream.clone() };
    let few = Read { limit: Some(2), ..backwards.clone() };
    let reads = [of_stream, backwards, few];
    let of_stream = reads.map(|read| Begun::new(&twins.plain.store.reader(), read, 1));
    let goes_on =
        |twins: &Twins, begun: &Begun| begun.check(begun.go_on(&twins.plain.store.reader()));
    assert!(goes_on(&twins, &everything));
    append(&mut twins, "order-2");
    assert!(goes_on(&twins, &everything), "no event was removed");
    // The oldest visible event was handed out forwards, and is the last one backwards.
    append(&mut twins, "order-1");
    assert!(!goes_on(&twins, &everything));
    assert_eq!(of_stream.each_ref().map(|begun| goes_on(&twins, begun)), [true, false, true]);
    append(&mut twins, "order-1");
    assert_eq!(of_stream.each_ref().map(|begun| goes_on(&twins, begun)), [false, false, false]);
}

#[test]
fn a_scavenge_behind_the_point_refuses_the_rest_and_one_before_it_does_not() {
    let mut twins = written();
    twins.change(Scope::Stream(stream("order-1")), ChangeKind::Delete);
    twins.checkpoint();
    twins.checkpoint();
    let before = Begun::new(&twins.plain.store.reader(), Model::all(), 1);
    assert!(twins.scavenge().events > 0);
    assert!(before.check(before.go_on(&twins.lean.store.reader())));
    twins.change(Scope::Stream(stream("order-2")), ChangeKind::Delete);
    let behind = Begun::new(&twins.plain.store.reader(), Model::all(), 1);
    twins.checkpoint();
    twins.checkpoint();
    assert!(twins.scavenge().events > 0);
    assert!(!before.check(before.go_on(&twins.lean.store.reader())));
    assert!(!before.check(before.go_on(&twins.plain.store.reader())));
    assert!(!behind.check(behind.go_on(&twins.lean.store.reader())), "nobody can know");
    assert!(behind.check(behind.go_on(&twins.plain.store.reader())), "nothing was removed since");
}
