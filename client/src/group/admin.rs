//! A group by its name: how it is made, changed, looked at and ended.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::groups_client::GroupsClient;
use quorate_proto::{
    self as proto, Consistency, EventId, GroupName, Invalid, Problem, Selection, Strategy,
};
use tokio::time::Instant;
use tonic::{Response, Status};

use super::consumer::ConsumeRequest;
use super::shown::{Group, GroupSettings, ParkedEvent};
use crate::ask::ask_node;
use crate::client::Client;
use crate::connection::Connection;
use crate::event::new_id;
use crate::incoming::{Incoming, silence_max};
use crate::query::Query;
use crate::read::{may_help_elsewhere, not_understood, told};

/// Most parked events that are asked for at once.
const PARKED_PER_PAGE: u64 = 500;

/// A consumer group, by its name; nothing is asked before one of its methods is called.
///
/// Its consumers share the events that a query finds. What became of each event is kept in the log: so it outlives
/// consumers, leaders and restarts.
///
/// ```no_run
/// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
/// use quorate_client::{Query, Strategy};
/// let billing = client.group("billing");
/// billing.create(Query::category("order")).strategy(Strategy::ByStream).attempts(5).send().await?;
/// let mut consumer = billing.consume().name("worker-1").window(16).start();
/// while let Some(delivery) = consumer.try_next().await? {
///     println!("{} of {}", delivery.event.kind, delivery.event.stream);
///     consumer.ack(&delivery);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is asked before one of its methods is called"]
pub struct GroupRef {
    client: Client,
    name: Result<GroupName, Invalid>,
    id: Option<EventId>,
}

impl GroupRef {
    pub(crate) fn new(client: Client, name: Result<GroupName, Invalid>) -> GroupRef {
        GroupRef { client, name, id: None }
    }

    /// The id of the change to come: the same one again makes a repetition safe, also from another process, and gets
    /// the first answer for as long as it is among the newest 1,024 of the cluster. A new one if not given.
    pub fn id(mut self, id: EventId) -> GroupRef {
        self.id = Some(id);
        self
    }

    /// Creates the group; more can be told before it is sent.
    pub fn create(&self, query: impl Into<Query>) -> CreateGroup {
        CreateGroup {
            group: self.clone(),
            query: query.into(),
            after: 0,
            settings: GroupSettings::default(),
        }
    }

    /// Changes how the group goes on; whether that changed anything. Under another strategy its consumers begin anew.
    /// Another timeout takes no time away from what consumers work on: they are told of it, and it counts for what they
    /// begin or extend from then on. Safe to repeat.
    pub async fn configure(&self, settings: GroupSettings) -> Result<bool, Problem> {
        let settings = proto::GroupSettings::from(settings);
        settings.check()?;
        let done = self.change(|mut client, group, request_id, time_left_ms| {
            let settings = Some(settings.into());
            let request = v1::ConfigureGroupRequest { group, settings, time_left_ms, request_id };
            async move { client.configure_group(request).await }
        });
        Ok(done.await? > 0)
    }

    /// Removes the group with all that is known of its progress, what is parked included; whether there was one.
    /// Safe to repeat.
    pub async fn delete(&self) -> Result<bool, Problem> {
        let done = self.change(|mut client, group, request_id, time_left_ms| {
            let request = v1::DeleteGroupRequest { group, time_left_ms, request_id };
            async move { client.delete_group(request).await }
        });
        Ok(done.await? > 0)
    }

    /// Begins again after a position: what was settled, failed or parked is forgotten. Its consumers go on by
    /// themselves.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
    /// client.group("billing").reset(0).await?; // everything once more
    /// # Ok(()) }
    /// ```
    pub async fn reset(&self, after: u64) -> Result<(), Problem> {
        let done = self.change(|mut client, group, request_id, time_left_ms| {
            let request = v1::ResetGroupRequest { group, after, time_left_ms, request_id };
            async move { client.reset_group(request).await }
        });
        done.await.map(|_| ())
    }

    /// Tries parked events again, from the first attempt on; how many.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
    /// use quorate_client::Selection;
    /// let billing = client.group("billing");
    /// for parked in billing.parked().await? {
    ///     println!("{}: {}", parked.position, parked.reason);
    /// }
    /// billing.replay(Selection::positions([17, 40])).await?;
    /// billing.drop_parked(Selection::All).await?;
    /// # Ok(()) }
    /// ```
    pub async fn replay(&self, selection: Selection) -> Result<u64, Problem> {
        let done = self.change(|mut client, group, request_id, time_left_ms| {
            let request =
                v1::SelectParkedRequest { request_id, ..selected(&selection, group, time_left_ms) };
            async move { client.replay_parked(request).await }
        });
        done.await
    }

    /// Gives parked events up for good; how many.
    pub async fn drop_parked(&self, selection: Selection) -> Result<u64, Problem> {
        let done = self.change(|mut client, group, request_id, time_left_ms| {
            let request =
                v1::SelectParkedRequest { request_id, ..selected(&selection, group, time_left_ms) };
            async move { client.drop_parked(request).await }
        });
        done.await
    }

    /// The group and how far it is.
    pub async fn show(&self) -> Result<Group, Problem> {
        self.show_as(Consistency::Linearizable).await
    }

    /// The same, as fresh as asked for.
    pub async fn show_as(&self, consistency: Consistency) -> Result<Group, Problem> {
        let shown = self.ask(|mut client, group, time_left_ms| {
            let consistency = Some(consistency.into());
            let request = v1::ShowGroupRequest { group, consistency, time_left_ms };
            async move { client.show_group(request).await }
        });
        shown.await?.try_into()
    }

    /// All parked events with their reasons, by position.
    pub async fn parked(&self) -> Result<Vec<ParkedEvent>, Problem> {
        self.parked_as(0, 0, Consistency::Linearizable).await
    }

    /// Parked events after a position, at most so many (0 = all), as fresh as asked for. A large lot is fetched in
    /// pages, and each page has the deadline of the client.
    pub async fn parked_as(
        &self,
        after: u64,
        limit: u64,
        consistency: Consistency,
    ) -> Result<Vec<ParkedEvent>, Problem> {
        let mut left = if limit == 0 { u64::MAX } else { limit };
        let mut after = after;
        let mut parked: Vec<ParkedEvent> = Vec::new();
        while left > 0 {
            let asked = left.min(PARKED_PER_PAGE);
            let page = self.parked_page(after, asked, consistency).await?;
            let Some(last) = page.last() else { break };
            if last.position <= after {
                return Err(not_understood("the parked events go back"));
            }
            after = last.position;
            let found = page.len() as u64;
            parked.extend(page);
            left = left.saturating_sub(found);
            if found < asked {
                break;
            }
        }
        Ok(parked)
    }

    async fn parked_page(
        &self,
        after: u64,
        limit: u64,
        consistency: Consistency,
    ) -> Result<Vec<ParkedEvent>, Problem> {
        let parked = self.ask(|mut client, group, time_left_ms| {
            let consistency = Some(consistency.into());
            let request = v1::ListParkedRequest { group, after, limit, consistency, time_left_ms };
            async move {
                let mut messages = client.list_parked(request).await?.into_inner();
                let mut parked = Vec::new();
                while let Some(message) = messages.message().await? {
                    parked.extend(message.parked);
                }
                Ok(Response::new(parked))
            }
        });
        parked.await?.into_iter().map(ParkedEvent::try_from).collect()
    }

    /// Returns those of these events that are settled, and those that are parked.
    pub(super) async fn find_settled(
        &self,
        positions: &[u64],
    ) -> Result<v1::FindSettledResponse, Problem> {
        let found = self.ask(|mut client, group, time_left_ms| {
            let positions = positions.to_vec();
            let request = v1::FindSettledRequest { group, positions, time_left_ms };
            async move { client.find_settled(request).await }
        });
        found.await
    }

    /// Consumes; more can be told before it begins.
    pub fn consume(&self) -> ConsumeRequest {
        ConsumeRequest::new(self.client.clone(), self.name.clone())
    }

    /// Asks for a change, and tells how much it changed. All attempts have one id, so that it is made once: an attempt
    /// that finds the change made by an earlier one gets that one's answer.
    async fn change<F>(
        &self,
        call: impl Fn(GroupsClient<Connection>, String, Bytes, u64) -> F,
    ) -> Result<u64, Problem>
    where
        F: Future<Output = Result<Response<v1::GroupDone>, Status>>,
    {
        let id = Bytes::copy_from_slice(self.id.unwrap_or_else(new_id).as_bytes());
        let done =
            self.ask(|client, group, time_left_ms| call(client, group, id.clone(), time_left_ms));
        Ok(done.await?.count)
    }

    /// Asks nodes until one answers, with the name of the group and the milliseconds that the node may take.
    async fn ask<T, F>(
        &self,
        call: impl Fn(GroupsClient<Connection>, String, u64) -> F,
    ) -> Result<T, Problem>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let name = self.name.clone()?;
        ask_groups(&self.client, |client, time_left_ms| {
            call(client, name.as_str().to_owned(), time_left_ms)
        })
        .await
    }
}

async fn ask_groups<T, F>(
    client: &Client,
    call: impl Fn(GroupsClient<Connection>, u64) -> F,
) -> Result<T, Problem>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let nodes = &client.shared.nodes;
    let call = |address: &str, time_left_ms| Ok(call(nodes.groups(address)?, time_left_ms));
    ask_node(client, || nodes.for_appends(), call).await
}

fn selected(selection: &Selection, group: String, time_left_ms: u64) -> v1::SelectParkedRequest {
    let (positions, all) = match selection {
        Selection::All => (Vec::new(), true),
        Selection::Positions(positions) => {
            (positions.iter().map(|position| position.0).collect(), false)
        }
    };
    v1::SelectParkedRequest { group, positions, all, time_left_ms, ..Default::default() }
}

impl Client {
    /// A consumer group.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
    /// let billing = client.group("billing").show().await?;
    /// println!("{} behind, {} parked", billing.lag, billing.parked);
    /// # Ok(()) }
    /// ```
    pub fn group(&self, name: impl AsRef<str>) -> GroupRef {
        GroupRef::new(self.clone(), GroupName::new(name))
    }

    /// All consumer groups, by name.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
    /// for group in client.groups().await? {
    ///     println!("{} is {} behind", group.name, group.lag);
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn groups(&self) -> Result<Vec<Group>, Problem> {
        self.groups_as(Consistency::Linearizable).await
    }

    /// The same, as fresh as asked for.
    ///
    /// # Errors
    /// `Deadline`: a node was silent for longer than a third of the client's deadline, and no other did better within
    /// the deadline. A list that goes on coming may take longer than that.
    pub async fn groups_as(&self, consistency: Consistency) -> Result<Vec<Group>, Problem> {
        let give_up_at = Instant::now() + self.deadline;
        loop {
            let mut incoming = self.begin_list(consistency).await?;
            let problem = match listed(&mut incoming, silence_max(self)).await {
                Ok(groups) => return groups.into_iter().map(Group::try_from).collect(),
                Err(problem) => problem,
            };
            if !may_help_elsewhere(problem.kind) || Instant::now() >= give_up_at {
                return Err(told(problem));
            }
            self.shared.nodes.failed(&incoming.address);
        }
    }

    async fn begin_list(
        &self,
        consistency: Consistency,
    ) -> Result<Incoming<v1::ListGroupsResponse>, Problem> {
        let nodes = &self.shared.nodes;
        let call = |address: &str, time_left_ms| {
            let (mut client, address) = (nodes.groups(address)?, address.to_owned());
            let consistency = Some(consistency.into());
            let request = v1::ListGroupsRequest { consistency, time_left_ms };
            Ok(async move {
                let messages = client.list_groups(request).await?.into_inner();
                Ok(Response::new(Incoming::new(address, messages)))
            })
        };
        ask_node(self, || nodes.for_appends(), call).await
    }
}

async fn listed(
    incoming: &mut Incoming<v1::ListGroupsResponse>,
    silence_max: Duration,
) -> Result<Vec<v1::Group>, Problem> {
    let mut groups = Vec::new();
    while let Some(message) = incoming.next_or_end(silence_max).await? {
        groups.extend(message.groups);
    }
    Ok(groups)
}

/// A group in the making.
#[derive(Debug)]
#[must_use = "nothing is created before `send`"]
pub struct CreateGroup {
    group: GroupRef,
    query: Query,
    after: u64,
    settings: GroupSettings,
}

impl CreateGroup {
    /// Only what comes after this position; 0, the beginning, unless told.
    pub fn after(mut self, position: u64) -> CreateGroup {
        self.after = position;
        self
    }

    /// All settings at once.
    pub fn settings(mut self, settings: GroupSettings) -> CreateGroup {
        self.settings = settings;
        self
    }

    /// Who gets what; round robin unless told.
    pub fn strategy(mut self, strategy: Strategy) -> CreateGroup {
        self.settings.strategy = strategy;
        self
    }

    /// How long a consumer may take over an event before it is given to another; 30 s unless told.
    pub fn timeout(mut self, timeout: Duration) -> CreateGroup {
        self.settings.timeout = timeout;
        self
    }

    /// How often an event is tried before it is parked; 10 times unless told.
    pub fn attempts(mut self, attempts: u32) -> CreateGroup {
        self.settings.attempts = attempts;
        self
    }

    /// How long an event that failed waits before it is tried again; 1 s unless told.
    pub fn retry_delay(mut self, delay: Duration) -> CreateGroup {
        self.settings.retry_delay = delay;
        self
    }

    /// Most events that are with all consumers at once; 4,096 unless told.
    pub fn window(mut self, events: u32) -> CreateGroup {
        self.settings.window = events;
        self
    }

    /// Creates it; false if it is there already, the same. Safe to repeat.
    ///
    /// # Errors
    /// `AlreadyExists` if there is a group of that name that differs, `Invalid` if something breaks a rule.
    pub async fn send(self) -> Result<bool, Problem> {
        let CreateGroup { group, query, after, settings } = self;
        let query = query.into_words()?;
        let settings = proto::GroupSettings::from(settings);
        query.check()?;
        settings.check()?;
        let done = group.change(|mut client, group, request_id, time_left_ms| {
            let (query, settings) = (Some(query.clone().into()), Some(settings.into()));
            let request =
                v1::CreateGroupRequest { group, query, after, settings, time_left_ms, request_id };
            async move { client.create_group(request).await }
        });
        Ok(done.await? > 0)
    }
}
