//! The join token of a cluster: a node on an empty folder that was started with it is taken in by that cluster alone.
//!
//! The token holds the cluster's secret, which every member has and which is not sent when a node is taken in: the
//! member proves that it knows the secret by a code over a number that the waiting node drew (HMAC, RFC 2104).

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use uuid::Uuid;

use super::Identity;

/// A secret that is drawn once, when a cluster is founded; its members and those who have a join token know it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct JoinSecret(pub(crate) [u8; 16]);

impl fmt::Debug for JoinSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinSecret")
    }
}

/// The token by which a waiting node knows the cluster that may take it in. Whoever has it can pass for a member towards
/// such a node, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinToken {
    pub(crate) cluster: [u8; 16],
    pub(crate) secret: JoinSecret,
}

/// The text is no join token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "that is no join token: `quorate cluster token` prints one, two numbers of 32 digits with a hyphen between them"
)]
pub struct NoJoinToken;

impl JoinToken {
    /// Returns the proof of a member that it may give a node this identity; `drawn` is the number that the node drew.
    pub(crate) fn proof(&self, drawn: &[u8; 16], identity: &Identity) -> [u8; 32] {
        self.code(drawn, identity).finalize().into_bytes().into()
    }

    /// Returns true if the proof is a member's. It takes the same time whatever the proof is.
    pub(crate) fn is_proof(&self, proof: &[u8], drawn: &[u8; 16], identity: &Identity) -> bool {
        identity.cluster == self.cluster && self.code(drawn, identity).verify_slice(proof).is_ok()
    }

    fn code(&self, drawn: &[u8; 16], identity: &Identity) -> Hmac<Sha256> {
        let mut code =
            Hmac::<Sha256>::new_from_slice(&self.secret.0).expect("a key of any length will do");
        code.update(b"quorate adopts a node");
        code.update(drawn);
        code.update(&identity.cluster);
        code.update(&identity.log.to_le_bytes());
        code.update(&identity.node.to_le_bytes());
        code.update(&identity.chunk_bytes.to_le_bytes());
        code
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [cluster, secret] = [self.cluster, self.secret.0].map(Uuid::from_bytes);
        write!(f, "{}-{}", cluster.simple(), secret.simple())
    }
}

impl FromStr for JoinToken {
    type Err = NoJoinToken;

    fn from_str(text: &str) -> Result<JoinToken, NoJoinToken> {
        let (cluster, secret) = text.split_once('-').ok_or(NoJoinToken)?;
        let number = |digits: &str| match digits.len() {
            32 => Uuid::try_parse(digits).map(Uuid::into_bytes).map_err(|_| NoJoinToken),
            _ => Err(NoJoinToken),
        };
        Ok(JoinToken { cluster: number(cluster)?, secret: JoinSecret(number(secret)?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        let secret = JoinSecret([3; 16]);
        Identity { cluster: [7; 16], log: 0, node: 4, chunk_bytes: 1 << 26, secret }
    }

    #[test]
    fn a_token_is_what_was_printed_and_shows_nothing_in_debug_output() {
        let token = identity().join_token();
        assert_eq!(token.to_string().parse(), Ok(token));
        assert!(!format!("{:?}", identity()).contains("3, 3"), "{:?}", identity());
        for text in ["", "-", "07", &token.to_string()[1..], &format!("{token}0"), "g-g"] {
            assert_eq!(text.parse::<JoinToken>(), Err(NoJoinToken), "{text}");
        }
    }

    #[test]
    fn only_a_member_of_the_tokens_cluster_proves_that_it_may_give_that_identity() {
        let (token, drawn) = (identity().join_token(), [9; 16]);
        let proof = token.proof(&drawn, &identity());
        assert!(token.is_proof(&proof, &drawn, &identity()));
        assert!(!token.is_proof(&proof, &[8; 16], &identity()), "a proof that was heard before");
        assert!(!token.is_proof(&proof[1..], &drawn, &identity()));
        assert!(!token.is_proof(&proof, &drawn, &Identity { node: 5, ..identity() }));
        let other = Identity { cluster: [6; 16], ..identity() };
        let theirs = other.join_token();
        assert!(!token.is_proof(&theirs.proof(&drawn, &other), &drawn, &other));
        let liar = JoinToken { secret: JoinSecret([4; 16]), ..token };
        assert!(!token.is_proof(&liar.proof(&drawn, &identity()), &drawn, &identity()));
    }
}
