//! The progress of projections and process managers: they report it to a node, and any node can be asked for it.

use std::time::Duration;

use quorate_proto::wire::v1::{ListRunnersRequest, ListRunnersResponse, ReportRunnerRequest};
use quorate_proto::{Invalid, Position, Problem, Runner, RunnerReport};
use tokio::time::timeout;

use crate::ask::ask_node;
use crate::client::Client;
use crate::nodes::problem;
use crate::trouble::{late, not_understood};

/// The time to wait for one node that is sent a report: the next report comes anyway.
const REPORTED_WITHIN: Duration = Duration::from_secs(1);

/// The projections and process managers that reported to the nodes of a cluster.
///
/// ```no_run
/// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
/// let runners = client.runners().await?;
/// for runner in &runners.runners {
///     println!("{}: {:?} positions behind", runner.report.name, runners.behind(runner));
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Runners {
    /// At most 1,000 runners, by name; one that ended or fell silent is left out once it was started again.
    pub runners: Vec<Runner>,
    /// The newest position of the log on the nodes that answered.
    pub last_position: u64,
    /// The nodes that did not answer: reports that only they received are missing.
    pub unreachable: Vec<String>,
    /// The number of runners without room in the list: those whose last report is the oldest.
    pub left_out: u64,
}

impl Runners {
    /// Returns the number of positions of the log that a runner has not looked at yet, as of its last report if it
    /// runs; `None` while its position is not known.
    pub fn behind(&self, runner: &Runner) -> Option<u64> {
        runner.behind(Position(self.last_position))
    }
}

impl Client {
    /// Reports to one node how far a runner is, for [`Client::runners`]; a place or an error that is too long is cut.
    /// The projections and process managers of `quorate-app` report by themselves. The call waits for each node at most
    /// a second, and ends with the first that takes the report.
    ///
    /// # Errors
    /// `Invalid` if the report does not pass [`RunnerReport::check`]; otherwise the last node's problem: none took it.
    pub async fn report_runner(&self, report: RunnerReport) -> Result<(), Problem> {
        let report = report.bounded();
        report.check()?;
        let nodes = &self.shared.nodes;
        let mut last = None;
        for address in nodes.for_reads() {
            let request = ReportRunnerRequest { report: Some(report.clone().into()) };
            let mut runners = nodes.runners(&address)?;
            let failure = match timeout(REPORTED_WITHIN, runners.report_runner(request)).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(status)) => problem(&address, &status),
                Err(_) => late(&address),
            };
            if failure.is_verdict() {
                return Err(failure);
            }
            // The rest of the client does not learn of the failure: reports are no measure of a node.
            last = Some(failure);
        }
        Err(last.unwrap_or_else(|| Problem::from(Invalid::new("endpoints", "are empty"))))
    }

    /// Returns how far projections and process managers are, as they reported it to the nodes of the cluster. The first
    /// node that answers asks the others.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
    /// let list = client.runners().await?;
    /// for runner in &list.runners {
    ///     let (report, behind) = (&runner.report, list.behind(runner));
    ///     println!("{} is {}, {behind:?} behind", report.name, report.state);
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn runners(&self) -> Result<Runners, Problem> {
        let nodes = &self.shared.nodes;
        let call = |address: &str, _: u64| {
            let mut runners = nodes.runners(address)?;
            Ok(async move { runners.list_runners(ListRunnersRequest { only_self: false }).await })
        };
        ask_node(self, || nodes.for_reads(), call).await?.try_into()
    }
}

impl TryFrom<ListRunnersResponse> for Runners {
    type Error = Problem;

    fn try_from(response: ListRunnersResponse) -> Result<Runners, Problem> {
        let ListRunnersResponse { runners, last_position, unreachable, left_out } = response;
        let runners: Result<Vec<Runner>, Invalid> =
            runners.into_iter().map(Runner::try_from).collect();
        let runners = runners.map_err(|why| not_understood(&why.to_string()))?;
        Ok(Runners { runners, last_position, unreachable, left_out })
    }
}
