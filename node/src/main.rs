//! The `quorate` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    quorate_node::main()
}
