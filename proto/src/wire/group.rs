//! Consumer groups on the wire.

use super::v1;
use super::v1::settlement::Fate as WireFate;
use crate::group::bounded_reason;
use crate::limits::{
    CONSUMER_WINDOW_DEFAULT, GROUP_CHANGE_POSITIONS_MAX, GROUP_TIMEOUT_MS_MAX, GROUP_WINDOW_MAX,
};
use crate::{
    Fate, GroupDefinition, GroupName, GroupOutcome, GroupRequest, GroupSettings, GroupSummary,
    Invalid, Join, Parked, Position, Query, Selection, Settlement, Strategy,
};

impl From<GroupOutcome> for v1::GroupAnswer {
    fn from(outcome: GroupOutcome) -> v1::GroupAnswer {
        use v1::group_answer::Outcome;
        let (outcome, count) = match outcome {
            GroupOutcome::Done(count) => (Outcome::Done, count),
            GroupOutcome::NotFound => (Outcome::NotFound, 0),
            GroupOutcome::Differs => (Outcome::Differs, 0),
            GroupOutcome::Full => (Outcome::Full, 0),
            GroupOutcome::Stale => (Outcome::Stale, 0),
        };
        v1::GroupAnswer { outcome: outcome.into(), count }
    }
}

impl TryFrom<v1::GroupAnswer> for GroupOutcome {
    type Error = Invalid;

    fn try_from(answer: v1::GroupAnswer) -> Result<GroupOutcome, Invalid> {
        use v1::group_answer::Outcome;
        match Outcome::try_from(answer.outcome) {
            Ok(Outcome::Done) => Ok(GroupOutcome::Done(answer.count)),
            Ok(Outcome::NotFound) => Ok(GroupOutcome::NotFound),
            Ok(Outcome::Differs) => Ok(GroupOutcome::Differs),
            Ok(Outcome::Full) => Ok(GroupOutcome::Full),
            Ok(Outcome::Stale) => Ok(GroupOutcome::Stale),
            Err(_) => Err(Invalid::new("outcome", "is not known")),
        }
    }
}

impl From<GroupSettings> for v1::GroupSettings {
    fn from(settings: GroupSettings) -> v1::GroupSettings {
        let GroupSettings { strategy, timeout_ms, attempts_max, retry_delay_ms, window } = settings;
        let strategy = strategy.as_str().to_owned();
        let retry_delay_ms = Some(retry_delay_ms);
        v1::GroupSettings { strategy, timeout_ms, attempts_max, retry_delay_ms, window }
    }
}

impl TryFrom<Option<v1::GroupSettings>> for GroupSettings {
    type Error = Invalid;

    /// Takes the default of every setting that is not given. The result passed [`GroupSettings::check`].
    fn try_from(settings: Option<v1::GroupSettings>) -> Result<GroupSettings, Invalid> {
        let given = settings.unwrap_or_default();
        let default = GroupSettings::default();
        let strategy = match given.strategy.as_str() {
            "" => default.strategy,
            name => Strategy::parse(name).ok_or_else(|| {
                let known = Strategy::ALL.map(Strategy::as_str).join(", ");
                Invalid::new("strategy", format!("is none of {known}"))
            })?,
        };
        let or = |given: u64, default: u64| if given == 0 { default } else { given };
        let or_short = |given: u32, default: u32| if given == 0 { default } else { given };
        let settings = GroupSettings {
            strategy,
            timeout_ms: or(given.timeout_ms, default.timeout_ms),
            attempts_max: or_short(given.attempts_max, default.attempts_max),
            retry_delay_ms: given.retry_delay_ms.unwrap_or(default.retry_delay_ms),
            window: or_short(given.window, default.window),
        };
        settings.check()?;
        Ok(settings)
    }
}

impl From<GroupRequest> for Option<v1::change_group_request::Change> {
    /// Returns none for the progress of a group, which has no request on the wire.
    fn from(request: GroupRequest) -> Option<v1::change_group_request::Change> {
        use v1::change_group_request::Change;
        Some(match request {
            GroupRequest::Create(GroupDefinition { query, after, settings }) => {
                let (query, settings) = (Some(query.into()), Some(settings.into()));
                Change::Create(v1::GroupDefinition { query, after: after.0, settings })
            }
            GroupRequest::Configure(settings) => Change::Configure(settings.into()),
            GroupRequest::Delete => Change::Delete(v1::Empty {}),
            GroupRequest::Reset(after) => Change::Reset(after.0),
            GroupRequest::Replay(selection) => Change::Replay(selection.into()),
            GroupRequest::Drop(selection) => Change::Drop(selection.into()),
            GroupRequest::Progress(_) => return None,
        })
    }
}

impl TryFrom<Option<v1::change_group_request::Change>> for GroupRequest {
    type Error = Invalid;

    /// The result passed [`GroupRequest::check`].
    fn try_from(change: Option<v1::change_group_request::Change>) -> Result<GroupRequest, Invalid> {
        use v1::change_group_request::Change;
        let change = change.ok_or_else(|| Invalid::new("change", "is missing"))?;
        let request = match change {
            Change::Create(v1::GroupDefinition { query, after, settings }) => {
                let query = Query::try_from(query.unwrap_or_default())?;
                let settings = GroupSettings::try_from(settings)?;
                GroupRequest::Create(GroupDefinition { query, after: Position(after), settings })
            }
            Change::Configure(settings) => GroupRequest::Configure(Some(settings).try_into()?),
            Change::Delete(v1::Empty {}) => GroupRequest::Delete,
            Change::Reset(after) => GroupRequest::Reset(Position(after)),
            Change::Replay(selected) => GroupRequest::Replay(selected.try_into()?),
            Change::Drop(selected) => GroupRequest::Drop(selected.try_into()?),
        };
        request.check()?;
        Ok(request)
    }
}

impl From<Selection> for v1::SelectedParked {
    fn from(selection: Selection) -> v1::SelectedParked {
        match selection {
            Selection::All => v1::SelectedParked { positions: Vec::new(), all: true },
            Selection::Positions(positions) => {
                let positions = positions.into_iter().map(u64::from).collect();
                v1::SelectedParked { positions, all: false }
            }
        }
    }
}

impl TryFrom<v1::SelectedParked> for Selection {
    type Error = Invalid;

    fn try_from(selected: v1::SelectedParked) -> Result<Selection, Invalid> {
        let v1::SelectedParked { positions, all } = selected;
        match (all, positions.is_empty()) {
            (true, true) => Ok(Selection::All),
            (true, false) => Err(Invalid::new("positions", "are given together with `all`")),
            (false, true) => Err(Invalid::new("positions", "are empty")),
            (false, false) => {
                check_count("positions", positions.len())?;
                let mut positions: Vec<Position> = positions.into_iter().map(Position).collect();
                positions.sort_unstable();
                positions.dedup();
                Ok(Selection::Positions(positions))
            }
        }
    }
}

impl TryFrom<v1::FindSettledRequest> for (GroupName, Vec<Position>) {
    type Error = Invalid;

    fn try_from(request: v1::FindSettledRequest) -> Result<(GroupName, Vec<Position>), Invalid> {
        let v1::FindSettledRequest { group, positions, .. } = request;
        check_count("positions", positions.len())?;
        Ok((GroupName::new(group)?, positions.into_iter().map(Position).collect()))
    }
}

impl From<Join> for v1::JoinGroup {
    fn from(join: Join) -> v1::JoinGroup {
        let Join { group, consumer, window, tells_begun } = join;
        v1::JoinGroup { group: group.as_str().to_owned(), consumer, window, tells_begun }
    }
}

impl TryFrom<Option<v1::JoinGroup>> for Join {
    type Error = Invalid;

    /// The result passed [`Join::check`].
    fn try_from(join: Option<v1::JoinGroup>) -> Result<Join, Invalid> {
        let join = join.ok_or_else(|| Invalid::new("join", "is missing in the first message"))?;
        let v1::JoinGroup { group, consumer, window, tells_begun } = join;
        let window = if window == 0 { CONSUMER_WINDOW_DEFAULT } else { window };
        let join = Join { group: GroupName::new(group)?, consumer, window, tells_begun };
        join.check()?;
        Ok(join)
    }
}

impl From<Settlement> for v1::Settlement {
    fn from(settlement: Settlement) -> v1::Settlement {
        let fate = match settlement.fate {
            Fate::Acknowledged => WireFate::Acknowledged(v1::Empty {}),
            Fate::Failed { reason, delay_ms } => {
                WireFate::Failed(v1::settlement::Failure { reason, delay_ms })
            }
            Fate::Parked(reason) => WireFate::Parked(reason),
            Fate::Skipped => WireFate::Skipped(v1::Empty {}),
        };
        v1::Settlement { number: settlement.number, fate: Some(fate) }
    }
}

impl TryFrom<v1::Settlement> for Settlement {
    type Error = Invalid;

    /// Cuts reasons off at their limit.
    fn try_from(settlement: v1::Settlement) -> Result<Settlement, Invalid> {
        let fate = match settlement.fate {
            Some(WireFate::Acknowledged(_)) => Fate::Acknowledged,
            Some(WireFate::Failed(v1::settlement::Failure { reason, delay_ms })) => {
                if let Some(delay) = delay_ms.filter(|delay| *delay > GROUP_TIMEOUT_MS_MAX) {
                    let why = format!("is {delay} ms; at most {GROUP_TIMEOUT_MS_MAX} are allowed");
                    return Err(Invalid::limit("delay", why, GROUP_TIMEOUT_MS_MAX));
                }
                Fate::Failed { reason: bounded_reason(reason), delay_ms }
            }
            Some(WireFate::Parked(reason)) => Fate::Parked(bounded_reason(reason)),
            Some(WireFate::Skipped(_)) => Fate::Skipped,
            None => return Err(Invalid::new("fate", "is missing")),
        };
        Ok(Settlement { number: settlement.number, fate })
    }
}

/// Returns the settlements of a message: no more than a consumer can hold.
pub fn settlements_of(message: Vec<v1::Settlement>) -> Result<Vec<Settlement>, Invalid> {
    check_held("settlements", message.len())?;
    message.into_iter().map(Settlement::try_from).collect()
}

/// Returns the deliveries that a message reports as begun: no more than a consumer can hold.
pub fn begun_of(numbers: Vec<u64>) -> Result<Vec<u64>, Invalid> {
    check_held("begun", numbers.len())?;
    Ok(numbers)
}

fn check_held(field: &'static str, count: usize) -> Result<(), Invalid> {
    let max = GROUP_WINDOW_MAX as usize;
    if count > max {
        let why = format!("are {count}; at most {max} are allowed");
        return Err(Invalid::limit(field, why, max as u64));
    }
    Ok(())
}

impl From<GroupSummary> for v1::Group {
    /// Leaves out the lag and the data that only the leader knows.
    fn from(summary: GroupSummary) -> v1::Group {
        let GroupSummary { name, definition, floor, settled, failed, parked, .. } = summary;
        let GroupDefinition { query, after, settings } = definition;
        v1::Group {
            name: name.as_str().to_owned(),
            query: Some(query.into()),
            after: after.0,
            settings: Some(settings.into()),
            floor: floor.0,
            settled,
            failed,
            parked,
            ..v1::Group::default()
        }
    }
}

impl From<Parked> for v1::ParkedEvent {
    /// Leaves out the event.
    fn from(parked: Parked) -> v1::ParkedEvent {
        let Parked { position, attempts, reason, parked_at } = parked;
        v1::ParkedEvent {
            position: position.0,
            attempts,
            reason,
            parked_at: parked_at.0,
            event: None,
        }
    }
}

fn check_count(field: &'static str, count: usize) -> Result<(), Invalid> {
    if count <= GROUP_CHANGE_POSITIONS_MAX {
        return Ok(());
    }
    let why = format!("are {count}; at most {GROUP_CHANGE_POSITIONS_MAX} are allowed");
    Err(Invalid::limit(field, why, GROUP_CHANGE_POSITIONS_MAX as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::REASON_BYTES_MAX;
    use crate::{LogIndex, QueryItem, Timestamp};

    fn name() -> GroupName {
        GroupName::new("billing").expect("a name")
    }

    fn settings() -> GroupSettings {
        GroupSettings {
            strategy: Strategy::ByStream,
            timeout_ms: 5_000,
            attempts_max: 3,
            retry_delay_ms: 250,
            window: 64,
        }
    }

    #[test]
    fn settings_survive_their_way_over_the_wire_and_what_is_not_set_is_the_default() {
        let wire = v1::GroupSettings::from(settings());
        assert_eq!(GroupSettings::try_from(Some(wire)), Ok(settings()));
        // A delay of 0 is a wish to try again at once, not a missing value.
        let at_once = GroupSettings { retry_delay_ms: 0, ..settings() };
        assert_eq!(GroupSettings::try_from(Some(at_once.into())), Ok(at_once));
        let default = Ok(GroupSettings::default());
        assert_eq!(GroupSettings::try_from(None), default);
        assert_eq!(GroupSettings::try_from(Some(v1::GroupSettings::default())), default);
    }

    #[test]
    fn settings_that_break_a_rule_are_refused_with_their_field() {
        type Spoil = fn(&mut v1::GroupSettings);
        let cases: [(&str, Spoil); 5] = [
            ("strategy", |settings| settings.strategy = "random".to_owned()),
            ("timeout", |settings| settings.timeout_ms = 1),
            ("attempts", |settings| settings.attempts_max = u32::MAX),
            ("retry_delay", |settings| settings.retry_delay_ms = Some(u64::MAX)),
            ("window", |settings| settings.window = u32::MAX),
        ];
        for (field, spoil) in cases {
            let mut wire = settings().into();
            spoil(&mut wire);
            assert_eq!(GroupSettings::try_from(Some(wire)).expect_err(field).field, field);
        }
    }

    #[test]
    fn changes_of_a_group_survive_their_way_over_the_wire() {
        let query = Query { items: vec![QueryItem::default()] };
        let definition = GroupDefinition { query, after: Position(7), settings: settings() };
        for request in [
            GroupRequest::Create(definition),
            GroupRequest::Configure(settings()),
            GroupRequest::Delete,
            GroupRequest::Reset(Position(9)),
            GroupRequest::Replay(Selection::All),
            GroupRequest::Drop(Selection::Positions(vec![Position(3), Position(9)])),
        ] {
            let wire = Option::<v1::change_group_request::Change>::from(request.clone());
            assert_eq!(GroupRequest::try_from(wire), Ok(request));
        }
        assert_eq!(GroupRequest::try_from(None).expect_err("no change").field, "change");
    }

    #[test]
    fn parked_events_are_selected_all_or_by_their_positions() {
        let select = |positions, all| Selection::try_from(v1::SelectedParked { positions, all });
        assert_eq!(select(Vec::new(), true), Ok(Selection::All));
        let sorted = Selection::Positions(vec![Position(3), Position(9)]);
        assert_eq!(select(vec![9, 3, 9], false), Ok(sorted));
        let too_many = vec![1; GROUP_CHANGE_POSITIONS_MAX + 1];
        for (positions, all) in [(Vec::new(), false), (vec![1], true), (too_many, false)] {
            assert_eq!(select(positions, all).expect_err("refused").field, "positions");
        }
    }

    #[test]
    fn a_join_survives_its_way_over_the_wire() {
        let join =
            Join { group: name(), consumer: "worker-1".to_owned(), window: 8, tells_begun: true };
        assert_eq!(Join::try_from(Some(v1::JoinGroup::from(join.clone()))), Ok(join.clone()));
        let without_window = v1::JoinGroup { window: 0, ..join.clone().into() };
        let window = Join::try_from(Some(without_window)).map(|join| join.window);
        assert_eq!(window, Ok(CONSUMER_WINDOW_DEFAULT));
        let too_wide = v1::JoinGroup { window: u32::MAX, ..join.into() };
        assert_eq!(Join::try_from(Some(too_wide)).expect_err("too wide").field, "window");
        assert_eq!(Join::try_from(None).expect_err("nothing").field, "join");
    }

    #[test]
    fn settlements_survive_their_way_and_their_reasons_are_bounded() {
        let failed = |delay_ms| Fate::Failed { reason: "why".to_owned(), delay_ms };
        for fate in [
            Fate::Acknowledged,
            failed(None),
            failed(Some(5)),
            Fate::Parked("why".to_owned()),
            Fate::Skipped,
        ] {
            let settlement = Settlement { number: 7, fate };
            let wire = vec![v1::Settlement::from(settlement.clone())];
            assert_eq!(settlements_of(wire), Ok(vec![settlement]));
        }
        let long = Fate::Parked("x".repeat(REASON_BYTES_MAX + 1));
        let read = Settlement::try_from(v1::Settlement::from(Settlement { number: 1, fate: long }));
        assert_eq!(read.map(|read| read.fate), Ok(Fate::Parked("x".repeat(REASON_BYTES_MAX))));
        let far = Settlement { number: 1, fate: failed(Some(u64::MAX)) };
        assert_eq!(
            Settlement::try_from(v1::Settlement::from(far)).expect_err("far").field,
            "delay"
        );
        let empty = v1::Settlement { number: 1, fate: None };
        assert_eq!(Settlement::try_from(empty.clone()).expect_err("nothing").field, "fate");
        let many = vec![empty; GROUP_WINDOW_MAX as usize + 1];
        assert_eq!(settlements_of(many).expect_err("too many").field, "settlements");
        let many = vec![1; GROUP_WINDOW_MAX as usize + 1];
        assert_eq!(begun_of(many).expect_err("too many").field, "begun");
    }

    #[test]
    fn a_summary_is_shown_without_what_only_the_leader_knows() {
        let definition = GroupDefinition {
            query: Query::everything(),
            after: Position(1),
            settings: settings(),
        };
        let summary = GroupSummary {
            name: name(),
            definition,
            incarnation: LogIndex(3),
            floor: Position(9),
            settled: 2,
            failed: 1,
            parked: 4,
        };
        let shown = v1::Group::from(summary);
        assert_eq!((shown.floor, shown.settled, shown.failed, shown.parked), (9, 2, 1, 4));
        assert_eq!((shown.name.as_str(), shown.in_flight), ("billing", 0));
        let parked = Parked {
            position: Position(5),
            attempts: 3,
            reason: "why".to_owned(),
            parked_at: Timestamp(8),
        };
        let shown = v1::ParkedEvent::from(parked);
        assert_eq!((shown.position, shown.attempts, shown.parked_at), (5, 3, 8));
    }

    #[test]
    fn an_outcome_survives_its_way_between_nodes() {
        for outcome in [
            GroupOutcome::Done(3),
            GroupOutcome::NotFound,
            GroupOutcome::Differs,
            GroupOutcome::Full,
        ] {
            assert_eq!(GroupOutcome::try_from(v1::GroupAnswer::from(outcome)), Ok(outcome));
        }
        let unknown = v1::GroupAnswer { outcome: 99, count: 0 };
        assert!(GroupOutcome::try_from(unknown).is_err());
    }
}
