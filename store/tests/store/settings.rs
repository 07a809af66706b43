//! Tests that the old limits of a scope are kept, and that their number is bounded.

use quorate_proto::limits::LIMITS_KEPT_MAX;
use quorate_proto::{ChangeKind, Expectation, Scope, Setting, SettingsChange};
use quorate_store::vfs::Survival;
use quorate_store::{Rejection, Verdict};

use crate::support::{Ask, World, append, category, command_of, id, stream};

fn count(world: &mut World, scope: &Scope, number: u64, max_count: u64) -> Verdict {
    let settings = SettingsChange { max_count: Setting::Put(max_count), ..Default::default() };
    let kind = ChangeKind::Settings(settings);
    let ask = Ask::change(scope.clone(), Expectation::Any, id(number), kind);
    world.apply(command_of(1, &[ask])).remove(0)
}

#[test]
fn more_changes_of_limits_than_are_kept_are_refused_until_what_they_hid_is_gone_otherwise() {
    let mut world = World::new(100_000);
    let of_stream = Scope::Stream(stream("order-1"));
    let of_category = Scope::Category(category("order"));
    world.append(1, &[append("order-1", Expectation::Any, &[1])]);
    let mut number = 10;
    for scope in [&of_stream, &of_category] {
        // The first change ends the time without a limit, which counts as a limit, too.
        for change in 0..LIMITS_KEPT_MAX as u64 {
            number += 1;
            let verdict = count(&mut world, scope, number, 5 + change % 2);
            assert!(matches!(verdict, Verdict::Appended(_)), "{change}: {verdict:?}");
        }
        for change in 0..3 {
            number += 1;
            let refused = Verdict::Rejected(Rejection::LimitsFull(scope.clone()));
            assert_eq!(count(&mut world, scope, number, 7 + change), refused);
        }
        // A change to the present limit ends no limit.
        number += 1;
        let verdict = count(&mut world, scope, number, 6);
        assert!(matches!(verdict, Verdict::Appended(_)), "{verdict:?}");
    }
    world.seal();
    let digest = world.store.digest();
    world.restart(Survival::Everything);
    assert_eq!(world.store.digest(), digest, "it is a function of the log");
    let delete = Ask::change(of_stream.clone(), Expectation::Any, id(5), ChangeKind::Delete);
    world.apply(command_of(1, &[delete]));
    let before = Some(world.store.position().0);
    let settings = SettingsChange { truncate_before: before, ..Default::default() };
    let kind = ChangeKind::Settings(settings);
    let truncate = Ask::change(of_category.clone(), Expectation::Any, id(7), kind);
    world.apply(command_of(1, &[truncate]));
    for (scope, number) in [(&of_stream, 6), (&of_category, 8)] {
        let verdict = count(&mut world, scope, number, 9);
        assert!(matches!(verdict, Verdict::Appended(_)), "{verdict:?}");
    }
}
