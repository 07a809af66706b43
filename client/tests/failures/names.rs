//! Lists go on when the node that served them is lost.

use crate::fake::{List, Node, client};
use quorate_client::{ErrorKind, Version};
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::consistency::Level;
use tonic::Status;

async fn send(list: &List, as_of: u64, names: &[&str], after: &str, end: bool) {
    let listed = |name: &&str| v1::ListedName {
        name: (*name).to_owned(),
        events: Some(2),
        version: 3,
        first_version: 2,
        closed: false,
    };
    let names = names.iter().map(listed).collect();
    let message = v1::ListNamesResponse { as_of, names, after: after.to_owned(), end };
    list.answers.send(Ok(message)).await.expect("the client listens");
}

#[tokio::test]
async fn a_lost_list_goes_on_at_another_node_after_the_last_name() {
    let (mut first, mut second) = (Node::start().await, Node::start().await);
    let client = client(&[&first, &second], |builder| builder);
    let collecting =
        tokio::spawn(client.streams().of_category("order").after("o").limit(4).collect());
    let list = first.list().await;
    assert_eq!((list.request.after.as_str(), list.request.limit), ("o", Some(4)));
    send(&list, 40, &["order-1", "order-2"], "order-2", false).await;
    // The node found no name for a while.
    send(&list, 41, &[], "order-7", false).await;
    list.answers.send(Err(Status::unavailable("gone"))).await.expect("the client listens");

    let list = second.list().await;
    assert_eq!((list.request.after.as_str(), list.request.limit), ("order-7", Some(2)));
    let level = list.request.consistency.as_ref().and_then(|consistency| consistency.level);
    assert_eq!(level, Some(Level::AtLeast(41)));
    send(&list, 50, &["order-8"], "order-9", true).await;
    let names = collecting.await.expect("it ran").expect("a list");
    let found: Vec<&str> = names.iter().map(|listed| listed.name.as_str()).collect();
    assert_eq!(found, ["order-1", "order-2", "order-8"]);
    let stream = names[0].stream.expect("a stream");
    assert_eq!(names[0].events, Some(2));
    assert_eq!((stream.version, stream.first_version), (Version(3), Version(2)));
}

#[tokio::test]
async fn a_list_that_goes_back_is_not_believed() {
    let (mut first, mut second) = (Node::start().await, Node::start().await);
    let client = client(&[&first, &second], |builder| builder);
    let collecting = tokio::spawn(client.types().collect());
    let list = first.list().await;
    send(&list, 40, &["Paid", "Opened"], "Paid", true).await;
    let list = second.list().await;
    assert_eq!(list.request.after, "");
    send(&list, 40, &["Opened", "Paid"], "Paid", true).await;
    assert_eq!(collecting.await.expect("it ran").expect("a list").len(), 2);

    for never_sent in [client.types().in_path("acme"), client.streams().of_category("a/b")] {
        let refused = never_sent.collect().await.expect_err("it cannot be");
        assert_eq!(refused.kind, ErrorKind::Invalid, "{refused:?}");
    }
}
