//! Sessions that documents show: their commands are run, and what comes out is compared with what stands there.

mod compare;
mod parse;
mod run;

pub use parse::{Step, console_blocks, prompts};
pub use run::Session;
