//! A cluster in memory, and the client of it.

use std::time::Duration;

use futures_util::future::try_join_all;
use quorate_client::{Client, Problem};
use quorate_raft::Timing;

use crate::error::StartError;
use crate::network::Network;
use crate::node::{Node, client_address, peer_address};

/// The bytes of log that make a chunk: the smallest, so that a test of some hundred events has chunks too.
const CHUNK_BYTES: u64 = 64 * 1024;

/// A cluster whose nodes live in this process.
///
/// Dropping it ends its nodes; what they held is gone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use quorate_client::{Event, Expect};
/// let mut cluster = quorate_testing::Cluster::start(3).await?;
/// let client = cluster.client();
/// client.append("order-42", Expect::None, [Event::new("OrderPlaced", "{}")?]).await?;
/// if let Some(leader) = cluster.leader().await? {
///     cluster.cut_power(leader);
/// }
/// assert_eq!(client.read("order-42").collect().await?.events.len(), 1);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Cluster {
    network: Network,
    nodes: Vec<Node>,
    client: Client,
}

/// Starts a cluster of one node, and returns when it serves.
///
/// # Errors
/// See [`Cluster::start`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cluster = quorate_testing::start().await?;
/// assert_eq!(cluster.client().read("order-42").collect().await?.events.len(), 0);
/// # Ok(()) }
/// ```
pub async fn start() -> Result<Cluster, StartError> {
    Cluster::start(1).await
}

impl Cluster {
    /// Starts a cluster of so many nodes, at least one, and returns when they have a leader.
    ///
    /// # Errors
    /// The nodes do not start, or choose no leader within the client's deadline of 10 s: the machine is overloaded.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cluster = quorate_testing::Cluster::start(3).await?;
    /// assert_eq!(cluster.client().status().await?.nodes.len(), 3);
    /// # Ok(()) }
    /// ```
    pub async fn start(nodes: usize) -> Result<Cluster, StartError> {
        let network = Network::default();
        let mut nodes: Vec<Node> =
            (1..=nodes.max(1)).map(|number| Node::new(number, network.clone())).collect();
        try_join_all(nodes.iter_mut().map(|node| node.start(timing()))).await?;
        let client = builder(&network, nodes.len()).build()?;
        client.init((1..=nodes.len()).map(peer_address), CHUNK_BYTES).await?;
        // A linearizable read is answered once there is a leader.
        client.read("$nothing").limit(0).collect().await?;
        Ok(Cluster { network, nodes, client })
    }

    /// Returns a client of all nodes.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Returns the builder of a client, with the nodes' addresses and the way to them: for another deadline, say.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// let cluster = quorate_testing::start().await?;
    /// let hasty = cluster.client_builder().deadline(Duration::from_secs(1)).connect().await?;
    /// # drop(hasty); Ok(()) }
    /// ```
    pub fn client_builder(&self) -> quorate_client::Builder {
        builder(&self.network, self.nodes.len())
    }

    /// Returns the number of the node that leads, counted from 1; `None` while no node does.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cluster = quorate_testing::start().await?;
    /// assert_eq!(cluster.leader().await?, Some(1));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// No node answers.
    pub async fn leader(&self) -> Result<Option<usize>, Problem> {
        let status = self.client.status().await?;
        let leader = status.nodes.iter().find(|node| node.role == "leader");
        Ok(leader.and_then(|leader| {
            (1..=self.nodes.len()).find(|number| client_address(*number) == leader.address)
        }))
    }

    /// Cuts the power of a node, counted from 1: its connections end, and it loses every byte that was not synced.
    /// Nothing happens if it is off already.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use quorate_client::{Event, Expect};
    /// let mut cluster = quorate_testing::start().await?;
    /// let client = cluster.client();
    /// client.append("order-42", Expect::None, [Event::new("OrderPlaced", "{}")?]).await?;
    /// cluster.cut_power(1);
    /// cluster.start_again(1).await?;
    /// assert_eq!(client.read("order-42").collect().await?.version.0, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// If there is no node with this number.
    pub fn cut_power(&mut self, node: usize) {
        self.node(node).cut_power();
    }

    /// Starts a node again on what its disk holds. Nothing happens if it runs.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut cluster = quorate_testing::Cluster::start(3).await?;
    /// for node in 1..=3 {
    ///     cluster.cut_power(node);
    ///     cluster.start_again(node).await?;
    /// }
    /// assert!(cluster.client().read("order-42").collect().await?.events.is_empty());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The node does not start.
    ///
    /// # Panics
    /// If there is no node with this number.
    pub async fn start_again(&mut self, node: usize) -> Result<(), StartError> {
        self.node(node).start(timing()).await
    }

    fn node(&mut self, number: usize) -> &mut Node {
        let nodes = self.nodes.len();
        number.checked_sub(1).and_then(|at| self.nodes.get_mut(at)).unwrap_or_else(|| {
            panic!("there is no node {number}: the nodes are counted from 1 to {nodes}")
        })
    }
}

/// Returns a builder for clients of this network.
fn builder(network: &Network, nodes: usize) -> quorate_client::Builder {
    let network = network.clone();
    Client::builder()
        .endpoints((1..=nodes).map(client_address))
        .connector(move |address| std::future::ready(network.connect(&address)))
}

/// The times of nodes that share one process: a leader that was lost is missed sooner than over a real network.
fn timing() -> Timing {
    Timing {
        heartbeat: Duration::from_millis(50),
        election_min: Duration::from_millis(150),
        election_max: Duration::from_millis(300),
    }
}
