//! Tests of the batcher with a proposer that answers when the test lets it.

use quorate_proto::wire::deadline_ms;
use quorate_proto::{
    Append, Appended, Event, EventId, EventType, Expectation, Position, StreamName, Tag, Version,
};
use quorate_store::Rejection;
use quorate_store::command::key_bytes;

use super::super::admission::Admission;
use super::super::deadline::{Anchor, Due};
use super::super::proposal::EncodedRequest;
use super::super::reply::Reply;
use super::*;

/// An entry as it was proposed.
struct Proposed {
    term: Term,
    bytes: usize,
    done: Done,
}

struct Fake {
    proposed: mpsc::UnboundedSender<Proposed>,
    /// The reasons with which the next proposals are refused.
    refusals: Mutex<Vec<ProposeError>>,
    pressure: f32,
    /// The number of calls for which there is no stamp yet.
    without_clocks: Mutex<u32>,
}

impl Proposer for Fake {
    fn stamp(&self) -> Option<Timestamp> {
        let mut unheard = self.without_clocks.lock().expect("no panic before");
        match unheard.checked_sub(1) {
            Some(left) => {
                *unheard = left;
                None
            }
            None => Some(Timestamp(7)),
        }
    }

    fn pressure(&self) -> f32 {
        self.pressure
    }

    async fn propose(&self, term: Term, command: Bytes, done: Done) -> Result<(), ProposeError> {
        if let Some(lost) = self.refusals.lock().expect("no panic before").pop() {
            return Err(lost);
        }
        let proposed = Proposed { term, bytes: command.len(), done };
        assert!(self.proposed.send(proposed).is_ok(), "the test has ended");
        Ok(())
    }

    fn answer_after_check(&self, repeated: Proposal, verdict: Verdict) {
        let Verdict::Repeated(first) = verdict else { panic!("{verdict:?} needs no check") };
        // The answer for a repetition with the same id and different content.
        let problem = Rejection::IdReused(id(first.first_position.0)).into();
        repeated.reply.answer(Answer::Rejected(problem));
    }
}

struct Bench {
    queue: Queue,
    proposed: mpsc::UnboundedReceiver<Proposed>,
    answers: mpsc::UnboundedReceiver<(u64, Answer)>,
    sender: mpsc::UnboundedSender<(u64, Answer)>,
    admission: Arc<Admission>,
    times: Arc<Histogram>,
}

impl Bench {
    fn new(refusals: Vec<ProposeError>) -> Bench {
        Bench::under(0.0, refusals)
    }

    fn under(pressure: f32, refusals: Vec<ProposeError>) -> Bench {
        Bench::with(pressure, refusals, 0)
    }

    fn with(pressure: f32, refusals: Vec<ProposeError>, without_clocks: u32) -> Bench {
        let (queue, waiting) = mpsc::unbounded_channel();
        let (proposing, proposed) = mpsc::unbounded_channel();
        let (sender, answers) = mpsc::unbounded_channel();
        let (refusals, without_clocks) = (Mutex::new(refusals), Mutex::new(without_clocks));
        let fake = Fake { proposed: proposing, refusals, pressure, without_clocks };
        let times = Arc::new(Histogram::default());
        tokio::spawn(run(fake, waiting, times.clone()));
        let admission = Arc::new(Admission::new());
        Bench { queue, proposed, answers, sender, admission, times }
    }

    async fn send(&self, number: u64, leader_term: &LeaderTerm, bytes: usize, deadline: Instant) {
        self.send_append(number, leader_term, &append(number, bytes), deadline).await;
    }

    async fn send_append(
        &self,
        number: u64,
        leader_term: &LeaderTerm,
        append: &Append,
        deadline: Instant,
    ) {
        let request = EncodedRequest::from(append.clone());
        let admitted = self.admission.admit(request.size(), far()).await.expect("room");
        let sender = self.sender.clone();
        let reply = Reply::new(move |answer| drop(sender.send((number, answer))), admitted);
        let due = Due { came: Instant::now(), deadline, expires_alone: false };
        let (_, proposal) = request.propose(due, reply);
        assert!(self.queue.send((leader_term.clone(), proposal)).is_ok(), "the batcher is gone");
    }

    async fn proposed(&mut self) -> Proposed {
        self.proposed.recv().await.expect("an entry")
    }

    async fn answer(&mut self) -> (u64, Answer) {
        self.answers.recv().await.expect("an answer")
    }
}

fn id(number: u64) -> EventId {
    let mut id = [1; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    EventId::from_bytes(id).expect("an id")
}

fn append(number: u64, bytes: usize) -> Append {
    let kind = EventType::new("Paid").expect("a type");
    let stream = StreamName::new("order-1").expect("a name");
    let event = Event::new(id(number), kind, vec![0; bytes]);
    Append::to(stream, Expectation::Any, vec![event])
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

fn appended(position: u64) -> Verdict {
    Verdict::Appended(Appended {
        versions: vec![Version(position)],
        first_position: Position(position),
        last_position: Position(position),
        recorded_at: Timestamp(7),
    })
}

#[tokio::test(start_paused = true)]
async fn what_waits_while_entries_are_in_flight_becomes_one_entry() {
    let mut bench = Bench::new(Vec::new());
    let leader_term = LeaderTerm::new(Term(3));
    let mut in_flight = Vec::new();
    for number in 1..=4 {
        bench.send(number, &leader_term, 10, far()).await;
        in_flight.push(bench.proposed().await);
    }
    for number in 5..=9 {
        bench.send(number, &leader_term, 10, far()).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(bench.proposed.try_recv().is_err(), "a fifth entry is in flight");
    let first = in_flight.remove(0);
    (first.done)(Ok(vec![appended(1)]));
    assert_eq!(bench.answer().await, (1, appended(1).into()));
    let entry = bench.proposed().await;
    assert_eq!(entry.term, Term(3));
    (entry.done)(Ok((5..=9).map(appended).collect()));
    for number in 5..=9 {
        assert_eq!(bench.answer().await, (number, appended(number).into()));
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_request_is_counted_from_its_receipt_to_its_answer_if_it_got_a_verdict() {
    let mut bench = Bench::new(Vec::new());
    let leader_term = LeaderTerm::new(Term(3));
    bench.send(1, &leader_term, 10, far()).await;
    let first = bench.proposed().await;
    tokio::time::advance(Duration::from_millis(30)).await;
    assert_eq!(bench.times.observations().count(), 0);
    (first.done)(Ok(vec![appended(1)]));
    let counted = bench.times.observations();
    assert_eq!((counted.count(), counted.sum_seconds), (1, 0.03));
    for number in 2..=3 {
        bench.send(number, &leader_term, 10, far()).await;
    }
    let second = bench.proposed().await;
    (second.done)(Ok(vec![appended(2), appended(3)]));
    assert_eq!(bench.times.observations().count(), 3);
    bench.send(4, &leader_term, 10, far()).await;
    let lost = bench.proposed().await;
    (lost.done)(Err(ProposeError::Discarded));
    assert_eq!(bench.times.observations().count(), 3, "a lost request took no time to its answer");
}

#[tokio::test(start_paused = true)]
async fn an_entry_has_one_term_and_stays_within_its_bound() {
    let mut bench = Bench::new(Vec::new());
    let (old, new) = (LeaderTerm::new(Term(3)), LeaderTerm::new(Term(4)));
    let mut blocked = Vec::new();
    for number in 0..4 {
        bench.send(number, &old, 10, far()).await;
        blocked.push(bench.proposed().await);
    }
    for number in 4..14 {
        bench.send(number, &old, 1024 * 1024, far()).await;
    }
    bench.send(14, &new, 10, far()).await;
    let mut entries = Vec::new();
    for entry in blocked {
        (entry.done)(Err(ProposeError::Discarded));
    }
    for _ in 0..3 {
        entries.push(bench.proposed().await);
    }
    assert!(entries.iter().all(|entry| entry.bytes <= ENTRY_BYTES_MAX));
    let terms: Vec<_> = entries.iter().map(|entry| entry.term.0).collect();
    assert_eq!(terms, [3, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_proposed_after_its_deadline_and_what_came_too_late_is_lost() {
    let mut bench = Bench::new(Vec::new());
    let leader_term = LeaderTerm::new(Term(3));
    bench.send(1, &leader_term, 10, Instant::now()).await;
    let (number, answer) = bench.answer().await;
    assert_eq!((number, answer), (1, Answer::Lost(problem::expired())));
    bench.send(2, &leader_term, 10, far()).await;
    let entry = bench.proposed().await;
    (entry.done)(Ok(vec![appended(1)]));
    assert_eq!(bench.answer().await, (2, appended(1).into()));
}

#[tokio::test(start_paused = true)]
async fn what_was_held_up_on_its_way_is_not_proposed_after_the_deadline_that_its_caller_meant() {
    let mut bench = Bench::new(Vec::new());
    let leader_term = LeaderTerm::new(Term(3));
    let anchor = Anchor::now();
    tokio::time::advance(Duration::from_millis(20)).await;
    // The first message arrives; the caller gives both appends a second and a half from there.
    let deadline_ms = deadline_ms(Duration::from_millis(1_500));
    tokio::time::advance(Duration::from_secs(1)).await;
    bench.send(1, &leader_term, 10, anchor.deadline(deadline_ms, Instant::now())).await;
    let entry = bench.proposed().await;
    (entry.done)(Ok(vec![appended(1)]));
    assert_eq!(bench.answer().await, (1, appended(1).into()));
    tokio::time::advance(Duration::from_millis(500)).await;
    bench.send(2, &leader_term, 10, anchor.deadline(deadline_ms, Instant::now())).await;
    assert_eq!(bench.answer().await, (2, Answer::Lost(problem::expired())));
    assert!(bench.proposed.try_recv().is_err(), "proposed although it came too late");
}

#[tokio::test(start_paused = true)]
async fn what_was_proposed_and_lost_is_unknown_and_what_was_refused_is_not_appended() {
    for (refusals, outcome) in
        [(vec![], Outcome::Unknown), (vec![ProposeError::NotLeader], Outcome::NotAppended)]
    {
        let refused = !refusals.is_empty();
        let mut bench = Bench::new(refusals);
        bench.send(1, &LeaderTerm::new(Term(3)), 10, far()).await;
        if !refused {
            let entry = bench.proposed().await;
            (entry.done)(Err(ProposeError::Discarded));
        }
        match bench.answer().await {
            (1, Answer::Lost(problem)) => assert_eq!(problem.outcome, outcome),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_leader_does_not_take_now_keeps_its_place_until_its_deadline() {
    let mut bench = Bench::new(vec![ProposeError::NotNow; 3]);
    let leader_term = LeaderTerm::new(Term(3));
    let soon = Instant::now() + TRY_AGAIN_AFTER / 2;
    bench.send(1, &leader_term, 10, soon).await;
    bench.send(2, &leader_term, 10, far()).await;
    bench.send(3, &leader_term, 10, far()).await;
    assert_eq!(bench.answer().await, (1, Answer::Lost(problem::expired())));
    let entry = bench.proposed().await;
    (entry.done)(Ok(vec![appended(1), appended(2)]));
    assert_eq!(bench.answer().await, (2, appended(1).into()));
    assert_eq!(bench.answer().await, (3, appended(2).into()));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_proposed_without_a_stamp_and_what_waits_for_one_keeps_its_place_and_deadline() {
    let mut bench = Bench::with(0.0, Vec::new(), 3);
    let leader_term = LeaderTerm::new(Term(3));
    bench.send(1, &leader_term, 10, far()).await;
    bench.send(2, &leader_term, 10, Instant::now() + TRY_AGAIN_AFTER).await;
    bench.send(3, &leader_term, 10, far()).await;
    let (number, lost) = bench.answer().await;
    assert!(matches!((number, lost), (2, Answer::Lost(_))));
    let proposed = bench.proposed().await;
    (proposed.done)(Ok(vec![appended(1), appended(2)]));
    let answered = [bench.answer().await.0, bench.answer().await.0];
    assert_eq!(answered, [1, 3]);
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_is_dropped_unanswered_leaves_nobody_waiting() {
    let mut bench = Bench::new(Vec::new());
    bench.send(1, &LeaderTerm::new(Term(3)), 10, far()).await;
    drop(bench.proposed().await);
    match bench.answer().await {
        (1, Answer::Lost(problem)) => assert_eq!(problem.outcome, Outcome::Unknown),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_lost_an_append_gets_no_later_one_proposed() {
    let mut bench = Bench::new(Vec::new());
    let (lost, other) = (LeaderTerm::new(Term(3)), LeaderTerm::new(Term(3)));
    lost.end();
    bench.send(1, &lost, 10, far()).await;
    bench.send(2, &other, 10, far()).await;
    match bench.answer().await {
        (1, Answer::Lost(problem)) => assert_eq!(problem.outcome, Outcome::NotAppended),
        other => panic!("{other:?}"),
    }
    let entry = bench.proposed().await;
    (entry.done)(Ok(vec![appended(1)]));
    assert_eq!(bench.answer().await, (2, appended(1).into()));
}

#[tokio::test(start_paused = true)]
async fn under_pressure_entries_are_held_back_and_deadlines_still_hold() {
    for (pressure, held_back) in [(0.5, false), (1.0, true)] {
        let mut bench = Bench::under(pressure, Vec::new());
        let leader_term = LeaderTerm::new(Term(3));
        let began = Instant::now();
        bench.send(1, &leader_term, 1024 * 1024, far()).await;
        let first = bench.proposed().await;
        assert!(began.elapsed() < Duration::from_millis(10), "an idle leader waits for nothing");
        bench.send(2, &leader_term, 10, began + Duration::from_millis(100)).await;
        bench.send(3, &leader_term, 10, far()).await;
        let second = bench.proposed().await;
        assert_eq!(began.elapsed() > Duration::from_millis(200), held_back, "at {pressure}");
        (first.done)(Ok(vec![appended(1)]));
        assert_eq!(bench.answer().await.0, if held_back { 2 } else { 1 });
        drop(second);
    }
}

#[tokio::test(start_paused = true)]
async fn under_pressure_keys_hold_back_as_the_chunk_size_counts_them() {
    let mut held_back = Vec::new();
    for tags in [0, 20] {
        let mut bench = Bench::under(1.0, Vec::new());
        let leader_term = LeaderTerm::new(Term(3));
        let mut tagged = append(1, 0);
        let event = tagged.writes[0].events[0].clone();
        tagged.writes[0].events = (0..1000_u64)
            .map(|number| Event {
                id: id(number + 1),
                tags: (0..tags).map(|tag| Tag::new(tag.to_string()).expect("a tag")).collect(),
                ..event.clone()
            })
            .collect();
        let began = Instant::now();
        bench.send_append(1, &leader_term, &tagged, far()).await;
        let first = bench.proposed().await;
        bench.send(2, &leader_term, 10, far()).await;
        let second = bench.proposed().await;
        let counted = first.bytes as u64 + key_bytes(&tagged);
        let expected = Duration::from_nanos(counted * 256);
        let late = began.elapsed().saturating_sub(expected);
        assert!(began.elapsed() >= expected && late < Duration::from_millis(10), "{tags} tags");
        held_back.push(expected);
        drop((first.done, second));
    }
    assert!(held_back[1] > held_back[0] * 3, "{held_back:?}");
}

#[tokio::test(start_paused = true)]
async fn a_repetition_is_answered_after_a_check_of_its_content() {
    let mut bench = Bench::new(Vec::new());
    let leader_term = LeaderTerm::new(Term(3));
    bench.send(1, &leader_term, 10, far()).await;
    let entry = bench.proposed().await;
    let Verdict::Appended(first) = appended(7) else { unreachable!("it is made so") };
    (entry.done)(Ok(vec![Verdict::Repeated(first)]));
    let (number, answer) = bench.answer().await;
    let reused = Answer::Rejected(Rejection::IdReused(id(7)).into());
    assert_eq!((number, answer), (1, reused));
}
