//! The judgement whether a change of the voters leaves a majority that can be reached.

use std::collections::BTreeSet;

use crate::error::ChangeError;

/// Returns an error if the voters after a change could not form a majority of those in reach.
pub(super) fn check_majority(
    voters: &BTreeSet<u64>,
    is_in_reach: impl Fn(u64) -> bool,
) -> Result<(), ChangeError> {
    if voters.is_empty() {
        let why = "it is the only voter: a cluster without voters decides nothing";
        return Err(ChangeError::Refused(why.to_owned()));
    }
    let in_reach = voters.iter().filter(|voter| is_in_reach(**voter)).count();
    let needed = voters.len() / 2 + 1;
    if in_reach < needed {
        let away: Vec<String> = voters
            .iter()
            .filter(|voter| !is_in_reach(**voter))
            .map(|voter| format!("node {voter}"))
            .collect();
        return Err(ChangeError::Refused(format!(
            "of the {} voters that it would leave, {needed} must be in reach, and only {in_reach} are: the leader does not \
             hear {}",
            voters.len(),
            away.join(", ")
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_would_lose_the_majority_is_refused_with_the_nodes_that_are_away() {
        let judge = |voters: &[u64], heard: &[u64]| {
            check_majority(&voters.iter().copied().collect(), |voter| heard.contains(&voter))
        };
        assert_eq!(judge(&[1], &[1]), Ok(()));
        assert_eq!(judge(&[1, 2, 3], &[1, 2]), Ok(()));
        assert_eq!(judge(&[1, 2, 3, 4, 5], &[1, 2, 5]), Ok(()));
        let lost = [(&[1, 2][..], &[1][..]), (&[1, 2, 3, 4], &[1, 2]), (&[], &[1])];
        for (voters, heard) in lost {
            assert!(judge(voters, heard).is_err(), "{voters:?} {heard:?}");
        }
        let why = judge(&[1, 2], &[1]).expect_err("refused").to_string();
        assert!(why.contains("2 must be in reach, and only 1 are"), "{why}");
        assert!(why.contains("does not hear node 2"), "{why}");
    }
}
