//! Steps of appends and reads that need no cluster, each on its own, so that their cost can be measured.

use bytes::Bytes;
use prost::Message;
use quorate_proto::Invalid;
use quorate_proto::wire::v1;
use quorate_store::{Fault, Scan};

use super::append::EncodedRequest;
use super::read;

/// Takes the appends of a session's message as far as admission; returns how many bytes admission counts for them.
pub(crate) fn accept(message: Bytes) -> Result<usize, Invalid> {
    let message = v1::AppendSessionRequest::decode(message);
    let message = message.map_err(|error| Invalid::new("message", error.to_string()))?;
    let mut bytes = 0;
    for append in message.appends {
        bytes += EncodedRequest::try_from(append.request)?.size();
    }
    Ok(bytes)
}

/// Reads a scan to its end and passes on the bytes of each message of the answer; returns the number of events.
pub(crate) fn answer(scan: Box<Scan>, mut pass_on: impl FnMut(Vec<u8>)) -> Result<usize, Fault> {
    let mut rest = Some(scan);
    let mut count = 0;
    while rest.is_some() {
        let (events, messages) = read::next_messages(&mut rest)?;
        messages.iter().for_each(|message| pass_on(message.encode_to_vec()));
        count += events as usize;
    }
    Ok(count)
}
