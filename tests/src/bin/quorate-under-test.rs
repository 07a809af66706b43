//! The `quorate` binary as the tests run it: built by the call of cargo that builds them, from the same parts.

use std::process::ExitCode;

fn main() -> ExitCode {
    quorate_node::main()
}
