//! The way of an append, a snapshot or a group request through a node.
//!
//! ```text
//! a client's session, or a single call            another node's stream
//!   session, session_replies                        accept_forwarded
//!        └──────────── appends ◄───────────────────────┘
//!                admission (bytes in flight), routes, order of a session
//!                    │                        │
//!            this node leads          another node leads
//!         judge: what store prejudges   forwarding: one stream to the leader, encoded
//!         batcher: one entry of what waits
//!                    │                        │
//!                 the log              the leader's answers
//!                    └──── answer ── reply ───┘
//! ```
//!
//! A request is decoded and encoded once, as an [`EncodedRequest`]; from its admission on it is a `Proposal`, whose
//! `Reply` is answered exactly once, with one `Answer`.
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
