//! Enrols students in courses: a student takes at most 10 courses, a course has a capacity, and both rules hold
//! however many enrol at once. Neither rule belongs to one stream, so the decision is made from a query by
//! tags, and its event is appended unless the query matches an event that was appended since.
//!
//! Run it beside `quorate dev`: `cargo run -p quorate-client --example enrolment`.

use quorate_client::{AppendError, Client, Event, Expect, Query};

const COURSES_PER_STUDENT: usize = 10;

/// The result of an enrolment.
#[derive(Debug)]
enum Enrolment {
    Done { position: u64 },
    Refused(&'static str),
}

async fn enrol(
    client: &Client,
    student: &str,
    course: &str,
    capacity: usize,
) -> Result<Enrolment, Box<dyn std::error::Error>> {
    let (student, course) = (format!("student:{student}"), format!("course:{course}"));
    let enrolled = |tag: &str| Query::item().types(["Enrolled"]).tags([tag]);
    loop {
        // All events that the decision rests on, as of one position of the log.
        let relevant = enrolled(&student).or(enrolled(&course));
        let known = client.read(relevant.clone()).collect().await?;
        let of_student = known.events.iter().filter(|event| event.has_tag(&student));
        let in_course = known.events.iter().filter(|event| event.has_tag(&course));
        if of_student.clone().any(|event| event.has_tag(&course)) {
            return Ok(Enrolment::Refused("is enrolled already"));
        }
        if of_student.count() >= COURSES_PER_STUDENT {
            return Ok(Enrolment::Refused("takes as many courses as a student may"));
        }
        if in_course.count() >= capacity {
            return Ok(Enrolment::Refused("is too late: the course is full"));
        }
        let event = Event::json("Enrolled", &())?.tag(&student).tag(&course);
        let stream = format!("enrolment-{}", student.replace(':', "-"));
        let enrolling = client.transaction().write(stream, Expect::Any, [event]);
        match enrolling.unless(relevant, known.as_of).commit().await {
            Ok(done) => return Ok(Enrolment::Done { position: done.position.0 }),
            // Another writer was faster: read again and decide again.
            Err(AppendError::Conflict(_)) => {}
            Err(other) => return Err(other.into()),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::connect(["127.0.0.1:7701", "127.0.0.1:7702", "127.0.0.1:7703"]).await?;
    for student in ["ada", "grace", "edsger"] {
        match enrol(&client, student, "consensus", 2).await? {
            Enrolment::Done { position } => println!("{student} is enrolled, position {position}"),
            Enrolment::Refused(why) => println!("{student} {why}"),
        }
    }
    Ok(())
}
