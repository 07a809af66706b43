//! The state of a stream, a category or a path beside its events.

use std::time::Duration;

use quorate_proto::wire::v1;
use quorate_proto::{Position, Version};
use serde::{Serialize, Serializer};

/// The settings as they are; `None` = not set.
///
/// ```no_run
/// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
/// let carts = client.category("cart").show().await?.settings;
/// if carts.max_age.is_none() {
///     println!("carts are kept for ever, each with {:?} events at most", carts.max_count);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SettingsInForce {
    /// The number of the newest events of a stream that are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_count: Option<u64>,
    /// The age from which events are removed.
    #[serde(
        rename = "max_age_us",
        skip_serializing_if = "Option::is_none",
        serialize_with = "as_microseconds"
    )]
    pub max_age: Option<Duration>,
    /// The number before which events are removed: a stream's version, or a category's or path's position.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncate_before: Option<u64>,
}

fn as_microseconds<S: Serializer>(age: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    age.map(|age| u64::try_from(age.as_micros()).unwrap_or(u64::MAX)).serialize(to)
}

fn is_zero(version: &Version) -> bool {
    *version == Version::ZERO
}

impl From<Option<v1::StreamSettings>> for SettingsInForce {
    fn from(settings: Option<v1::StreamSettings>) -> SettingsInForce {
        let settings = settings.unwrap_or_default();
        SettingsInForce {
            max_count: settings.max_count,
            max_age: settings.max_age_us.map(Duration::from_micros),
            truncate_before: settings.truncate_before,
        }
    }
}

/// The state of a category or a path beside its events. As JSON it is what `quorate stream show --json` prints, without
/// the name.
///
/// ```no_run
/// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
/// let tenant = client.path("acme").show().await?;
/// println!("as of position {}: {:?}", tenant.as_of, tenant.settings);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScopeState {
    /// The position up to which the answering node saw the log.
    pub as_of: Position,
    /// The settings of this scope itself.
    pub settings: SettingsInForce,
}

/// The state of a stream beside its events. As JSON it is what `quorate stream show --json` prints, without the name.
///
/// ```no_run
/// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
/// let order = client.stream("order-42").show().await?;
/// let readable = (order.version.0 + 1).saturating_sub(order.first_version.0);
/// println!("{readable} of {} events can be read", order.version);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamState {
    /// The position up to which the answering node saw the log.
    pub as_of: Position,
    /// The stream's version; 0 if it never had an event.
    pub version: Version,
    /// The first version that can still be read; `version + 1` if none can.
    pub first_version: Version,
    /// True if a tombstone closed the name for good.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
    /// The stream's version at its last deletion; 0 = never deleted.
    #[serde(skip_serializing_if = "is_zero")]
    pub deleted_at: Version,
    /// The settings of this stream itself.
    pub settings: SettingsInForce,
    /// The settings in force: those of this stream or, where it has none, of the nearest scope around it.
    pub in_force: SettingsInForce,
    /// The version of the snapshot that is kept; 0 = none.
    #[serde(skip_serializing_if = "is_zero")]
    pub snapshot_version: Version,
}

impl From<v1::ShowStreamResponse> for ScopeState {
    fn from(shown: v1::ShowStreamResponse) -> ScopeState {
        ScopeState { as_of: Position(shown.as_of), settings: shown.settings.into() }
    }
}

impl From<v1::ShowStreamResponse> for StreamState {
    fn from(shown: v1::ShowStreamResponse) -> StreamState {
        StreamState {
            as_of: Position(shown.as_of),
            version: Version(shown.version),
            first_version: Version(shown.first_version),
            closed: shown.closed,
            deleted_at: Version(shown.deleted_at),
            settings: shown.settings.into(),
            in_force: shown.effective.into(),
            snapshot_version: Version(shown.snapshot_version),
        }
    }
}
