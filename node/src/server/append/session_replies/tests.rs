//! Tests of a session's answers: their order, their window, and the end of the session, most of them as scripts.

use futures_util::StreamExt;
use quorate_proto::Term;
use tokio::time::Instant;

use super::super::admission::Admission;
use super::super::deadline::deadline_of;
use super::*;

mod scripts;

fn rejected() -> Answer {
    Answer::Rejected(problem::expired())
}

async fn reply(
    replies: &SessionReplies,
    number: u64,
    leader_term: &LeaderTerm,
    expires_alone: bool,
) -> Reply {
    let admission = Admission::new();
    let admitted = admission.admit(1, deadline_of(0)).await.expect("room");
    replies.reply(
        (number, replies.place(0).await),
        admitted,
        Some(leader_term.clone()),
        expires_alone,
    )
}

fn numbers(message: &v1::AppendSessionResponse) -> Vec<u64> {
    message.answers.iter().map(|answer| answer.number).collect()
}

/// Checks a session whenever its transport is woken, because the transport may release places then.
struct Watch {
    over: CancellationToken,
    saw_it_go_on: AtomicBool,
}

impl std::task::Wake for Watch {
    fn wake(self: Arc<Self>) {
        self.saw_it_go_on.fetch_or(!self.over.is_cancelled(), Ordering::SeqCst);
    }
}

/// The next append of the session once went to the new leader before the lost one was sent again.
#[tokio::test]
async fn the_session_is_over_before_the_transport_can_release_the_place_of_a_lost_append() {
    for outcome in [Outcome::NotAppended, Outcome::Unknown] {
        let (replies, mut answers) = SessionReplies::new();
        let lost = reply(&replies, 1, &LeaderTerm::new(Term(3)), false).await;
        let over = replies.0.over.clone();
        let watch = Arc::new(Watch { over, saw_it_go_on: AtomicBool::new(false) });
        let waker = watch.clone().into();
        assert!(answers.poll_next_unpin(&mut Context::from_waker(&waker)).is_pending());
        lost.answer(Answer::Lost(problem::stopping(outcome)));
        let saw_it_go_on = watch.saw_it_go_on.load(Ordering::SeqCst);
        assert!(!saw_it_go_on, "{outcome:?}: its place may come free while the session goes on");
        while answers.next().await.is_some() {}
        assert!(replies.is_idle() && !replies.may_change_route());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_threads_a_window_that_a_lost_append_left_is_never_seen_empty_in_a_session_that_goes_on()
{
    for _ in 0..2_000 {
        let (replies, mut answers) = SessionReplies::new();
        let lost = reply(&replies, 1, &LeaderTerm::new(Term(3)), false).await;
        let transport = tokio::spawn(async move { while answers.next().await.is_some() {} });
        let losing = tokio::spawn(async move {
            lost.answer(Answer::Lost(problem::stopping(Outcome::NotAppended)));
        });
        while !replies.is_idle() {
            std::hint::spin_loop();
        }
        assert!(!replies.may_change_route(), "a later append would overtake the lost one");
        losing.await.expect("it does not panic");
        transport.await.expect("it does not panic");
    }
}

#[tokio::test(start_paused = true)]
async fn deadlines_count_from_before_the_message_that_opens_the_session() {
    let (replies, mut answers) = SessionReplies::new();
    let anchor = replies.greet("here:4711".to_owned());
    replies.answer(1, replies.place(0).await, rejected());
    let first = answers.next().await.expect("a message").expect("answers");
    assert_eq!((first.leader.as_str(), numbers(&first).len()), ("here:4711", 0));
    let received = Instant::now();
    tokio::time::advance(Duration::from_secs(2)).await;
    let deadline = anchor.deadline(1_500, Instant::now());
    assert!(deadline <= received + Duration::from_millis(1_500));
}
