//! The service as one program: its parts run beside each other, and end together.

use std::future::Future;
use std::sync::Arc;

use anyhow::Context as _;
use quorate_app::decider::Repository;
use quorate_app::process::{self, ProcessRunner};
use quorate_app::sink::SinkRunner;
use quorate_client::{Client, GroupRef};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::http::{self, Api};
use crate::models::Models;
use crate::notifications::{self, Mailer, Notifications};
use crate::payments::PaymentProcess;
use crate::settings::Settings;

/// The number of events after which a snapshot of an order is kept, and the schema of its state.
const SNAPSHOT_EVERY: u64 = 50;
const SNAPSHOT_SCHEMA: u32 = 1;

/// The service before it runs.
#[derive(Debug)]
#[must_use = "nothing is served before `run_until`"]
pub struct Service<M> {
    client: Client,
    api: Api,
    mails: GroupRef,
    mailer: M,
    payments: PaymentProcess,
}

impl<M: Mailer> Service<M> {
    /// Prepares the service: it makes the consumer group, and begins to fill the read models.
    pub async fn prepare(
        client: Client,
        settings: &Settings,
        mailer: M,
    ) -> anyhow::Result<Service<M>> {
        let mails = notifications::group(&client, settings).await.context("the group")?;
        let models = Models::start(&client, settings).await.context("the read models")?;
        let orders = Repository::new(client.clone()).snapshots(SNAPSHOT_EVERY, SNAPSHOT_SCHEMA);
        let api = Api {
            orders: orders.retries(settings.retries),
            payments: Repository::new(client.clone()).retries(settings.retries),
            models: Arc::new(models),
            mails: mails.clone(),
        };
        let payments = PaymentProcess { patience: settings.payment_time };
        Ok(Service { client, api, mails, mailer, payments })
    }

    /// Serves until `stop` is ready, or until one part cannot go on: then all end, and with an error.
    pub async fn run_until(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let Service { client, api, mails, mailer, payments } = self;
        let (stopping, _) = watch::channel(false);
        let stopped = || {
            let mut stopping = stopping.subscribe();
            // An error means that the sender is gone, and the service with it.
            async move { _ = stopping.wait_for(|is_stopping| *is_stopping).await }
        };
        let router = http::router(api.clone());
        let serving = axum::serve(listener, router).with_graceful_shutdown(stopped());
        let serving = async { serving.await.context("HTTP") };
        let paying = ProcessRunner::new(client, payments).on_failure(process::OnFailure::Park);
        let paying = async { paying.run_until(stopped()).await.context("the payment process") };
        let mailing = SinkRunner::new(mails, Notifications(mailer)).name("orders");
        let mailing = async { mailing.run_until(stopped()).await.context("the notifications") };
        let watching = async {
            tokio::select! {
                ended = api.models.ended() => anyhow::bail!("a read model has ended: {ended}"),
                () = stop => {}
            }
            stopping.send_replace(true);
            Ok(())
        };
        tokio::try_join!(serving, paying, mailing, watching)?;
        match Arc::into_inner(api.models) {
            Some(models) => Ok(models.stop().await?),
            // A request holds it until its answer is sent.
            None => Ok(()),
        }
    }
}
