//! The parts of the command line that commands share: options, the connection to the cluster that these name, examples,
//! and the ways in which a command is asked, stopped and ended.

mod confirm;
mod connect;
mod examples;
mod exit;
mod global;
pub(crate) mod inspect;
pub(crate) mod stdin;
mod stop;

pub(crate) use confirm::Confirmation;
pub(crate) use connect::connect;
pub use examples::paths;
pub(crate) use examples::{example, with_examples};
pub use exit::{Code, Ending, Exit};
pub use global::{Addresses, Global};
pub(crate) use global::{Asking, Form, Nothing, Reading, Shared, Untimed, addresses, shown};
pub(crate) use stop::{ONE_SIGNAL_WITHIN, Stop};
