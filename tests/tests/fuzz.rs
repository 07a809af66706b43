//! Runs every decoder on broken bytes: `QUORATE_FUZZ_INPUTS=1000000 cargo test -p quorate-tests --test fuzz`.

use quorate_tests::fuzz;
use quorate_tests::targets;

/// The number of inputs for each target if `QUORATE_FUZZ_INPUTS` is not set: a few seconds in all.
const INPUTS: u64 = 5_000;
/// The limit on the peak memory of all decoders, in KiB: a decoder must not trust a length that it reads.
const MEMORY_MAX_KIB: u64 = 512 * 1024;

#[test]
fn no_decoder_panics_or_takes_unbounded_memory() {
    let inputs = std::env::var("QUORATE_FUZZ_INPUTS").ok();
    let inputs = inputs.map_or(INPUTS, |inputs| inputs.parse().expect("a number of inputs"));
    // A panic of a decoder is a find: the test fails with the input in its message.
    for target in targets::all() {
        fuzz::run(&target, 7, inputs);
    }
    match peak_kib() {
        Some(peak) => assert!(peak < MEMORY_MAX_KIB, "{peak} KiB were in use at once"),
        None => quorate_tests::skipped("the memory of decoders: no /proc/self/status here"),
    }
}

fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}
