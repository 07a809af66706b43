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
        Box::pin(async move {
            let Envelope { id, command, command_id, context, deadline } = envelope;
            let mut handle = repository.handle(id, &command).context(context);
            if let Some(id) = command_id {
                handle = handle.command_id(id);
            }
            if let Some(deadline) = deadline {
                handle = handle.deadline(deadline);
            }
            handle.into_future().await
        })
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
