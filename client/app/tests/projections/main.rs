//! Projections over a scripted log, on every store: exactly once and in order, despite crashes, losses and refusals.

mod ahead;
mod failing;
mod faulty;
mod handlers;
mod harness;
mod kit;
#[cfg(feature = "postgres")]
mod on_postgres;
#[cfg(feature = "redis")]
mod on_redis;
mod on_sqlite;
mod once;
mod owners;
mod partitions;
mod poisoned;
mod reached;
mod rebuilds;
mod script;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod server;

use kit::{MemoryKit, SqliteKit};

/// Runs the tests of some modules on one store. `$kit` makes a kit, or is `None` if the server is not installed.
macro_rules! on {
    ($store:ident, $kit:expr, $($module:ident: [$($test:ident),* $(,)?]),* $(,)?) => {
        mod $store {
            use super::*;

            $($(
                #[test]
                fn $test() {
                    if let Some(kit) = $kit {
                        harness::run($module::$test(kit));
                    }
                }
            )*)*
        }
    };
}

macro_rules! suite {
    ($store:ident, $kit:expr) => {
        on!(
            $store,
            $kit,
            once: [
                every_event_is_applied_once_and_in_order,
                a_kill_at_any_point_neither_loses_nor_repeats,
                a_lost_answer_neither_loses_nor_repeats,
                the_bookmark_moves_while_nothing_matches,
                set_up_that_fails_leaves_nothing,
            ],
            owners: [
                a_second_process_is_refused_and_a_standby_takes_over,
                a_step_is_the_owners_alone_and_begins_at_the_bookmark,
                a_changed_definition_is_refused,
            ],
            failing: [
                an_event_that_fails_now_and_then_is_tried_again,
                an_event_that_fails_stops_the_projection_before_it,
                an_event_that_fails_is_parked_and_replayed_after_the_fix,
            ],
            partitions: [
                partitions_keep_the_order_of_each_stream,
                partitions_by_key_keep_the_order_of_each_key,
                another_number_of_partitions_begins_at_one_position,
            ],
            rebuilds: [
                a_model_is_rebuilt_beside_the_live_one_and_swapped,
                an_interrupted_rebuild_leaves_the_live_model_and_is_resumed,
                a_rebuild_killed_at_any_point_leaves_one_whole_model,
                a_new_version_rebuilds_when_requested,
            ],
            poisoned: [
                a_retried_event_is_applied_once_wherever_the_store_fails,
                a_stop_at_an_event_skips_nothing_wherever_the_store_fails,
                a_parked_event_is_the_only_one_skipped_wherever_the_store_fails,
                nothing_is_parked_beyond_the_limit_though_an_answer_is_lost,
            ]
        );
    };
}

suite!(memory, Some(MemoryKit::new()));
suite!(sqlite, Some(SqliteKit::new()));
#[cfg(feature = "postgres")]
suite!(postgres, kit::PostgresKit::new());
#[cfg(feature = "redis")]
suite!(redis, kit::RedisKit::new());
