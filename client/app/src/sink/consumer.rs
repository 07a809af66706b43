//! A consumer of a real group, as a sink is driven by it.

use quorate_client::{Consumer, Delivery, Problem, RecordedEvent};

use crate::sink::deliveries::Deliveries;
use crate::sink::error::{SinkError, brief};

impl Deliveries for Consumer {
    type Delivery = Delivery;

    async fn next(&mut self) -> Result<Option<Delivery>, Problem> {
        self.try_next().await
    }

    fn event(delivery: &Delivery) -> &RecordedEvent {
        &delivery.event
    }

    fn has_lapsed(delivery: &Delivery) -> bool {
        delivery.has_lapsed()
    }

    fn settle(&mut self, delivery: &Delivery, outcome: Result<(), SinkError>) {
        match outcome {
            Ok(()) => self.ack(delivery),
            Err(SinkError::Retry { reason, after: None }) => self.fail(delivery, brief(&reason)),
            Err(SinkError::Retry { reason, after: Some(delay) }) => {
                self.fail_after(delivery, brief(&reason), delay);
            }
            Err(SinkError::Poison { reason }) => self.park(delivery, brief(&reason)),
        }
    }

    async fn close(self) -> Result<(), Problem> {
        Consumer::close(self).await
    }
}
