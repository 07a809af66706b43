//! Decisions over several streams: on whatever a query finds, appended unless it would find more by then.
//!
//! A rule that spans many streams has no aggregate: a transfer between two accounts, a seat that is sold once, a course
//! with room for thirty students. A [`Decision`] names the events on which it rests by a [`Query`]; [`Decisions`] read
//! them, decide, and append on condition that no event that the query finds came meanwhile, or else decide again.
//!
//! ```no_run
//! use quorate_app::decider::CommandError;
//! use quorate_app::decision::{Decision, Decisions, Writes};
//! use quorate_app::evolution::JsonEvents;
//! use quorate_client::{Client, Query, RecordedEvent};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! enum Enrolment {
//!     Enrolled { student: String, course: String },
//! }
//!
//! impl JsonEvents for Enrolment {
//!     // Queries find the events by these.
//!     fn tags(&self) -> Vec<String> {
//!         let Enrolment::Enrolled { student, course } = self;
//!         vec![format!("student:{student}"), format!("course:{course}")]
//!     }
//! }
//!
//! /// Enrols a student in a course that has room, once.
//! struct Enrol {
//!     student: String,
//!     course: String,
//! }
//!
//! #[derive(Debug, thiserror::Error)]
//! enum Refusal {
//!     #[error("the course is full")]
//!     Full,
//! }
//!
//! #[derive(Default)]
//! struct Course {
//!     students: Vec<String>,
//! }
//!
//! impl Decision for Enrol {
//!     const NAME: &'static str = "enrol";
//!     type State = Course;
//!     type Event = Enrolment;
//!     type Error = Refusal;
//!
//!     fn query(&self) -> Query {
//!         Query::item().types(["Enrolled"]).tags([format!("course:{}", self.course)])
//!     }
//!
//!     fn evolve(&self, course: &mut Course, event: Enrolment, _: &RecordedEvent) {
//!         let Enrolment::Enrolled { student, .. } = event;
//!         course.students.push(student);
//!     }
//!
//!     fn decide(&self, course: &Course) -> Result<Writes<Enrolment>, Refusal> {
//!         if course.students.contains(&self.student) {
//!             return Ok(Writes::nothing());
//!         }
//!         if course.students.len() >= 30 {
//!             return Err(Refusal::Full);
//!         }
//!         let (student, course) = (self.student.clone(), self.course.clone());
//!         let stream = format!("student-{student}");
//!         Ok(Writes::to(stream, [Enrolment::Enrolled { student, course }]))
//!     }
//! }
//!
//! # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error>> {
//! let decisions = Decisions::new(client);
//! let enrol = Enrol { student: "ann".into(), course: "rust".into() };
//! match decisions.make(&enrol).command_id("cmd-91").created_by("ann").await {
//!     Ok(made) => println!("enrolled; read it at position {}", made.position),
//!     Err(CommandError::Refused(why)) => println!("no: {why}"),
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok(()) }
//! ```
//!
//! Repetitions, conflicts and errors are those of a [`Repository`](crate::decider::Repository); the id of a command is
//! known among all decisions of one [`NAME`](Decision::NAME). Every decision reads all events that its query finds, so
//! a query should be narrow.

mod make;
mod rule;
mod scenario;
mod writes;

pub use make::{Decisions, Made, Make};
pub use rule::Decision;
pub use scenario::{Outcome, Scenario, given, given_nothing};
pub use writes::Writes;

#[cfg(doc)]
use quorate_client::Query;
