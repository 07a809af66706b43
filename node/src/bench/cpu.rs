//! CPU time of the nodes' processes, where the operating system shows it.

use std::fs;
use std::time::Duration;

/// The unit in which Linux reports CPU time to user programs, on every architecture.
const TICKS_PER_SECOND: u32 = 100;
/// The program's name, as the kernel keeps it.
const PROGRAM: &str = "quorate";

/// Returns the CPU time of the processes so far, together; none unless all of them run on this machine.
pub(crate) fn cpu_time(pids: &[u32]) -> Option<Duration> {
    pids.iter()
        .map(|pid| ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
        .try_fold(Duration::ZERO, |sum, ticks| {
            Some(sum + Duration::from_secs(1) / TICKS_PER_SECOND * ticks?)
        })
}

/// Returns the user and system time in a line of `/proc/PID/stat`: its 14th and 15th field.
fn ticks(stat: &str) -> Option<u32> {
    let (_, rest) = stat.split_once('(')?;
    let (program, fields) = rest.rsplit_once(')')?;
    if program != PROGRAM {
        return None;
    }
    let mut times = fields.split_ascii_whitespace().skip(11);
    let user: u32 = times.next()?.parse().ok()?;
    let system: u32 = times.next()?.parse().ok()?;
    user.checked_add(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_found_behind_the_name() {
        let rest = "S 1 2 3 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 8 0 100 1000 10";
        assert_eq!(ticks(&format!("77 (quorate) {rest}")), Some(300));
        assert_eq!(ticks(&format!("77 (a) b) {rest}")), None);
        assert_eq!(ticks("77 (quorate) S 1"), None);
        assert_eq!(cpu_time(&[u32::MAX]), None);
    }
}
