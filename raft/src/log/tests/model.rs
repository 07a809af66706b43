//! Random operations against a list of entries, with restarts in between.

use proptest::prelude::*;
use quorate_store::vfs::Survival;

use super::*;

fn step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![
        8 => 0..700_usize,
        3 => 700..9000_usize,
        1 => 20_000..90_000_usize,
    ];
    prop_oneof![
        6 => prop::collection::vec(length, 1..5).prop_map(Step::Append),
        1 => Just(Step::Vote),
        1 => (0..9_u64).prop_map(Step::Truncate),
        2 => (0..9_u64).prop_map(Step::Commit),
        2 => (0..20_u64).prop_map(Step::Purge),
        1 => (0..3_u64).prop_map(Step::PurgeBeyond),
        1 => Just(Step::Remember),
        4 => Just(Step::Write),
        4 => Just(Step::Sync),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_log_holds_what_a_list_would_hold(
        lives in prop::collection::vec(prop::collection::vec(step(), 0..60), 1..5),
        cache_bytes in prop_oneof![Just(0_usize), Just(10_000), Just(usize::MAX)],
    ) {
        let vfs = MemVfs::new();
        let mut model = Model::default();
        for life in lives {
            let options = LogOptions { cache_bytes, ..options() };
            let (log, mut writer) = open_with(&vfs, options).expect("opens");
            prop_assert!(model.is_held_by(&log));
            let mut run = Run::new(model);
            for step in life {
                run.go(std::slice::from_ref(&step), &log, &mut writer);
                prop_assert!(run.states.last().expect("a state").is_held_by(&log), "{step:?}");
            }
            // The log ends cleanly: all handles are dropped, and the writer writes the rest and the marks.
            drop(log);
            while writer.wait() {
                pump(&mut writer).expect("the disk is well");
            }
            drop(writer);
            vfs.restart(Survival::Nothing);
            let report = verify(&vfs, &directory(), &super::options()).expect("it is whole");
            model = run.states.pop().expect("a state");
            prop_assert_eq!(report.entries, model.entries.len() as u64);
            prop_assert_eq!(report.last, model.last);
        }
    }
}
