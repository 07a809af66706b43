//! The way of an append, a snapshot or a group request through a node.
//!
//! ```text
//! session (a client's)    a single call    accept_forwarded (from another node)
//!    └───────────────┬──────────┴─────────────────┘
//!                    │  admission: bounds the bytes in flight;  routes: finds the leader
//!                 appends ── another node leads ─→ forwarding ─→ its accept_forwarded
//!                    │  this node leads, in one leader_term
//!                  order: behind the session's appends with conditions on the same streams
//!                  judge: repetition, conditions, refusal, as the store prejudges them
//!                 batcher: one command of everything that waits ─→ the log
//!                    │
//!                 answer: from the verdict of apply, through the reply to the caller (session_replies)
//! ```
//!
//! A request is encoded once, as an [`EncodedRequest`]; once admitted it is a `Proposal`, whose `Reply` is answered
//! exactly once.
//!
//! Each file uses only files before it: deadline, admission, answer, reply, proposal, order, leader_term, batcher,
//! judge, forwarding, routes, appends, session_replies, session, accept_forwarded.

mod accept_forwarded;
mod admission;
mod answer;
mod appends;
mod batcher;
mod deadline;
mod forwarding;
mod judge;
mod leader_term;
mod order;
mod proposal;
mod reply;
mod routes;
mod session;
mod session_replies;

pub(crate) use accept_forwarded::{ForwardService, OPENING_WITHIN, leader_term_of, mismatch};
pub(crate) use answer::{Answer, Applied};
pub(crate) use appends::Appends;
pub(crate) use deadline::deadline_of;
pub(crate) use forwarding::opening_of;
pub(crate) use leader_term::LeaderTerm;
pub(crate) use proposal::EncodedRequest;
pub(crate) use session::Session;
pub(crate) use session_replies::Answers;
