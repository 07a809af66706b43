//! Tests of lists of names: helpers to read them whole, and lists that are longer than one page may cost.

use quorate_proto::{ChangeKind, Version};
use quorate_proto::{
    Expectation, ListEntry, ListRequest, ListTarget, Position, Scope, Setting, SettingsChange,
};
use quorate_store::Reader;

use crate::support::{Ask, World, append, category, command_of, id, write};

/// Reads a list to its end, page by page.
pub(crate) fn list(reader: &Reader, request: &ListRequest) -> Vec<ListEntry> {
    let mut request = request.clone();
    let mut names: Vec<ListEntry> = Vec::new();
    loop {
        let page = reader.names(&request).expect("lists");
        assert_eq!(page.as_of, reader.point().position);
        let found = page.names.len() as u64;
        assert!(found <= request.limit.unwrap_or(u64::MAX));
        request.limit = request.limit.map(|limit| limit - found);
        let before =
            page.names.iter().skip(1).zip(&page.names).all(|(one, before)| one.name > before.name);
        assert!(before, "{:?}", page.names);
        let Some(after) = page.after else {
            names.extend(page.names);
            return names;
        };
        assert!(page.names.iter().all(|named| named.name > request.after && named.name <= after));
        // A page that looks at no name would never end the list.
        assert!(after > request.after || request.limit == Some(0), "{after}");
        names.extend(page.names);
        if request.limit == Some(0) {
            return names;
        }
        request.after = after;
    }
}

/// Returns every kind of list, whole.
pub(crate) fn every_list() -> Vec<ListRequest> {
    let listed =
        [ListTarget::Streams, ListTarget::Categories, ListTarget::Paths, ListTarget::Types];
    let whole =
        |listed| ListRequest { with_system: true, with_removed: true, ..ListRequest::of(listed) };
    listed.map(whole).to_vec()
}

fn names(names: &[ListEntry]) -> Vec<&str> {
    names.iter().map(|named| named.name.as_str()).collect()
}

/// Returns a store with streams `order-…` and one `zebra-1`, where `streams` is more than a page may look at.
fn crowded(streams: u64, chunk_bytes: u64) -> World {
    let mut world = World::new(chunk_bytes);
    for numbers in (0..streams).collect::<Vec<_>>().chunks(50) {
        let mut all = append("zebra-1", Expectation::Any, &[]);
        all.writes = numbers
            .iter()
            .map(|n| write(&format!("order-{n:06}"), Expectation::Any, &[*n]))
            .collect();
        world.append(1, &[all]);
    }
    world.append(1, &[append("zebra-1", Expectation::None, &[streams, streams + 1])]);
    world
}

#[test]
fn a_list_that_costs_more_than_one_page_goes_on_where_it_stopped() {
    const STREAMS: u64 = 25_000;
    for chunk_bytes in [u64::MAX, 200_000] {
        let mut world = crowded(STREAMS, chunk_bytes);
        for _ in 0..2 {
            let all = list(&world.reader(), &ListRequest::of(ListTarget::Streams));
            assert_eq!(all.len() as u64, STREAMS + 1);
            assert!(all.iter().all(|one| one.events == Some(1 + u64::from(one.name == "zebra-1"))));
            let zebras = ListRequest::of(ListTarget::StreamsOf(category("zebra")));
            let first = world.reader().names(&zebras).expect("lists");
            assert!(first.names.is_empty() && first.after.is_some(), "it looked at others");
            assert_eq!(names(&list(&world.reader(), &zebras)), ["zebra-1"]);
            let categories = list(&world.reader(), &ListRequest::of(ListTarget::Categories));
            let counts: Vec<_> = categories.iter().map(|one| one.events).collect();
            assert_eq!(names(&categories), ["order", "zebra"]);
            assert_eq!(counts, [Some(STREAMS), Some(2)]);
            world.seal();
        }
    }
}

#[test]
fn the_names_of_the_system_are_passed_over_in_one_step() {
    let mut world = crowded(6_000, u64::MAX);
    let settings = SettingsChange { max_count: Setting::Put(5), ..SettingsChange::default() };
    for number in 0..6_000 {
        let scope = Scope::Stream(crate::support::stream(&format!("order-{number:06}")));
        let kind = ChangeKind::Settings(settings);
        let change = Ask::change(scope, Expectation::Any, id(100_000 + number), kind);
        world.apply(command_of(2, &[change]));
    }
    let reader = world.reader();
    let first = reader.names(&ListRequest::of(ListTarget::Streams)).expect("lists");
    assert_eq!(first.names.first().map(|one| one.name.as_str()), Some("order-000000"));
    let system = ListRequest { prefix: "$$".into(), ..ListRequest::of(ListTarget::Streams) };
    let found = list(&reader, &system);
    assert_eq!(found.len(), 6_000);
    assert_eq!(found[0].stream.map(|stream| stream.version), Some(Version(1)));
    let whole = ListRequest { with_system: true, ..ListRequest::of(ListTarget::Streams) };
    assert_eq!(list(&reader, &whole).len(), 12_001);
    assert_eq!(first.as_of, Position(12_002));
}
