//! Runs a command for each event of a group: exit code 0 means that the event is handled.

use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use quorate_client::{Consumer, Delivery};
use quorate_proto::GroupName;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use super::consume::Stop;
use crate::exit::Exit;
use crate::output::{event_line, remark, write_json};

/// Most bytes of a line of standard error that are looked at.
const LINE_BYTES_MAX: u64 = 4096;

/// What is run.
pub(super) struct Plan {
    pub(super) command: String,
    pub(super) group: GroupName,
    /// How many commands run at once.
    pub(super) jobs: usize,
    /// After so many events it ends.
    pub(super) limit: u64,
}

/// Runs commands until the limit is reached, or the consumer is told to end.
pub(super) async fn run(mut consumer: Consumer, plan: Plan, mut stop: Stop) -> Result<(), Exit> {
    let mut running = FuturesUnordered::new();
    let mut left = plan.limit;
    let mut stopping = false;
    let mut failed = Ok(());
    loop {
        let takes = !stopping && left > 0 && running.len() < plan.jobs;
        if !takes && running.is_empty() {
            break;
        }
        tokio::select! {
            biased;
            () = stop.told() => {
                if stopping {
                    // Dropping the commands that run kills them.
                    return Err(Exit::failed("ended at once: what was under way is tried again"));
                }
                stopping = true;
            }
            Some((delivery, outcome)) = running.next(), if !running.is_empty() => {
                settle(&consumer, &delivery, outcome);
            }
            next = consumer.try_next(), if takes => match next {
                Ok(Some(delivery)) => {
                    left -= 1;
                    running.push(handle(&plan, delivery));
                }
                Ok(None) => stopping = true,
                Err(problem) => {
                    failed = Err(problem);
                    stopping = true;
                }
            },
        }
    }
    drop(running);
    failed?;
    Ok(consumer.close().await?)
}

fn settle(consumer: &Consumer, delivery: &Delivery, outcome: Result<(), String>) {
    match outcome {
        Ok(()) => consumer.ack(delivery),
        Err(reason) => {
            let Delivery { event, attempt, .. } = delivery;
            let position = event.position;
            remark(format_args!("event {position} failed, attempt {attempt}: {reason}"));
            consumer.fail(delivery, reason);
        }
    }
}

/// Runs the command for one event; the error is why the event failed.
async fn handle(plan: &Plan, delivery: Delivery) -> (Delivery, Result<(), String>) {
    let outcome = match begin(plan, &delivery) {
        Ok(child) => finish(child, &delivery).await,
        Err(error) => Err(error),
    };
    let outcome = outcome.map_err(|error| format!("the command cannot be run: {error}"));
    (delivery, outcome.and_then(|reason| reason.map_or(Ok(()), Err)))
}

fn begin(plan: &Plan, delivery: &Delivery) -> io::Result<Child> {
    let event = &delivery.event;
    Command::new("sh")
        .args(["-c", &plan.command])
        .env("QUORATE_GROUP", plan.group.as_str())
        .env("QUORATE_POSITION", event.position.to_string())
        .env("QUORATE_STREAM", event.stream.as_str())
        .env("QUORATE_TYPE", event.kind.as_str())
        .env("QUORATE_ATTEMPT", delivery.attempt.to_string())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        // A Ctrl-C at the terminal is for us: what runs is let end.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Waits for the command; the reason if it failed.
async fn finish(mut child: Child, delivery: &Delivery) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    write_json(&mut line, &event_line(&delivery.event, Some(delivery.attempt)))?;
    let (input, errors) = (child.stdin.take(), child.stderr.take());
    let feeding = async {
        if let Some(mut input) = input {
            // A command need not read its event.
            let _ = input.write_all(&line).await;
        }
    };
    let listening = async {
        match errors {
            Some(errors) => last_line(errors).await,
            None => String::new(),
        }
    };
    let mut ended = None;
    let waiting = async { ended = Some(child.wait().await) };
    let ((), last, ()) = tokio::join!(feeding, listening, waiting);
    let status = ended.transpose()?.unwrap_or_default();
    Ok((!status.success()).then(|| if last.is_empty() { told(status) } else { last }))
}

fn told(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "it ended in a way that is not known".to_owned(),
    }
}

/// Passes standard error on, line by line, and keeps the last one that says something.
async fn last_line(errors: impl AsyncRead + Unpin) -> String {
    let mut errors = BufReader::new(errors);
    let mut last = String::new();
    loop {
        let mut line = Vec::new();
        match (&mut errors).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return last,
            Ok(_) => {}
        }
        let line = String::from_utf8_lossy(&line);
        // Whoever reads what we say may be gone.
        let _ = write!(io::stderr(), "{line}");
        if !line.trim().is_empty() {
            line.trim().clone_into(&mut last);
        }
    }
}
