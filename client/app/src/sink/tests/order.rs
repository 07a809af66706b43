//! Many streams at once, each in order; what fails comes again, and a stop finishes what is under way.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::Mutex;
use std::time::Duration;

use quorate_client::RecordedEvent;
use tokio::sync::Notify;

use crate::sink::error::SinkError;
use crate::sink::runner::{Bounded, Sink, drive};
use crate::sink::tests::group::{Group, events};

/// Takes a while, fails now and then, and holds that no stream is with it twice at once.
#[derive(Default)]
struct Slow {
    busy: Mutex<BTreeSet<String>>,
    most: Mutex<usize>,
    delivered: Mutex<BTreeMap<String, Vec<u64>>>,
    failed: Mutex<BTreeSet<u64>>,
}

impl Sink for Slow {
    async fn deliver(&self, event: &RecordedEvent) -> Result<(), SinkError> {
        let stream = event.stream.to_string();
        {
            let mut busy = self.busy.lock().expect("no panic");
            assert!(busy.insert(stream.clone()), "{stream} is here already");
            let mut most = self.most.lock().expect("no panic");
            *most = busy.len().max(*most);
        }
        tokio::time::sleep(Duration::from_millis(event.position.0 % 7)).await;
        self.busy.lock().expect("no panic").remove(&stream);
        if event.position.0.is_multiple_of(10) {
            return Err(SinkError::poison("of no use"));
        }
        if event.position.0.is_multiple_of(3)
            && self.failed.lock().expect("no panic").insert(event.position.0)
        {
            return Err(SinkError::retry("not now"));
        }
        let mut delivered = self.delivered.lock().expect("no panic");
        delivered.entry(stream).or_default().push(event.version.0);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn streams_go_beside_each_other_and_each_in_order() {
    let sink = Slow::default();
    let (group, settled) = Group::of(events(200, 8), 5);
    drive(&sink, group, pending()).await.expect("it ends when all is settled");
    let settled = settled.lock().expect("no panic");
    assert!(settled.is_closed);
    assert_eq!(settled.acknowledged.len() + settled.parked.len(), 200);
    assert_eq!(settled.parked.len(), 20);
    assert_eq!(settled.parked[&10], "of no use");
    assert!(*sink.most.lock().expect("no panic") > 4, "they did not go beside each other");
    let delivered = sink.delivered.lock().expect("no panic");
    assert_eq!(delivered.len(), 8);
    for (stream, versions) in delivered.iter() {
        assert!(versions.is_sorted(), "{stream}: {versions:?}");
    }
}

/// Reports when it has begun, and waits to be let go.
#[derive(Default)]
struct Held {
    began: Notify,
    go_on: Notify,
}

impl Sink for Held {
    async fn deliver(&self, _: &RecordedEvent) -> Result<(), SinkError> {
        self.began.notify_one();
        self.go_on.notified().await;
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_finishes_what_is_under_way_and_begins_nothing() {
    let sink = Held::default();
    let (group, settled) = Group::of(events(3, 1), 5);
    let stop = Notify::new();
    let steps = async {
        sink.began.notified().await;
        stop.notify_one();
        tokio::task::yield_now().await;
        sink.go_on.notify_one();
    };
    let (driven, ()) = tokio::join!(drive(&sink, group, stop.notified()), steps);
    driven.expect("it stops");
    let settled = settled.lock().expect("no panic");
    assert_eq!(settled.acknowledged, [1]);
    assert!(settled.is_closed);
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_hangs_is_ended_and_has_failed_and_the_next_of_its_stream_goes_on() {
    let longest = Duration::from_secs(60 * 60);
    let sink = Bounded { sink: Held::default(), longest };
    let (group, settled) = Group::of(events(2, 1), 1);
    let steps = async {
        sink.sink.began.notified().await;
        sink.sink.began.notified().await;
        sink.sink.go_on.notify_one();
    };
    let (driven, ()) = tokio::join!(drive(&sink, group, pending()), steps);
    driven.expect("it ends when all is settled");
    let settled = settled.lock().expect("no panic");
    assert_eq!(settled.parked[&1], "the delivery took longer than 3600s");
    assert_eq!(settled.acknowledged, [2]);
}
