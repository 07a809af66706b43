//! Sessions that documents show: their commands are run, and the output is compared with the document's.

mod compare;
mod parse;
mod run;

pub use parse::{Step, console_blocks, prompts};
pub use run::Session;
