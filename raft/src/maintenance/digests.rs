//! The digests of outcomes, which replicas compare to see that the same entries had the same outcomes.
//!
//! Replicas that apply the same entries must come to the same outcomes, or the log means something else on each
//! of them. Nothing in Raft would notice a bit that flips in memory, a disk that lies, or a build that computes
//! otherwise. So each replica chains a digest over (log index, outcome) and asks the others for theirs at the same
//! index, once a second while anything is applied. A replica stops if a majority of voters contradicts it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use quorate_proto::wire::peer::v1;

use crate::failure::Failure;
use crate::host::Host;
use crate::machine::{Core, Progress};
use crate::peers::{Peers, wire};
use crate::raft::Raft;

/// The time after which the others are asked for an entry's digest, so that they have applied the entry, too.
const ASK_AFTER: Duration = Duration::from_secs(1);

/// The result of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Finding {
    /// A majority has the same digest as this node, and no answer contradicts it.
    Alike,
    /// No answer contradicts this node's digest, but too few nodes answered.
    Unopposed,
    /// A majority has the same digest as this node; the listed nodes have another.
    OddOnes(Vec<u64>),
    /// A majority has another digest than this node.
    OddOneHere,
    /// The digests differ, and no majority has the same one.
    Undecided,
}

/// Compares this node's digest with those of others. A digest has a majority if it has one in each configuration, as for
/// Raft itself; learners are compared, and do not count.
fn judge(
    (node, own): (u64, u128),
    others: &BTreeMap<u64, u128>,
    configs: &[BTreeSet<u64>],
) -> Finding {
    let odd: Vec<u64> =
        others.iter().filter(|(_, theirs)| **theirs != own).map(|(node, _)| *node).collect();
    let mut nodes_of: BTreeMap<u128, Vec<u64>> = BTreeMap::new();
    for (node, digest) in others.iter().chain([(&node, &own)]) {
        nodes_of.entry(*digest).or_default().push(*node);
    }
    let is_majority = |nodes: &[u64]| {
        configs.iter().all(|voters| {
            nodes.iter().filter(|node| voters.contains(node)).count() > voters.len() / 2
        })
    };
    match nodes_of.into_iter().find(|(_, nodes)| is_majority(nodes)) {
        Some((digest, _)) if digest == own && odd.is_empty() => Finding::Alike,
        None if odd.is_empty() => Finding::Unopposed,
        Some((digest, _)) if digest == own => Finding::OddOnes(odd),
        Some(_) => Finding::OddOneHere,
        None => Finding::Undecided,
    }
}

/// The comparison of this node's digests with those of the others.
pub(crate) struct Comparison<H: Host> {
    pub(crate) core: Arc<Core<H>>,
    pub(crate) raft: Raft<H>,
    pub(crate) peers: Arc<Peers<H>>,
    pub(crate) failure: Failure,
}

impl<H: Host> Comparison<H> {
    /// Compares digests, once a second while anything is applied, until the node ends.
    pub(crate) async fn run(self) {
        let mut progress = self.core.progress();
        let mut compared = None;
        let mut shown = Finding::Alike;
        loop {
            let is_new = |progress: &Progress| progress.applied.map(|id| id.index.0) > compared;
            // While the replicas are undecided, the others are asked again even if nothing new was applied.
            if shown != Finding::Undecided && progress.wait_for(is_new).await.is_err() {
                return;
            }
            let Some((index, digest)) = self.core.digests().newest() else { return };
            tokio::time::sleep(ASK_AFTER).await;
            let mut finding = self.ask(index, digest).await;
            // If the nodes that contradicted are silent now, that settles nothing.
            if finding == Finding::Unopposed && shown == Finding::Undecided {
                finding = Finding::Undecided;
            }
            self.show(index, &shown, &finding);
            if finding == Finding::OddOneHere {
                return;
            }
            compared = Some(index);
            shown = finding;
        }
    }

    /// Asks all other nodes for the digest at an index.
    async fn ask(&self, index: u64, own: u128) -> Finding {
        let membership = self.raft.membership();
        let others = self.raft.others();
        let answers = others.iter().map(|(node, addresses)| async {
            let link = self.peers.link(*node, addresses);
            let answer = link.unary(self.peers.deadline(), |origin, mut client| async move {
                client.digest(v1::DigestRequest { origin: Some(origin), index }).await
            });
            let digest = wire::from_digest(&answer.await.ok()?.digest)?;
            Some((*node, digest))
        });
        let answers = join_all(answers).await.into_iter().flatten().collect();
        judge((self.raft.node(), own), &answers, membership.membership().get_joint_config())
    }

    /// Logs a new finding and shows a disagreement in the status; ends the node if a majority contradicts it.
    fn show(&self, index: u64, before: &Finding, finding: &Finding) {
        let mut disagreement = None;
        match finding {
            Finding::Alike | Finding::Unopposed => {}
            Finding::OddOnes(nodes) if before != finding => {
                let mut list = String::new();
                for node in nodes {
                    let comma = if list.is_empty() { "" } else { ", " };
                    let _infallible = write!(list, "{comma}{node}");
                }
                tracing::error!(
                    "at log index {index} the same entries came to something else on node {list} than on a \
                     majority; it will stop by itself, and must not start with its folder again"
                );
            }
            Finding::OddOnes(_) => {}
            Finding::OddOneHere => self.failure.report(format!(
                "at log index {index} the same entries came to something else on this node than on a majority of \
                 the cluster: what it holds is wrong. Set its folder aside for whoever looks into it, \
                 check its memory and its disk, and put a new node in its place with `quorate cluster replace`"
            )),
            Finding::Undecided => {
                let why = format!(
                    "at log index {index} the same entries came to something else on different nodes, and no \
                     majority agrees: nobody knows what is right; stop writing, and compare backups"
                );
                if before != finding {
                    tracing::error!("{why}");
                }
                disagreement = Some(why);
            }
        }
        self.core.health.send_if_modified(|health| {
            let changed = health.disagreement != disagreement;
            health.disagreement = disagreement;
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(own: (u64, u128), others: &[(u64, u128)], configs: &[&[u64]]) -> Finding {
        let configs: Vec<BTreeSet<u64>> =
            configs.iter().map(|voters| voters.iter().copied().collect()).collect();
        judge(own, &others.iter().copied().collect(), &configs)
    }

    #[test]
    fn the_one_that_a_majority_contradicts_is_the_odd_one() {
        let three = |own, others: &[_]| judged(own, others, &[&[1, 2, 3]]);
        assert_eq!(three((1, 1), &[]), Finding::Unopposed, "nobody answers");
        assert_eq!(three((1, 1), &[(2, 1)]), Finding::Alike);
        let five = judged((1, 1), &[(2, 1)], &[&[1, 2, 3, 4, 5]]);
        assert_eq!(five, Finding::Unopposed, "two of five");
        let two_others = [(2, 2), (3, 2)];
        assert_eq!(three((1, 1), &two_others), Finding::OddOneHere);
        assert_eq!(three((4, 1), &two_others), Finding::OddOneHere, "a learner");
        assert_eq!(three((1, 1), &[(2, 1), (3, 2)]), Finding::OddOnes(vec![3]));
        assert_eq!(three((1, 1), &[(2, 2)]), Finding::Undecided, "one does not answer");
        assert_eq!(judged((1, 1), &[(2, 2)], &[&[1, 2]]), Finding::Undecided);
        assert_eq!(three((1, 1), &[(2, 2), (3, 3)]), Finding::Undecided);
        // Learners are compared, but do not count towards a majority.
        let learners = [(2, 1), (4, 2), (5, 2)];
        assert_eq!(three((1, 1), &learners), Finding::OddOnes(vec![4, 5]));
        assert_eq!(three((1, 1), &[(4, 2), (5, 2)]), Finding::Undecided);
    }

    #[test]
    fn while_the_voters_change_a_majority_is_one_of_each_configuration() {
        let both = |own, others: &[_]| judged(own, others, &[&[1, 2, 3], &[3, 4, 5]]);
        // The nodes of one configuration alone must not stop those of the other.
        assert_eq!(both((1, 1), &[(3, 2), (4, 2), (5, 2)]), Finding::Undecided);
        assert_eq!(both((1, 1), &[(2, 2), (3, 2), (4, 2)]), Finding::OddOneHere);
        assert_eq!(both((1, 1), &[(2, 1), (4, 1), (5, 1), (3, 2)]), Finding::OddOnes(vec![3]));
    }
}
