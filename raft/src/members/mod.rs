//! The members of the cluster: they come, go, are replaced, and move to other addresses.
//!
//! It may use Raft, the peers and the leadership; only the replica uses it.

mod add;
mod catch_up;
mod change;
mod joint;
mod leader;
mod moved;
mod propose;
mod votes;

pub use catch_up::CatchUp;
pub use change::MemberChange;
pub(crate) use joint::finish_joint;
pub(crate) use leader::Members;
pub(crate) use moved::{ADDRESS_BYTES_MAX, tell_address};
