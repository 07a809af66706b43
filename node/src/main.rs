//! The `quorate` binary.

use std::process::ExitCode;

/// The allocator gives freed memory back to the system within a second or so, and is cheap where one thread frees what
/// another allocated, as bytes of events that came from a connection are.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    quorate_node::main()
}
