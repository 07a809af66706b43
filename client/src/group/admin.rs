//! A group by its name: how it is created, changed, shown and deleted.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::groups_client::GroupsClient;
use quorate_proto::{
    Consistency, EventId, GroupDefinition, GroupName, GroupRequest, GroupSettings, Invalid,
    Position, Problem, Selection, Strategy,
};
use tokio::time::Instant;
use tonic::{Response, Status};

use super::shown::{Group, ParkedEvent, milliseconds};
use crate::ask::ask_node;
use crate::client::Client;
use crate::connection::Connection;
use crate::event::new_id;
use crate::incoming::{Incoming, silence_max};
use crate::query::Query;
use crate::trouble::{may_help_elsewhere, not_appended, not_understood};

/// The largest number of parked events in one request.
const PARKED_PER_PAGE: u64 = 500;

/// A consumer group, by its name; no node is asked before one of its methods is called.
///
/// Its consumers share the events that a query finds. The outcome of each event is kept in the log, so that it outlives
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
    pub(super) client: Client,
    pub(super) name: Result<GroupName, Invalid>,
    id: Option<EventId>,
}

impl GroupRef {
    pub(crate) fn new(client: Client, name: Result<GroupName, Invalid>) -> GroupRef {
        GroupRef { client, name, id: None }
    }

    /// Sets the id of the next change: with the same id a repetition is safe, also from another process, and gets the
    /// first answer for as long as the change is among the newest 1,024 of the cluster. By default the id is new.
    pub fn id(mut self, id: EventId) -> GroupRef {
        self.id = Some(id);
        self
    }

    /// Prepares the creation of the group; more can be set before it is sent.
    pub fn create(&self, query: impl Into<Query>) -> CreateGroup {
        CreateGroup {
            group: self.clone(),
            query: query.into(),
            after: Position::ZERO,
            settings: GroupSettings::default(),
        }
    }

    /// Changes the group's settings. Returns true if that changed anything. Under another strategy its consumers begin
    /// anew. Another timeout takes no time away from events in work: it is sent to the consumers, and counts for the
    /// events whose work they begin or extend from then on. Safe to repeat.
    pub async fn configure(&self, settings: GroupSettings) -> Result<bool, Problem> {
        Ok(self.change(GroupRequest::Configure(settings)).await? > 0)
    }

    /// Removes the group with all its progress, parked events included. Returns true if there was one. Safe to repeat.
    pub async fn delete(&self) -> Result<bool, Problem> {
        Ok(self.change(GroupRequest::Delete).await? > 0)
    }

    /// Begins again after a position: settled, failed and parked events are forgotten. Its consumers continue by
    /// themselves.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
    /// client.group("billing").reset(0).await?; // everything once more
    /// # Ok(()) }
    /// ```
    pub async fn reset(&self, after: impl Into<Position>) -> Result<(), Problem> {
        self.change(GroupRequest::Reset(after.into())).await.map(|_| ())
    }

    /// Tries parked events again, from the first attempt on. Returns their number.
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
        self.change(GroupRequest::Replay(selection)).await
    }

    /// Gives parked events up for good. Returns their number.
    pub async fn drop_parked(&self, selection: Selection) -> Result<u64, Problem> {
        self.change(GroupRequest::Drop(selection)).await
    }

    /// Returns the group and its progress.
    pub async fn show(&self) -> Result<Group, Problem> {
        self.show_as(Consistency::Linearizable).await
    }

    /// Returns the group and its progress, as fresh as requested.
    pub async fn show_as(&self, consistency: Consistency) -> Result<Group, Problem> {
        let shown = self.ask(|mut client, group, time_left_ms| {
            let consistency = Some(consistency.into());
            let request = v1::ShowGroupRequest { group, consistency, time_left_ms };
            async move { client.show_group(request).await }
        });
        shown.await?.try_into()
    }

    /// Returns all parked events with their reasons, by position.
    pub async fn parked(&self) -> Result<Vec<ParkedEvent>, Problem> {
        self.parked_as(0, 0, Consistency::Linearizable).await
    }

    /// Returns the parked events after a position, at most `limit` of them (0 = all), as fresh as requested. Many
    /// events are fetched in pages, and each page has the deadline of the client.
    pub async fn parked_as(
        &self,
        after: impl Into<Position>,
        limit: u64,
        consistency: Consistency,
    ) -> Result<Vec<ParkedEvent>, Problem> {
        let mut left = if limit == 0 { u64::MAX } else { limit };
        let mut after = after.into();
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
        after: Position,
        limit: u64,
        consistency: Consistency,
    ) -> Result<Vec<ParkedEvent>, Problem> {
        let after = after.0;
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

    /// Requests a change, and returns how much it changed. All attempts have one id, so that the change is made once:
    /// an attempt that finds the change made by an earlier one gets the earlier one's answer.
    async fn change(&self, change: GroupRequest) -> Result<u64, Problem> {
        change.check()?;
        let change = Option::<v1::change_group_request::Change>::from(change);
        let id = Bytes::copy_from_slice(self.id.unwrap_or_else(new_id).as_bytes());
        let done = self.ask(|mut client, group, time_left_ms| {
            let (change, request_id) = (change.clone(), id.clone());
            let request = v1::ChangeGroupRequest { group, change, request_id, time_left_ms };
            async move { client.change_group(request).await }
        });
        Ok(done.await?.count)
    }

    /// Asks nodes until one answers; `call` gets the name of the group and the milliseconds that the node may take.
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

impl Client {
    /// Returns a handle to a consumer group.
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

    /// Returns all consumer groups, by name.
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

    /// Returns all consumer groups, by name, as fresh as requested.
    ///
    /// # Errors
    /// `Deadline`: a node was silent for longer than a third of the client's deadline, and no other did better within
    /// the deadline. A list whose parts keep coming may take longer than that.
    pub async fn groups_as(&self, consistency: Consistency) -> Result<Vec<Group>, Problem> {
        let give_up_at = Instant::now() + self.deadline;
        loop {
            let mut incoming = self.begin_list(consistency).await?;
            let problem = match listed(&mut incoming, silence_max(self)).await {
                Ok(groups) => return groups.into_iter().map(Group::try_from).collect(),
                Err(problem) => problem,
            };
            if !may_help_elsewhere(problem.kind) || Instant::now() >= give_up_at {
                return Err(not_appended(problem));
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

/// A group before it is created.
///
/// ```no_run
/// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
/// use std::time::Duration;
/// use quorate_client::{Query, Strategy};
/// let mails = client.group("mails").create(Query::category("order").types(["OrderShipped"]));
/// mails.strategy(Strategy::ByStream).attempts(20).timeout(Duration::from_secs(10)).send().await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "nothing is created before `send`"]
pub struct CreateGroup {
    group: GroupRef,
    query: Query,
    after: Position,
    settings: GroupSettings,
}

impl CreateGroup {
    /// Takes only events after this position; 0, the beginning, by default.
    pub fn after(mut self, position: impl Into<Position>) -> CreateGroup {
        self.after = position.into();
        self
    }

    /// Sets all settings at once.
    pub fn settings(mut self, settings: GroupSettings) -> CreateGroup {
        self.settings = settings;
        self
    }

    /// Sets how events are shared among the consumers; round robin by default.
    pub fn strategy(mut self, strategy: Strategy) -> CreateGroup {
        self.settings.strategy = strategy;
        self
    }

    /// Sets the time that a consumer has for an event before it is given to another; 30 s by default.
    pub fn timeout(mut self, timeout: Duration) -> CreateGroup {
        self.settings.timeout_ms = milliseconds(timeout);
        self
    }

    /// Sets the number of attempts before an event is parked; 10 by default.
    pub fn attempts(mut self, attempts: u32) -> CreateGroup {
        self.settings.attempts_max = attempts;
        self
    }

    /// Sets the delay after which a failed event is tried again; 1 s by default.
    pub fn retry_delay(mut self, delay: Duration) -> CreateGroup {
        self.settings.retry_delay_ms = milliseconds(delay);
        self
    }

    /// Sets the largest number of events that all consumers together hold at once; 4,096 by default.
    pub fn window(mut self, events: u32) -> CreateGroup {
        self.settings.window = events;
        self
    }

    /// Creates the group. Returns false if the same group exists already. Safe to repeat.
    ///
    /// # Errors
    /// `AlreadyExists` if another group of that name exists, `Invalid` if something breaks a rule.
    pub async fn send(self) -> Result<bool, Problem> {
        let CreateGroup { group, query, after, settings } = self;
        let definition = GroupDefinition { query: query.into_words()?, after, settings };
        Ok(group.change(GroupRequest::Create(definition)).await? > 0)
    }
}
