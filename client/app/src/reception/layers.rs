//! Layers around the reception of commands: tracing spans, a seam for metrics, and authorization.

use std::fmt;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use tokio::time::Instant;
use tower::{Layer, Service};
use tracing::Instrument;

use super::envelope::Envelope;
use super::service::Answering;
use crate::decider::{CommandFailure, Forbidden};

/// The outcome of commands that were carried out, beside the [kinds](CommandFailure::kind) of failures.
const DONE: &str = "done";

/// Implements `Debug` for layers and their services, which hold an application's code: it shows only their names.
macro_rules! opaque {
    ($($name:ident<$($parameter:ident),*>),*) => {
        $(impl<$($parameter),*> fmt::Debug for $name<$($parameter),*> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        })*
    };
}

opaque!(Observed<>, Observe<S>, Authorized<C>, Authorize<S, C>, Trace<S>);

/// A layer that carries out each command in a tracing span, `command`, and logs its outcome.
///
/// ```
/// use quorate_app::reception::Traced;
/// let layer = Traced::new("orders");
/// # let _ = layer;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Traced {
    name: &'static str,
}

/// The service of [`Traced`].
#[derive(Clone)]
pub struct Trace<S> {
    inner: S,
    name: &'static str,
}

impl Traced {
    /// Makes the layer; the name says in the span who receives the commands.
    pub fn new(name: &'static str) -> Traced {
        Traced { name }
    }
}

impl<S> Layer<S> for Traced {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Trace<S> {
        Trace { inner, name: self.name }
    }
}

impl<S, C> Service<Envelope<C>> for Trace<S>
where
    S: Service<Envelope<C>, Error: CommandFailure, Future: Send + 'static>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Answering<S::Response, S::Error>;

    fn poll_ready(&mut self, context: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, envelope: Envelope<C>) -> Self::Future {
        let Envelope { id, command_id, context, .. } = &envelope;
        let span = tracing::info_span!(
            "command",
            receiver = self.name,
            id,
            command_id = command_id.as_deref().unwrap_or_default(),
            correlation_id = context.correlation_id,
            user = context.created_by,
            tenant = context.tenant,
        );
        let answering = self.inner.call(envelope);
        let traced = async move {
            let answer = answering.await;
            match &answer {
                Ok(_) => tracing::debug!("carried out"),
                Err(error) if error.is_transient() => {
                    tracing::warn!(kind = error.kind(), %error, "not carried out; it may be repeated");
                }
                Err(error) => tracing::info!(kind = error.kind(), %error, "not carried out"),
            }
            answer
        };
        Box::pin(traced.instrument(span))
    }
}

/// A command as it is seen by metrics.
///
/// ```
/// use std::time::Duration;
/// use quorate_app::reception::Seen;
///
/// /// Returns true for a command that the dashboard shows in red.
/// fn is_slow(seen: &Seen) -> bool {
///     seen.outcome == "done" && seen.took > Duration::from_secs(1)
/// }
/// assert!(is_slow(&Seen { outcome: "done", took: Duration::from_secs(2) }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The outcome: `done`, or the [kind](CommandFailure::kind) of the failure.
    pub outcome: &'static str,
    /// The time that it took.
    pub took: Duration,
}

type Observer = Arc<dyn Fn(&Seen) + Send + Sync>;

/// A layer that tells an observer the outcome and the time of each command: the place for metrics.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use quorate_app::reception::Observed;
///
/// static REFUSED: AtomicU64 = AtomicU64::new(0);
/// let layer = Observed::new(|seen| match seen.outcome {
///     "refused" => drop(REFUSED.fetch_add(1, Ordering::Relaxed)),
///     _ => {}
/// });
/// # let _ = layer;
/// ```
#[derive(Clone)]
pub struct Observed {
    observer: Observer,
}

/// The service of [`Observed`].
#[derive(Clone)]
pub struct Observe<S> {
    inner: S,
    observer: Observer,
}

impl Observed {
    /// Makes the layer.
    pub fn new(observer: impl Fn(&Seen) + Send + Sync + 'static) -> Observed {
        Observed { observer: Arc::new(observer) }
    }
}

impl<S> Layer<S> for Observed {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe { inner, observer: Arc::clone(&self.observer) }
    }
}

impl<S, C> Service<Envelope<C>> for Observe<S>
where
    S: Service<Envelope<C>, Error: CommandFailure, Future: Send + 'static>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Answering<S::Response, S::Error>;

    fn poll_ready(&mut self, context: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, envelope: Envelope<C>) -> Self::Future {
        let (began, observer) = (Instant::now(), Arc::clone(&self.observer));
        let answering = self.inner.call(envelope);
        Box::pin(async move {
            let answer = answering.await;
            let outcome = answer.as_ref().err().map_or(DONE, CommandFailure::kind);
            observer(&Seen { outcome, took: began.elapsed() });
            answer
        })
    }
}

type Rule<C> = Arc<dyn Fn(&Envelope<C>) -> Result<(), String> + Send + Sync>;

/// A layer that asks a rule before each command; one that is not permitted ends as
/// [`CommandError::Forbidden`](crate::decider::CommandError::Forbidden).
///
/// ```
/// use quorate_app::reception::{Authorized, Envelope};
/// enum OrderCommand {
///     Pay,
///     Cancel,
/// }
/// let layer = Authorized::new(|envelope: &Envelope<OrderCommand>| match envelope.command {
///     OrderCommand::Cancel if envelope.context.created_by != "boss" => Err("only the boss cancels".into()),
///     _ => Ok(()),
/// });
/// # let _ = (layer, OrderCommand::Pay);
/// ```
pub struct Authorized<C> {
    rule: Rule<C>,
}

/// The service of [`Authorized`].
pub struct Authorize<S, C> {
    inner: S,
    rule: Rule<C>,
}

impl<C> Authorized<C> {
    /// Makes the layer; the rule returns the reason why a command is not permitted.
    pub fn new(
        rule: impl Fn(&Envelope<C>) -> Result<(), String> + Send + Sync + 'static,
    ) -> Authorized<C> {
        Authorized { rule: Arc::new(rule) }
    }
}

impl<C> Clone for Authorized<C> {
    fn clone(&self) -> Authorized<C> {
        Authorized { rule: Arc::clone(&self.rule) }
    }
}

impl<S: Clone, C> Clone for Authorize<S, C> {
    fn clone(&self) -> Authorize<S, C> {
        Authorize { inner: self.inner.clone(), rule: Arc::clone(&self.rule) }
    }
}

impl<S, C> Layer<S> for Authorized<C> {
    type Service = Authorize<S, C>;

    fn layer(&self, inner: S) -> Authorize<S, C> {
        Authorize { inner, rule: Arc::clone(&self.rule) }
    }
}

impl<S, C> Service<Envelope<C>> for Authorize<S, C>
where
    S: Service<Envelope<C>, Error: From<Forbidden> + Send, Future: Send + 'static>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Answering<S::Response, S::Error>;

    fn poll_ready(&mut self, context: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, envelope: Envelope<C>) -> Self::Future {
        match (self.rule)(&envelope) {
            Ok(()) => Box::pin(self.inner.call(envelope)),
            Err(why) => Box::pin(async move { Err(Forbidden(why).into()) }),
        }
    }
}
