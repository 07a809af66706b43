//! A command on its way, with everything that is known around it.

use std::time::Duration;

use crate::decider::Context;

/// A command on its way to an aggregate, or to a decision.
///
/// ```
/// use quorate_app::decider::Context;
/// use quorate_app::reception::Envelope;
/// let envelope = Envelope::new("42", "pay").command_id("cmd-91").context(Context::new().created_by("ann"));
/// assert_eq!(envelope.command, "pay");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope<C> {
    /// The id of the aggregate; a decision has none.
    pub id: String,
    /// The command.
    pub command: C,
    /// The id of the command, which is the same whenever it is repeated.
    pub command_id: Option<String>,
    /// The activity, the cause, the user and the tenant.
    pub context: Context,
    /// The time within which the command ends; `None` = as the receiver is set.
    pub deadline: Option<Duration>,
}

impl<C> Envelope<C> {
    /// Makes an envelope for a command to an aggregate.
    pub fn new(id: impl Into<String>, command: C) -> Envelope<C> {
        let context = Context::new();
        Envelope { id: id.into(), command, command_id: None, context, deadline: None }
    }

    /// Sets the id of the command.
    #[must_use]
    pub fn command_id(mut self, id: impl Into<String>) -> Envelope<C> {
        self.command_id = Some(id.into());
        self
    }

    /// Sets the context.
    #[must_use]
    pub fn context(mut self, context: Context) -> Envelope<C> {
        self.context = context;
        self
    }

    /// Sets the time within which the command ends.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Envelope<C> {
        self.deadline = Some(deadline);
        self
    }
}
