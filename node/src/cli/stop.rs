//! The signals that ask a command to end in order: Ctrl-C, SIGTERM, and the end of its terminal.

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals so close together are one: `timeout` sends its own to the process and to its group, and at the end of a
/// terminal both the shell and the system send SIGHUP.
pub(crate) const ONE_SIGNAL_WITHIN: Duration = Duration::from_millis(500);

/// The signals that ask a command to end.
pub(crate) struct Stop {
    signals: Vec<Signal>,
}

impl Stop {
    /// Listens from now on. A signal that was ignored when the process began stays ignored: `nohup` and the shells
    /// ignore the signals that are not meant for it. To be called within a tokio runtime.
    pub(crate) fn listen() -> io::Result<Stop> {
        let ignored = ignored();
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let listened = kinds.into_iter().filter(|kind| !is_in(ignored, kind.as_raw_value()));
        Ok(Stop { signals: listened.map(signal).collect::<io::Result<_>>()? })
    }

    /// Completes each time that a signal to end comes.
    pub(crate) async fn requested(&mut self) {
        poll_fn(|context| {
            let mut requested = Poll::Pending;
            // All signals are polled, so that each of them wakes the task.
            for signal in &mut self.signals {
                if signal.poll_recv(context).is_ready() {
                    requested = Poll::Ready(());
                }
            }
            requested
        })
        .await;
    }
}

/// Returns the signals that the process ignores, as a set of bits; none if the system does not show them.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored_of(&status)
}

fn ignored_of(status: &str) -> u64 {
    let bits = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or_default()
}

fn is_in(signals: u64, number: i32) -> bool {
    let bit = u32::try_from(number - 1).ok().and_then(|bit| 1_u64.checked_shl(bit));
    bit.is_some_and(|bit| signals & bit != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_what_the_system_says_of_a_process() {
        let ignored =
            ignored_of("Name:\tquorate\nSigBlk:\t0000000000000007\nSigIgn:\t0000000000001001\n");
        assert!(is_in(ignored, 1), "SIGHUP");
        assert!(is_in(ignored, 13), "SIGPIPE");
        for number in [-1, 0, 2, 15, 64, 65, 100] {
            assert!(!is_in(ignored, number), "{number}");
        }
        for nothing in ["", "SigIgn:\t", "SigIgn:\tz"] {
            assert_eq!(ignored_of(nothing), 0);
        }
    }
}
