//! Conditions under load: students enrol in courses at the same time while leaders are killed, and the rules
//! that span many streams hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quorate_client::{
    AppendError, Client, Done, Event, EventId, Expect, Query, RecordedEvent, Tag,
};
use quorate_tests::cluster::{Cluster, PATIENCE, wait_for};

const STUDENTS: usize = 9;
const COURSES: usize = 12;
/// A student may not take all courses, and no course has room (`CAPACITY`) for all students.
const COURSES_PER_STUDENT: usize = 10;
const CAPACITY: usize = 7;
/// The numbers of enrolments after which a leader is killed.
const KILLED_AFTER: [usize; 2] = [20, 50];

/// The answers that one writer got.
#[derive(Default)]
struct Answers {
    /// The position and the id of each acknowledged enrolment.
    acknowledged: Vec<(u64, EventId)>,
    conflicts: usize,
}

fn student(number: usize) -> String {
    format!("student:{number}")
}

fn course(number: usize) -> String {
    format!("course:{number}")
}

/// Enrols one student, as far as the rules allow, in every course that has room; each in another order.
async fn enrol_in_all(client: Client, number: usize, enrolled: Arc<AtomicUsize>) -> Answers {
    let mut answers = Answers::default();
    for at in 0..COURSES {
        while !decide(&client, number, (number * 5 + at) % COURSES, &enrolled, &mut answers).await {
        }
    }
    answers
}

/// Decides on one enrolment; returns false if another writer was faster or a request failed: decide again.
async fn decide(
    client: &Client,
    number: usize,
    place: usize,
    enrolled: &AtomicUsize,
    answers: &mut Answers,
) -> bool {
    let (student, course) = (student(number), course(place));
    let item = |tag: &str| Query::item().types(["Enrolled"]).tags([tag]);
    let relevant = item(&student).or(item(&course));
    let Ok(known) = client.read(relevant.clone()).collect().await else { return false };
    let with = |tag: &str| known.events.iter().filter(|event| event.has_tag(tag)).count();
    let is_enrolled = |event: &RecordedEvent| event.has_tag(&student) && event.has_tag(&course);
    if with(&student) >= COURSES_PER_STUDENT
        || with(&course) >= CAPACITY
        || known.events.iter().any(is_enrolled)
    {
        return true;
    }
    // Each enrolment has one id, however often it is decided on and on whatever client.
    let fact = 1_u128 << 96 | (number as u128) << 32 | place as u128;
    let id = EventId::from_bytes(fact.to_be_bytes()).expect("an id");
    let event = Event::json("Enrolled", &()).expect("JSON").id(id).tag(&student).tag(&course);
    let stream = format!("enrolment-{number}");
    let enrolling = client.transaction().write(stream, Expect::Any, [event]);
    match resolve(client, enrolling.unless(relevant, known.as_of).commit().await).await {
        Ok(done) => {
            answers.acknowledged.push((done.position.0, id));
            enrolled.fetch_add(1, Ordering::Relaxed);
            true
        }
        Err(AppendError::Conflict(conflict)) => {
            assert!(!conflict.violations.is_empty(), "{conflict:?}");
            answers.conflicts += 1;
            false
        }
        Err(other) => {
            // The event is certainly not in the log: decide again.
            assert!(!matches!(other, AppendError::Unknown(_)), "{other}");
            false
        }
    }
}

/// Repeats an append whose outcome is unknown until the outcome is known.
async fn resolve(client: &Client, answer: Result<Done, AppendError>) -> Result<Done, AppendError> {
    let mut answer = answer;
    while let Err(AppendError::Unknown(unknown)) = answer {
        answer = client.repeat(unknown).await;
    }
    answer
}

/// Kills the leader after each number of enrolments in `KILLED_AFTER`, and starts it again.
fn kill_leaders(cluster: &mut Cluster, enrolled: &AtomicUsize) {
    for count in KILLED_AFTER {
        wait_for("enrolments", PATIENCE, || {
            (enrolled.load(Ordering::Relaxed) >= count).then_some(())
        });
        let leader = cluster.wait_for_leader();
        cluster.nodes[leader].kill();
        // This waits for a leader and not for an enrolment: all places may have been taken meanwhile.
        cluster.wait_for_leader();
        cluster.nodes[leader].start();
    }
}

#[test]
fn no_course_is_over_its_capacity_and_no_student_over_ten_while_leaders_die() {
    // The chunks are so small that conditions are checked across their boundaries.
    let mut cluster = Cluster::start("64KiB");
    let addresses: Vec<String> = cluster.nodes.iter().map(|node| node.address.clone()).collect();
    let enrolled = Arc::new(AtomicUsize::new(0));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let connect = || runtime.block_on(Client::connect(addresses.clone())).expect("a cluster");
    let clients = [connect(), connect(), connect()];
    let writers: Vec<_> = (0..STUDENTS)
        .map(|number| {
            let client = clients[number % clients.len()].clone();
            runtime.spawn(enrol_in_all(client, number, enrolled.clone()))
        })
        .collect();
    kill_leaders(&mut cluster, &enrolled);
    let mut all = Answers::default();
    for writer in writers {
        let answers = runtime.block_on(writer).expect("no writer panics");
        all.acknowledged.extend(answers.acknowledged);
        all.conflicts += answers.conflicts;
    }

    let whole = runtime.block_on(clients[0].read(Query::everything()).collect());
    let events = whole.expect("a read").events;
    let mut of: BTreeMap<&str, BTreeSet<&[Tag]>> = BTreeMap::new();
    for event in &events {
        for tag in &event.tags {
            assert!(
                of.entry(tag.as_str()).or_default().insert(&event.tags),
                "twice: {:?}",
                event.tags
            );
        }
    }
    let counts = |number: usize, name: fn(usize) -> String| -> Vec<usize> {
        (0..number).map(|at| of.get(name(at).as_str()).map_or(0, BTreeSet::len)).collect()
    };
    let (students, courses) = (counts(STUDENTS, student), counts(COURSES, course));
    assert!(students.iter().all(|count| *count <= COURSES_PER_STUDENT), "{students:?}");
    assert!(courses.iter().all(|count| *count <= CAPACITY), "{courses:?}");
    for (position, id) in &all.acknowledged {
        let found: Vec<u64> =
            events.iter().filter(|event| event.id == *id).map(|event| event.position.0).collect();
        assert_eq!(found, [*position], "an acknowledged enrolment");
    }
    assert_eq!(events.len(), all.acknowledged.len(), "what was refused is there");
    println!("{} enrolments, {} conflicts; {courses:?}, {students:?}", events.len(), all.conflicts);
    assert!(all.conflicts > 0, "nobody was in anybody's way");
    assert!(events.len() > *KILLED_AFTER.last().expect("some"), "the run was idle");
    cluster.check_logs();
}
