//! The nodes that this client knows, the connections to them, and the last known leader.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_proto::limits::CLIENT_MESSAGE_BYTES_MAX;
use quorate_proto::wire::problem_of;
use quorate_proto::wire::v1::cluster_client::ClusterClient;
use quorate_proto::wire::v1::events_client::EventsClient;
use quorate_proto::wire::v1::groups_client::GroupsClient;
use quorate_proto::wire::v1::runners_client::RunnersClient;
use quorate_proto::{Address, ErrorKind, Invalid, NoAddress, Outcome, Problem};
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, ConnectError, Status};

use crate::connection::{Connection, Headers};
use crate::connector::Connector;

/// The time within which a connection must be made.
const CONNECT_TIME: Duration = Duration::from_secs(1);
/// The time without any message after which a node is asked whether it is still there …
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// … and the time without an answer after which it is given up.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// The time for which a leader that could not be reached from here is not tried again, though nodes name it.
const OUT_OF_REACH: Duration = Duration::from_secs(30);
/// The bytes that a node may send ahead on one stream and in all: the defaults of HTTP/2 throttle replays.
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// The largest piece in which a node may send a message: its messages of events come in one or two of them, and the
/// calls on one connection still take turns.
const FRAME_BYTES_MAX: u32 = 64 * 1024;
/// The largest possible window: readers that have stopped must not stop everything else on their connection.
const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;

/// The nodes that this client knows.
#[derive(Debug)]
pub(crate) struct Nodes {
    connector: Connector,
    headers: Headers,
    /// True if only the given addresses may be asked.
    pinned: bool,
    /// Decides which node is asked first; `None` if the order is that of the endpoints.
    chance: Option<usize>,
    /// The number of turns that subscriptions have taken.
    turns: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The given addresses, and after them those that were learned.
    addresses: Vec<String>,
    /// The number of given addresses.
    given: usize,
    /// Learned addresses that could not be reached from here: they are the last resort.
    unreached: BTreeSet<String>,
    /// The index of the address that is asked first.
    first: usize,
    leader: Option<String>,
    /// Leaders that could not be reached from here, each with the time until which they are left out.
    out_of_reach: BTreeMap<String, Instant>,
    channels: BTreeMap<String, Channel>,
}

impl Nodes {
    /// `chance` decides which address is asked first; without it the first one is.
    pub(crate) fn new(
        addresses: Vec<String>,
        pinned: bool,
        chance: Option<usize>,
        connector: Connector,
    ) -> Result<Nodes, Invalid> {
        let addresses = parsed(&addresses)?;
        if addresses.is_empty() {
            return Err(Invalid::new("endpoints", "are empty"));
        }
        let first = chance.map_or(0, |chance| chance % addresses.len());
        let state = State {
            given: addresses.len(),
            addresses,
            unreached: BTreeSet::new(),
            first,
            leader: None,
            out_of_reach: BTreeMap::new(),
            channels: BTreeMap::new(),
        };
        let turns = AtomicUsize::new(0);
        let headers = Headers::default();
        Ok(Nodes { connector, headers, pinned, chance, turns, state: Mutex::new(state) })
    }

    /// Returns the same nodes, asked with these headers.
    pub(crate) fn with_headers(self, headers: Headers) -> Nodes {
        Nodes { headers, ..self }
    }

    /// Returns the nodes to ask for a session, in order: the leader if it is known, then the others.
    pub(crate) fn for_appends(&self) -> Vec<String> {
        let mut order = self.for_reads();
        if let Some(leader) = self.lock().leader.clone() {
            order.retain(|address| *address != leader);
            order.insert(0, leader);
        }
        order
    }

    /// Returns the nodes to ask for a read, in order.
    pub(crate) fn for_reads(&self) -> Vec<String> {
        self.in_turn(0)
    }

    /// Returns the given node that is asked first.
    pub(crate) fn given(&self) -> String {
        let state = self.lock();
        let first = if state.first < state.given { state.first } else { 0 };
        state.addresses.get(first).cloned().unwrap_or_default()
    }

    pub(crate) fn is_pinned(&self) -> bool {
        self.pinned
    }

    /// Returns the next turn, for a subscription that looks for a node.
    pub(crate) fn next_turn(&self) -> usize {
        self.chance.map_or(0, |_| self.turns.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns the nodes to ask in a turn, in order: each turn begins one node later, so that subscriptions spread.
    pub(crate) fn in_turn(&self, turn: usize) -> Vec<String> {
        let (mut order, last_resort) = self.lock().order();
        let turn = turn.checked_rem(order.len()).unwrap_or_default();
        order.rotate_left(turn);
        order.extend(last_resort);
        order
    }

    /// Returns the number of nodes that are known.
    pub(crate) fn count(&self) -> usize {
        self.lock().addresses.len()
    }

    /// Notes the leader that a node named. Returns true if this client may ask it and it is not out of reach.
    pub(crate) fn learn_leader(&self, leader: &str) -> bool {
        if self.pinned || leader.is_empty() || endpoint(leader).is_err() {
            return false;
        }
        self.learn(leader);
        let mut state = self.lock();
        if state.out_of_reach.get(leader).is_some_and(|until| Instant::now() < *until) {
            return false;
        }
        state.out_of_reach.remove(leader);
        state.leader = Some(leader.to_owned());
        true
    }

    /// Notes that a leader could not be reached from here: its address may be one within the cluster.
    pub(crate) fn is_out_of_reach(&self, leader: &str) {
        self.failed(leader);
        let mut state = self.lock();
        state.out_of_reach.insert(leader.to_owned(), Instant::now() + OUT_OF_REACH);
        state.give_up(leader);
    }

    /// Notes the members that a node named, those that were reached from here (that node among them) and those that
    /// were not. If there are new ones, one of the reached, chosen by chance, is asked first from now on.
    pub(crate) fn learn_members(&self, mut reached: Vec<String>, unreached: Vec<String>) {
        let known = self.count();
        reached.iter().chain(&unreached).for_each(|address| self.learn(address));
        let mut state = self.lock();
        for address in &reached {
            state.unreached.remove(address);
        }
        for address in &unreached {
            state.give_up(address);
            state.out_of_reach.insert(address.clone(), Instant::now() + OUT_OF_REACH);
        }
        if let Some(chance) = self.chance
            && state.addresses.len() > known
        {
            // Sorted, so that the choice does not depend on which of them was asked.
            reached.sort_unstable();
            let chosen = reached.get(chance.checked_rem(reached.len()).unwrap_or_default());
            let place = state.addresses.iter().position(|address| Some(address) == chosen);
            state.first = place.unwrap_or(state.first);
        }
    }

    /// Notes the address of a node that another node named.
    pub(crate) fn learn(&self, address: &str) {
        let mut state = self.lock();
        let known = state.addresses.iter().any(|known| known == address);
        if !self.pinned && !known && endpoint(address).is_ok() {
            state.addresses.push(address.to_owned());
        }
    }

    /// Notes that a node did not do what was requested: the next one is asked first from now on.
    pub(crate) fn failed(&self, address: &str) {
        let mut state = self.lock();
        if state.leader.as_deref() == Some(address) {
            state.leader = None;
        }
        let (order, last_resort) = state.order();
        if order.first().or(last_resort.first()).is_some_and(|first| first == address) {
            let place = state.addresses.iter().position(|known| known == address);
            state.first = place.map_or(0, |place| (place + 1) % state.addresses.len());
        }
    }

    pub(crate) fn events(&self, address: &str) -> Result<EventsClient<Connection>, Problem> {
        Ok(EventsClient::new(self.connection(address)?)
            .max_decoding_message_size(CLIENT_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(CLIENT_MESSAGE_BYTES_MAX))
    }

    pub(crate) fn groups(&self, address: &str) -> Result<GroupsClient<Connection>, Problem> {
        Ok(GroupsClient::new(self.connection(address)?)
            .max_decoding_message_size(CLIENT_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(CLIENT_MESSAGE_BYTES_MAX))
    }

    pub(crate) fn cluster(&self, address: &str) -> Result<ClusterClient<Connection>, Problem> {
        Ok(ClusterClient::new(self.connection(address)?))
    }

    pub(crate) fn runners(&self, address: &str) -> Result<RunnersClient<Connection>, Problem> {
        Ok(RunnersClient::new(self.connection(address)?))
    }

    /// Returns the connection to a node, which is made at its first use, and again after it was lost.
    fn connection(&self, address: &str) -> Result<Connection, Invalid> {
        let mut state = self.lock();
        if let Some(channel) = state.channels.get(address) {
            return Ok(self.headers.on(channel.clone()));
        }
        let channel = endpoint(address)?.connect_with_connector_lazy(self.connector.clone());
        state.channels.insert(address.to_owned(), channel.clone());
        Ok(self.headers.on(channel))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns the nodes to ask, in order, and those to ask only if none of them can help.
    fn order(&self) -> (Vec<String>, Vec<String>) {
        let (later, sooner) = self.addresses.split_at(self.first);
        let order = sooner.iter().chain(later).cloned();
        order.partition(|address| !self.unreached.contains(address))
    }

    /// Makes an address the last resort, unless it was given.
    fn give_up(&mut self, address: &str) {
        if !self.addresses.iter().take(self.given).any(|given| given == address) {
            self.unreached.insert(address.to_owned());
        }
    }
}

/// Returns the addresses of the endpoints, each of which may be a list; repeated addresses are left out.
fn parsed(endpoints: &[String]) -> Result<Vec<String>, Invalid> {
    let mut addresses = Vec::new();
    for endpoint in endpoints {
        let list = Address::list(endpoint);
        for address in list.map_err(|why| refused(&why.to_string()))? {
            if !address.is_reachable() {
                return Err(refused(&format!("nobody can connect to `{address}`")));
            }
            let address = address.to_string();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    Ok(addresses)
}

fn refused(why: &str) -> Invalid {
    Invalid::new("endpoints", format!("cannot be used: {why}"))
}

fn endpoint(address: &str) -> Result<Endpoint, Invalid> {
    let address: Address = address.parse().map_err(|why: NoAddress| refused(&why.to_string()))?;
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    let endpoint = endpoint.map_err(|error| refused(&format!("`{address}`: {error}")))?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIME)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX))
}

/// Converts a status into a problem. Without our typed detail the kind is a guess, and the outcome is unknown unless
/// there was no connection to the node.
pub(crate) fn problem(address: &str, status: &Status) -> Problem {
    problem_of(status).unwrap_or_else(|| {
        let kind = match status.code() {
            Code::Unimplemented | Code::OutOfRange => ErrorKind::Internal,
            _ => ErrorKind::Unavailable,
        };
        let message = format!("{address}: {}", reason(status));
        let outcome =
            if was_not_connected(status) { Outcome::NotAppended } else { Outcome::Unknown };
        Problem::new(kind, outcome, message)
    })
}

fn was_not_connected(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Returns the innermost cause, which a person can act on: «connection refused», not «transport error».
fn reason(status: &Status) -> String {
    let mut reason = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        reason = error.to_string();
        cause = error.source();
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(pinned: bool) -> Nodes {
        let addresses = ["a:1", "b:2"].map(str::to_owned).to_vec();
        Nodes::new(addresses, pinned, None, Connector::tcp()).expect("addresses")
    }

    #[test]
    fn the_leader_is_asked_first_until_it_fails() {
        let nodes = nodes(false);
        assert!(nodes.learn_leader("c:3"));
        assert_eq!(nodes.for_appends(), ["c:3", "a:1", "b:2"]);
        assert_eq!(nodes.for_reads(), ["a:1", "b:2", "c:3"]);
        nodes.failed("c:3");
        nodes.failed("a:1");
        assert_eq!(nodes.for_appends(), ["b:2", "c:3", "a:1"]);
    }

    #[test]
    fn clients_and_their_subscriptions_spread_over_the_nodes() {
        let addresses = ["a:1", "b:2", "c:3"].map(str::to_owned).to_vec();
        let mut firsts = std::collections::BTreeSet::new();
        for chance in [3, 7, 11] {
            let nodes = Nodes::new(addresses.clone(), false, Some(chance), Connector::tcp());
            let nodes = nodes.expect("addresses");
            firsts.insert(nodes.for_reads()[0].clone());
            let subscriptions = (0..3).map(|_| nodes.in_turn(nodes.next_turn())[0].clone());
            assert_eq!(subscriptions.collect::<std::collections::BTreeSet<_>>().len(), 3);
        }
        assert_eq!(firsts.len(), 3);
    }

    #[tokio::test]
    async fn a_leader_that_cannot_be_reached_is_not_gone_to_again_at_once() {
        let nodes = nodes(false);
        assert!(nodes.learn_leader("c:3"));
        nodes.is_out_of_reach("c:3");
        assert!(!nodes.learn_leader("c:3"));
        assert_eq!(nodes.for_appends()[0], "a:1");
        assert!(nodes.learn_leader("b:2"), "another one may be reached");
    }

    #[tokio::test]
    async fn members_that_are_learned_share_in_what_is_asked_and_those_out_of_reach_come_last() {
        let addresses = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let mut firsts = BTreeSet::new();
        for chance in 0..6 {
            let nodes = Nodes::new(addresses(&["a:1"]), false, Some(chance), Connector::tcp());
            let nodes = nodes.expect("addresses");
            nodes.learn_members(addresses(&["a:1", "c:3", "b:2"]), addresses(&["d:4"]));
            firsts.insert(nodes.for_reads()[0].clone());
            assert_eq!(nodes.for_reads()[3], "d:4");
            let subscriptions = (0..6).map(|turn| nodes.in_turn(turn)[0].clone());
            assert_eq!(subscriptions.collect::<BTreeSet<_>>().len(), 3);
            for _ in 0..7 {
                nodes.failed(&nodes.for_reads()[0]);
            }
            assert_eq!(nodes.for_reads()[3], "d:4");
            assert_eq!(nodes.given(), "a:1");
            assert!(!nodes.learn_leader("d:4"), "it is out of reach");
        }
        assert_eq!(firsts.len(), 3);

        let cut_off = Nodes::new(addresses(&["a:1"]), false, Some(7), Connector::tcp());
        let cut_off = cut_off.expect("addresses");
        cut_off.learn_members(addresses(&["a:1"]), addresses(&["b:2", "c:3"]));
        assert_eq!(cut_off.for_reads()[0], "a:1");
        cut_off.failed("a:1");
        assert_eq!(cut_off.for_reads()[0], "a:1", "there is no other");
    }

    #[test]
    fn pinned_to_its_addresses_it_learns_no_others() {
        let nodes = nodes(true);
        assert!(!nodes.learn_leader("c:3"));
        nodes.learn("d:4");
        assert_eq!(nodes.for_appends(), ["a:1", "b:2"]);
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_to_write_instead() {
        let refused = |text: &str| {
            let nodes = Nodes::new(vec![text.to_owned()], false, None, Connector::tcp());
            nodes.expect_err(text).to_string()
        };
        for wrong in ["localhost", "localhost:", "localhost:http", "a b:1", ":1:x", "a:1,b"] {
            assert!(refused(wrong).contains("is not HOST:PORT"), "{}", refused(wrong));
        }
        assert!(refused("http://a:1").contains("without http://"));
        assert!(refused("::1:7701").contains("`[::1]:7701`"));
        for nowhere in ["a:0", "0.0.0.0:1", "[::]:1"] {
            assert!(refused(nowhere).contains("nobody can connect"), "{}", refused(nowhere));
        }
        assert!(refused(" , ").contains("are empty"));
    }

    #[test]
    fn endpoints_are_understood_as_people_write_them() {
        let written = ["a:1, B:2,", " [0::1]:3 ", "a:1"].map(str::to_owned).to_vec();
        let nodes = Nodes::new(written, false, None, Connector::tcp()).expect("addresses");
        assert_eq!(nodes.for_reads(), ["a:1", "b:2", "[::1]:3"]);
    }
}
