//! Repositories and decisions as tower services.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use tower::Service;

use super::envelope::Envelope;
use crate::decider::{CommandError, Decider, Handled, Repository};
use crate::decision::{Decision, Decisions, Made};

/// The future of an answer.
pub type Answering<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

impl<D: Decider> Repository<D> {
    /// Carries out the command in an envelope, as the service does.
    ///
    /// ```no_run
    /// # use quorate_app::decider::{Decider, Repository};
    /// # async fn example<D: Decider>(orders: Repository<D>, pay: D::Command)
    /// # -> Result<(), Box<dyn std::error::Error>> where D::Command: Send + 'static {
    /// use quorate_app::reception::Envelope;
    /// let done = orders.receive(Envelope::new("42", pay).command_id("cmd-91")).await?;
    /// # let _ = done; Ok(()) }
    /// ```
    pub async fn receive(
        &self,
        envelope: Envelope<D::Command>,
    ) -> Result<Handled<D::State>, CommandError<D::Error>>
    where
        D::Command: Send,
    {
        let Envelope { id, command, command_id, context, deadline } = envelope;
        let handle = self.handle(id, &command).context(context).command_id_if(command_id);
        match deadline {
            Some(deadline) => handle.deadline(deadline).await,
            None => handle.await,
        }
    }
}

impl<D: Decider> Service<Envelope<D::Command>> for Repository<D>
where
    D::Command: Send + 'static,
{
    type Response = Handled<D::State>;
    type Error = CommandError<D::Error>;
    type Future = Answering<Handled<D::State>, CommandError<D::Error>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, envelope: Envelope<D::Command>) -> Self::Future {
        let repository = self.clone();
        Box::pin(async move { repository.receive(envelope).await })
    }
}

impl<D: Decision + 'static> Service<Envelope<D>> for Decisions {
    type Response = Made;
    type Error = CommandError<D::Error>;
    type Future = Answering<Made, CommandError<D::Error>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, envelope: Envelope<D>) -> Self::Future {
        let decisions = self.clone();
        Box::pin(async move {
            let Envelope { command, command_id, context, deadline, .. } = envelope;
            let mut make = decisions.make(&command).context(context);
            if let Some(id) = command_id {
                make = make.command_id(id);
            }
            if let Some(deadline) = deadline {
                make = make.deadline(deadline);
            }
            make.into_future().await
        })
    }
}
