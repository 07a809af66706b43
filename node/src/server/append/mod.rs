//! The way of an append through a node.

mod accept_forwarded;
mod admission;
mod anchor;
mod answer;
mod appends;
mod batcher;
mod forwarding;
mod order;
mod prejudge;
mod session;

pub(crate) use accept_forwarded::{ForwardService, OPENING_WITHIN, mismatch, tenure_of};
pub(crate) use answer::{Answer, LeaderTerm, Reply};
pub(crate) use appends::{Appends, Prepared, Taken, deadline_of};
pub(crate) use forwarding::opening_of;
pub(crate) use session::{Answers, Session};
