//! The payment of an order: requested by the payment process, received from the customer's bank.

use quorate_app::decider::Decider;

use super::event::PaymentEvent;

/// The state of a payment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Payment {
    /// Nobody has requested it.
    #[default]
    None,
    Requested {
        amount: u64,
    },
    Received,
    Withdrawn,
    Refunded,
}

/// The commands to a payment. It is requested, withdrawn and refunded by the payment process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaymentCommand {
    /// The money has arrived; the reference is the bank's.
    Receive { amount: u64, reference: String },
}

/// The reason why a payment is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PaymentRefusal {
    #[error("no payment is requested")]
    NotRequested,
    #[error("{0} is due")]
    OtherAmount(u64),
    #[error("the order is paid already")]
    Paid,
    #[error("the order is cancelled: the payment is not wanted any more")]
    Withdrawn,
}

impl Decider for Payment {
    const CATEGORY: &'static str = "payment";
    type State = Payment;
    type Command = PaymentCommand;
    type Event = PaymentEvent;
    type Error = PaymentRefusal;

    fn evolve(payment: &mut Payment, event: PaymentEvent) {
        *payment = match event {
            PaymentEvent::PaymentRequested { amount, .. } => Payment::Requested { amount },
            PaymentEvent::PaymentReceived { .. } => Payment::Received,
            PaymentEvent::PaymentWithdrawn { .. } => Payment::Withdrawn,
            PaymentEvent::PaymentRefunded { .. } => Payment::Refunded,
        }
    }

    fn decide(
        payment: &Payment,
        command: &PaymentCommand,
    ) -> Result<Vec<PaymentEvent>, PaymentRefusal> {
        let PaymentCommand::Receive { amount, reference } = command;
        match *payment {
            Payment::None => Err(PaymentRefusal::NotRequested),
            Payment::Requested { amount: due } if due != *amount => {
                Err(PaymentRefusal::OtherAmount(due))
            }
            Payment::Requested { .. } => Ok(vec![PaymentEvent::PaymentReceived {
                amount: *amount,
                reference: reference.clone(),
            }]),
            Payment::Received => Err(PaymentRefusal::Paid),
            Payment::Withdrawn | Payment::Refunded => Err(PaymentRefusal::Withdrawn),
        }
    }
}
