//! The gate that work on the folder passes, so that a shutdown can wait for it: openraft leaves tasks behind.

use tokio::sync::watch;

/// A gate for all work that changes the folder. Once closed it lets nobody in; a shutdown closes it and waits
/// until everybody inside has left.
#[derive(Debug)]
pub(crate) struct Gate(watch::Sender<State>);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    is_closed: bool,
    inside: usize,
}

/// The pass of somebody inside the gate, who leaves when this is dropped.
#[derive(Debug)]
pub(crate) struct Inside(watch::Sender<State>);

impl Gate {
    pub(crate) fn new() -> Gate {
        Gate(watch::Sender::new(State::default()))
    }

    /// Passes the gate; `None` once it is closed.
    pub(crate) fn enter(&self) -> Option<Inside> {
        let entered = self.0.send_if_modified(|state| {
            state.inside += usize::from(!state.is_closed);
            !state.is_closed
        });
        entered.then(|| Inside(self.0.clone()))
    }

    /// Returns true if the gate is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.borrow().is_closed
    }

    /// Waits until the gate is closed.
    pub(crate) async fn closing(&self) {
        let mut states = self.0.subscribe();
        // The sender lives as long as `self`.
        let _closed = states.wait_for(|state| state.is_closed).await;
    }

    /// Closes the gate: tasks that wait for something before they enter give up.
    pub(crate) fn shut(&self) {
        self.0.send_modify(|state| state.is_closed = true);
    }

    /// Closes the gate and waits until nobody is inside.
    pub(crate) async fn close(&self) {
        self.shut();
        let mut states = self.0.subscribe();
        let _empty = states.wait_for(|state| state.inside == 0).await;
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.send_modify(|state| state.inside -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_closed_gate_lets_nobody_in_and_is_shut_when_the_last_has_left() {
        let gate = Gate::new();
        let inside = gate.enter().expect("it is open");
        let mut closing = pin!(gate.close());
        assert_eq!(closing.as_mut().now_or_never(), None, "somebody is inside");
        assert!(gate.enter().is_none());
        assert_eq!(gate.closing().now_or_never(), Some(()));
        drop(inside);
        closing.await;
    }
}
