//! Payments between accounts of two tenants: a process with compensation.
//!
//! The accounts of two tenants do not decide together, so that neither tenant waits for the other: the sender's account
//! gives the money away, which is under way then, and this process puts it into the receiver's account, or back into the
//! sender's if there is no receiver, or it is closed. Each step is appended exactly once, whatever crashes.

use quorate_app::evolution::EventSet;
use quorate_app::process::{Cause, HandlerError, ProcessManager, Reaction, Trigger};
use quorate_client::{Expect, Query, RecordedEvent};

use crate::account::CATEGORY;
use crate::event::AccountEvent;

/// Delivers payments, or returns them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Payments;

impl ProcessManager for Payments {
    /// A payment needs one step, so there is nothing to remember.
    type State = ();

    fn name(&self) -> &str {
        "payments"
    }

    fn query(&self) -> Query {
        Query::category(CATEGORY).types(["PaymentSent"])
    }

    /// Each payment is an instance of its own.
    fn instance(&self, event: &RecordedEvent) -> Option<String> {
        Some(event.id.to_string())
    }

    fn react(&self, (): &mut (), trigger: &Trigger<'_>) -> Result<Reaction, HandlerError> {
        let Cause::Event(event) = &trigger.cause else { return Ok(Reaction::nothing()) };
        let Some(AccountEvent::PaymentSent { to, amount }) = AccountEvent::decode(event)? else {
            return Ok(Reaction::nothing());
        };
        let (payment, from) = (event.id.to_string(), event.stream.to_string());
        let reaction = Reaction::new().complete();
        // If there is no such account, or it is closed, the store refuses, and the handler is called again.
        Ok(if trigger.conflict.is_none() {
            let received = AccountEvent::PaymentReceived { payment, from, amount };
            let closed = Query::stream(&to).types(["AccountClosed"]);
            reaction.append(to, Expect::Exists, [received.encode()?]).unless(closed, 0)
        } else {
            let returned = AccountEvent::PaymentReturned { payment, amount };
            reaction.append(from, Expect::Exists, [returned.encode()?])
        })
    }
}

#[cfg(test)]
mod tests {
    use quorate_app::process::Scenario;
    use quorate_client::{Event, EventId};

    use super::*;

    const PAYMENT: &str = "0198c0de-0000-7000-8000-000000000001";

    fn sent() -> Event {
        let sent = AccountEvent::PaymentSent { to: "globex/account-bob".to_owned(), amount: 20 };
        sent.encode().expect("an event").id(EventId::parse(PAYMENT).expect("an id"))
    }

    #[test]
    fn a_payment_is_delivered() {
        let (payment, from) = (PAYMENT.to_owned(), "acme/account-ann".to_owned());
        let received = AccountEvent::PaymentReceived { payment, from, amount: 20 };
        let received = received.encode().expect("an event");
        let delivered = Reaction::new().append("globex/account-bob", Expect::Exists, [received]);
        let closed = Query::stream("globex/account-bob").types(["AccountClosed"]);
        let delivered = delivered.unless(closed, 0).complete();
        Scenario::of(Payments).when("acme/account-ann", sent()).then(delivered);
    }

    #[test]
    fn a_payment_to_an_account_that_does_not_take_it_comes_back() {
        let returned = AccountEvent::PaymentReturned { payment: PAYMENT.to_owned(), amount: 20 };
        let returned = returned.encode().expect("an event");
        let back = Reaction::new().append("acme/account-ann", Expect::Exists, [returned]);
        Scenario::of(Payments).when_refused("acme/account-ann", sent()).then(back.complete());
    }
}
