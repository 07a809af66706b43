//! Repetitions of ids, on every node: the appends that count as repetitions, and their answers.

use quorate_proto::ErrorKind;
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::events_client::EventsClient;
use quorate_proto::wire::v1::expectation::Demand;
use tonic::transport::Channel;

use super::{Cluster, append, problem, read, request, whole_stream};

fn any() -> Demand {
    Demand::Any(v1::Empty {})
}

fn none() -> Demand {
    Demand::None(v1::Empty {})
}

/// Returns an append of events with these ids.
fn batch(stream: &str, demand: Demand, ids: &[u128]) -> v1::Append {
    let mut batch = append(stream, demand, 1);
    let events = ids.iter().flat_map(|id| append(stream, any(), *id).writes.remove(0).events);
    batch.writes[0].events = events.collect();
    batch
}

/// Returns the position of the append's first event, or the kind of the refusal.
async fn send(events: &mut EventsClient<Channel>, append: v1::Append) -> Result<u64, ErrorKind> {
    let answer = events.append(request(append)).await;
    answer.map(|done| done.into_inner().first_position).map_err(|status| problem(&status).kind)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_ids_again_are_never_written_twice() {
    let cluster = Cluster::start().await;
    cluster.leader().await;
    for node in 0..3_usize {
        let mut events = cluster.events(node).await;
        let stream = format!("pay-{node}");
        let ids = |ids: [u128; 3]| ids.map(|id| node as u128 * 100 + id);
        let whole = ids([1, 3, 7]);
        let first = send(&mut events, batch(&stream, none(), &whole)).await.expect("appended");
        // A retry with another expectation, after the version was read again, is a repetition too.
        for demand in [none(), any(), Demand::Exists(v1::Empty {}), Demand::Exactly(3)] {
            let again = send(&mut events, batch(&stream, demand, &whole)).await;
            assert_eq!(again, Ok(first), "{demand:?}");
        }
        let [one, three, seven] = whole;
        for demand in [none(), any(), Demand::Exactly(0), Demand::Exactly(3)] {
            for part in [
                &[seven, three, one] as &[u128],
                &[one, three],
                &[three, seven],
                &[one, three, seven, one + 50],
                &[one + 51, three, one + 52],
            ] {
                let found = send(&mut events, batch(&stream, demand, part)).await;
                assert_eq!(found, Err(ErrorKind::IdReused), "{demand:?}: {part:?}");
            }
            let elsewhere = send(&mut events, batch("elsewhere", demand, &whole)).await;
            assert_eq!(elsewhere, Err(ErrorKind::IdReused), "{demand:?}");
        }
        let (_, found, _) = read(&mut events, whole_stream(&stream)).await.expect("read");
        assert_eq!(found.len(), 3);
    }
    cluster.stop_all().await;
}

/// The leader detects this early, or else it is detected after apply.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_content_under_the_same_ids_is_refused() {
    let cluster = Cluster::start().await;
    cluster.leader().await;
    for node in 0..3_usize {
        let mut events = cluster.events(node).await;
        let (stream, id) = (format!("pay-{node}"), node as u128 + 1);
        let edits: [fn(&mut v1::NewEvent); 3] = [
            |event| event.data = "other".into(),
            |event| event.metadata = "other".into(),
            |event| event.r#type = "Other".into(),
        ];
        let first = send(&mut events, append(&stream, Demand::Exactly(0), id)).await;
        assert!(first.is_ok(), "{first:?}");
        for demand in [any(), none(), Demand::Exactly(0), Demand::Exactly(1)] {
            for edit in edits {
                let mut other = append(&stream, demand, id);
                edit(&mut other.writes[0].events[0]);
                let found = send(&mut events, other).await;
                assert_eq!(found, Err(ErrorKind::IdReused), "{demand:?}");
            }
            assert_eq!(send(&mut events, append(&stream, demand, id)).await, first);
        }
    }
    cluster.stop_all().await;
}
