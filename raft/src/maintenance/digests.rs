//! The digests of outcomes, which replicas compare to see that the same entries had the same outcomes.
//!
//! Replicas that apply the same entries must come to the same outcomes, or the log means something else on each
//! of them. Nothing in Raft would notice a bit that flips in memory, a disk that lies, or a build that computes
//! otherwise. So each replica chains a digest over (log index, outcome) and asks the others for theirs at the same
//! index, once a second while anything is applied. A replica stops if a majority of voters contradicts it.

use std::collections::BTreeMap;
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

/// Compares this node's digest with those of others; `voters` is the number of voters, and only digests of voters
/// count towards a majority.
fn judge(
    (own, is_voter): (u128, bool),
    others: &BTreeMap<u64, (u128, bool)>,
    voters: usize,
) -> Finding {
    let odd: Vec<u64> =
        others.iter().filter(|(_, (theirs, _))| *theirs != own).map(|(node, _)| *node).collect();
    let mut counts: BTreeMap<u128, usize> = BTreeMap::new();
    for (digest, is_voter) in others.values().copied().chain([(own, is_voter)]) {
        *counts.entry(digest).or_default() += usize::from(is_voter);
    }
    match counts.into_iter().find(|(_, count)| *count > voters / 2) {
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
        let voters: Vec<u64> = self.raft.membership().voter_ids().collect();
        let others = self.raft.others();
        let answers = others.iter().map(|(node, addresses)| async {
            let link = self.peers.link(*node, addresses);
            let answer = link.unary(self.peers.deadline(), |origin, mut client| async move {
                client.digest(v1::DigestRequest { origin: Some(origin), index }).await
            });
            let digest = wire::from_digest(&answer.await.ok()?.digest)?;
            Some((*node, (digest, voters.contains(node))))
        });
        let answers = join_all(answers).await.into_iter().flatten().collect();
        judge((own, voters.contains(&self.raft.node())), &answers, voters.len())
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
                 check its memory and its disk, and leave it stopped: no command can add a new node in its place yet"
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

    fn others(digests: &[(u64, u128, bool)]) -> BTreeMap<u64, (u128, bool)> {
        digests.iter().map(|(node, digest, is_voter)| (*node, (*digest, *is_voter))).collect()
    }

    #[test]
    fn the_one_that_a_majority_contradicts_is_the_odd_one() {
        let judge = |own, digests: &[_], voters| judge(own, &others(digests), voters);
        assert_eq!(judge((1, true), &[], 3), Finding::Unopposed, "nobody answers");
        assert_eq!(judge((1, true), &[(2, 1, true)], 3), Finding::Alike);
        assert_eq!(judge((1, true), &[(2, 1, true)], 5), Finding::Unopposed, "two of five");
        let two_others = [(2, 2, true), (3, 2, true)];
        assert_eq!(judge((1, true), &two_others, 3), Finding::OddOneHere);
        assert_eq!(judge((1, false), &two_others, 3), Finding::OddOneHere, "a learner");
        let one_other = [(2, 1, true), (3, 2, true)];
        assert_eq!(judge((1, true), &one_other, 3), Finding::OddOnes(vec![3]));
        assert_eq!(judge((1, true), &[(2, 2, true)], 3), Finding::Undecided, "one does not answer");
        assert_eq!(judge((1, true), &[(2, 2, true)], 2), Finding::Undecided);
        assert_eq!(judge((1, true), &[(2, 2, true), (3, 3, true)], 3), Finding::Undecided);
        // Learners are compared, but do not count towards a majority.
        let learners = [(2, 1, true), (4, 2, false), (5, 2, false)];
        assert_eq!(judge((1, true), &learners, 3), Finding::OddOnes(vec![4, 5]));
        assert_eq!(judge((1, true), &[(4, 2, false), (5, 2, false)], 3), Finding::Undecided);
    }
}
