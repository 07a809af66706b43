//! A bar on standard error while a projection catches up.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;

use super::Projection;
use crate::status::{State, Status};

/// The time between two drawings of the bar.
const INTERVAL: Duration = Duration::from_millis(100);

/// Shows the bar whenever the projection is behind, if that was requested; it never ends. Nothing is drawn if standard
/// error is no terminal.
pub(super) async fn show<S, H>(
    projection: &Projection<S, H>,
    status: watch::Receiver<Status>,
) -> Infallible {
    if !projection.settings.progress_bar {
        return pending().await;
    }
    let mut shown: Option<Bar> = None;
    loop {
        let now = status.borrow().clone();
        match now.state {
            State::CatchingUp | State::Retrying(_) => {
                shown.get_or_insert_with(|| Bar::new(&projection.name, now.position)).draw(&now);
            }
            _ => shown = None,
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// A bar that is shown until it is dropped.
struct Bar(ProgressBar);

impl Bar {
    fn new(name: &str, position: u64) -> Bar {
        let bar = ProgressBar::new(position);
        let template = "{prefix} {wide_bar} {percent}% of {len} {msg} {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_owned());
        // The estimate counts only the rest of the work, not the part before the start.
        bar.set_position(position);
        bar.reset_eta();
        Bar(bar)
    }

    fn draw(&self, now: &Status) {
        self.0.set_length(now.head);
        self.0.set_position(now.position);
        self.0.set_message(match &now.state {
            State::Retrying(why) => format!("retrying: {why}"),
            _ => format!("{:.0} events/s", now.events_per_second),
        });
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
