//! The reports of projections and process managers on how far they are: held in memory, and listed on request.

mod board;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::runners_client::RunnersClient;
use quorate_proto::wire::v1::runners_server::Runners;
use quorate_proto::{Position, Problem, Runner, RunnerReport};
use quorate_raft::host::Host;
use quorate_raft::{Member, Replica, transport};
use tokio::time::{Instant, timeout};
use tonic::{Request, Response, Status};

use board::{Board, merged};

/// A member that does not answer by then is named as unreachable.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

/// The reports of runners that this node received.
#[derive(Debug, Default)]
pub(crate) struct RunnerReports(Mutex<Board>);

impl RunnerReports {
    /// Returns the newest report of each runner that reported to this node.
    pub(crate) fn runners(&self) -> Vec<Runner> {
        self.with(|board| board.runners(Instant::now()))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Board) -> T) -> T {
        // No code that holds the lock can leave the board half changed.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The service that takes and lists the reports of runners.
pub(crate) struct RunnersService<H: Host> {
    pub(crate) replica: Replica<H>,
    pub(crate) runner_reports: Arc<RunnerReports>,
}

/// The answer of one node: the runners that reported to it, and the newest position of its log.
struct NodeAnswer {
    runners: Vec<Runner>,
    last_position: u64,
}

#[tonic::async_trait]
impl<H: Host> Runners for RunnersService<H> {
    async fn report_runner(
        &self,
        request: Request<v1::ReportRunnerRequest>,
    ) -> Result<Response<v1::ReportRunnerResponse>, Status> {
        let report = RunnerReport::try_from(request.into_inner().report).map_err(Problem::from)?;
        let last_position = self.last_position();
        self.runner_reports.with(|board| board.receive(report, Instant::now(), last_position));
        Ok(Response::new(v1::ReportRunnerResponse {}))
    }

    async fn list_runners(
        &self,
        request: Request<v1::ListRunnersRequest>,
    ) -> Result<Response<v1::ListRunnersResponse>, Status> {
        let last_position = self.last_position().0;
        let mut answers =
            vec![NodeAnswer { runners: self.runner_reports.runners(), last_position }];
        let mut unreachable = Vec::new();
        if !request.into_inner().only_self {
            let known = self.replica.status().borrow().clone();
            let others = known.members.iter().filter(|member| Some(member.id) != known.id);
            let asked = others.map(|member| async move { (member, self.ask(member).await) });
            for (member, answer) in join_all(asked).await {
                match answer {
                    Some(answer) => answers.push(answer),
                    None => unreachable.push(member.client_address.clone()),
                }
            }
        }
        let last_position =
            answers.iter().map(|answer| answer.last_position).max().unwrap_or_default();
        let (runners, left_out) =
            merged(answers.into_iter().flat_map(|answer| answer.runners).collect());
        let runners = runners.into_iter().map(v1::Runner::from).collect();
        Ok(Response::new(v1::ListRunnersResponse { runners, last_position, unreachable, left_out }))
    }
}

impl<H: Host> RunnersService<H> {
    /// Returns the newest position that is applied on this node.
    fn last_position(&self) -> Position {
        self.replica.reader().map(|reader| reader.point().position).unwrap_or_default()
    }

    /// Asks a member for the runners that reported to it; returns none if it does not answer in time.
    async fn ask(&self, member: &Member) -> Option<NodeAnswer> {
        let asking = async {
            let channel = transport::channel(self.replica.host(), &member.client_address).ok()?;
            let request = v1::ListRunnersRequest { only_self: true };
            let answer = RunnersClient::new(channel).list_runners(request).await.ok()?.into_inner();
            // A runner that this node does not understand comes from a newer build, and is left out.
            let runners = answer.runners.into_iter().filter_map(|runner| runner.try_into().ok());
            Some(NodeAnswer { runners: runners.collect(), last_position: answer.last_position })
        };
        timeout(ANSWERED_WITHIN, asking).await.ok().flatten()
    }
}
