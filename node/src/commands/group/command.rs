//! The command for one event: its start, its output, and its end.

use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures_util::future::{Either, select};
use quorate_client::{Delivery, EventJson};
use quorate_proto::GroupName;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::cli::Exit;
use crate::output::write_json;
use crate::values::span;

/// The most bytes of standard error that are taken as one line.
const LINE_BYTES_MAX: u64 = 4096;
/// The time to wait for the rest of the output once a command has ended: processes that it left may hold it open.
const OUTPUT_WITHIN: Duration = Duration::from_millis(200);
/// The shell's exit codes for a command that cannot be executed, and for a command that does not exist.
const NOT_RUN: [i32; 2] = [126, 127];
/// A shell that can start processes writes [`BEGINS`], and becomes the shell that runs the command. A shell that cannot
/// ends before, and its exit code, 2 or 254, is not taken for the command's.
const BEGIN: &str = "(:) && echo 'quorate: the command begins' >&2 && exec sh -c \"$1\"";
/// The line of standard error that is ours, and goes no further.
const BEGINS: &str = "quorate: the command begins";

/// The plan of a consumer that runs a command for each event.
pub(super) struct Plan {
    pub(super) command: String,
    pub(super) group: GroupName,
    /// The number of commands that run at once.
    pub(super) jobs: usize,
    /// The number of events after which the consumer ends.
    pub(super) limit: u64,
    /// The time that a command may run; the group's timeout if not given.
    pub(super) run_time: Option<Duration>,
    /// The time that a command may take to end after a signal, before it is killed.
    pub(super) grace: Duration,
}

/// The outcome of a command.
pub(super) enum Ended {
    Handled,
    Failed(String),
    /// A signal ended the consumer before the command had handled the event.
    Stopped,
    /// The command could not be run, which is not the event's fault; the reason.
    NotRun(String),
}

/// The cause of a command's end.
enum Cause {
    Itself,
    Late(Duration),
    Stopped,
}

/// The findings in the standard error of a command.
#[derive(Default)]
struct Heard {
    /// True once the shell began the command.
    has_begun: Cell<bool>,
    /// The last line that is not empty.
    last: RefCell<String>,
}

/// A command that runs, with all that it started in its process group. Dropping it kills them.
struct Running {
    child: Child,
    group: Option<Pid>,
}

/// Refuses a command that is no shell script, with which each event would fail.
pub(super) async fn check(command: &str) -> Result<(), Exit> {
    let shell = Command::new("sh").args(["-n", "-c", command]).stdin(Stdio::null()).output().await;
    let shell = shell.map_err(|error| not_run(&error.to_string()))?;
    if shell.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&shell.stderr);
    let message = format!("--exec is not a command that `sh` understands: {}", said.trim());
    Err(Exit::usage(message))
}

/// Returns the end of a consumer whose command cannot be run.
pub(super) fn not_run(reason: &str) -> Exit {
    Exit::failed(format!("the command cannot be run, and no event is to blame: {reason}"))
}

/// Runs the command for one event.
pub(super) async fn handle(
    plan: &Plan,
    delivery: Delivery,
    stopping: CancellationToken,
) -> (Delivery, Ended) {
    let ended = match Running::begin(plan, &delivery) {
        Ok(running) => running.finish(plan, &delivery, &stopping).await,
        Err(error) => Err(error),
    };
    let ended = ended.unwrap_or_else(|error| Ended::NotRun(error.to_string()));
    (delivery, ended)
}

impl Running {
    fn begin(plan: &Plan, delivery: &Delivery) -> io::Result<Running> {
        let event = &delivery.event;
        let child = Command::new("sh")
            .args(["-c", BEGIN, "sh", &plan.command])
            .env("QUORATE_GROUP", plan.group.as_str())
            .env("QUORATE_POSITION", event.position.to_string())
            .env("QUORATE_STREAM", event.stream.as_str())
            .env("QUORATE_TYPE", event.kind.as_str())
            .env("QUORATE_ATTEMPT", delivery.attempt.to_string())
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C at the terminal is for us; and the whole group of the command can be ended at once.
            .process_group(0)
            .spawn()?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Running { child, group })
    }

    /// Waits for the command, and ends it when its time is over or the consumer is to end.
    async fn finish(
        mut self,
        plan: &Plan,
        delivery: &Delivery,
        stopping: &CancellationToken,
    ) -> io::Result<Ended> {
        let mut line = Vec::new();
        write_json(&mut line, &EventJson::from(delivery))?;
        let (input, errors) = (self.child.stdin.take(), self.child.stderr.take());
        let heard = Heard::default();
        let feeding = async {
            if let Some(mut input) = input {
                // A command need not read its event.
                let _ = input.write_all(&line).await;
            }
        };
        let listening = async {
            if let Some(errors) = errors {
                pass_on(errors, &heard).await;
            }
        };
        let talking = pin!(async { tokio::join!(feeding, listening) });
        let run_time = plan.run_time.unwrap_or(delivery.timeout);
        let supervising = pin!(self.supervise(run_time, plan.grace, stopping));
        let (cause, status) = match select(supervising, talking).await {
            Either::Left((ended, talking)) => {
                let _ = timeout(OUTPUT_WITHIN, talking).await;
                ended
            }
            Either::Right((_, supervising)) => supervising.await,
        }?;
        Ok(judge(&cause, status, &heard))
    }

    async fn supervise(
        &mut self,
        run_time: Duration,
        grace: Duration,
        stopping: &CancellationToken,
    ) -> io::Result<(Cause, ExitStatus)> {
        let cause = tokio::select! {
            biased;
            status = self.wait() => return Ok((Cause::Itself, status?)),
            () = stopping.cancelled() => Cause::Stopped,
            () = sleep(run_time) => Cause::Late(run_time),
        };
        self.signal(Signal::TERM);
        if let Ok(status) = timeout(grace, self.wait()).await {
            return Ok((cause, status?));
        }
        self.signal(Signal::KILL);
        Ok((cause, self.wait().await?))
    }

    async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        // The group's number may belong to other processes from now on.
        self.group = None;
        Ok(status)
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // A group that has gone needs no signal.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

fn judge(cause: &Cause, status: ExitStatus, heard: &Heard) -> Ended {
    if status.success() {
        return Ended::Handled;
    }
    let last = heard.last.take();
    let not_run = || {
        let end = describe(status);
        Ended::NotRun(if last.is_empty() { end } else { format!("{last} ({end})") })
    };
    match cause {
        Cause::Stopped => Ended::Stopped,
        _ if !heard.has_begun.get() => not_run(),
        Cause::Late(run_time) => {
            Ended::Failed(format!("timed out after {}", span::show(*run_time)))
        }
        Cause::Itself if status.code().is_some_and(|code| NOT_RUN.contains(&code)) => not_run(),
        Cause::Itself => Ended::Failed(if last.is_empty() { describe(status) } else { last }),
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "it ended in a way that is not known".to_owned(),
    }
}

/// Passes standard error on, line by line, except the line that is ours.
async fn pass_on(errors: impl AsyncRead + Unpin, heard: &Heard) {
    let mut errors = BufReader::new(errors);
    loop {
        let mut line = Vec::new();
        match (&mut errors).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let line = String::from_utf8_lossy(&line);
        if !heard.has_begun.get() && line.trim_end() == BEGINS {
            heard.has_begun.set(true);
            continue;
        }
        // The consumer goes on although nobody reads what its commands say.
        let _ = write!(io::stderr(), "{line}");
        if !line.trim().is_empty() {
            line.trim().clone_into(&mut heard.last.borrow_mut());
        }
    }
}
