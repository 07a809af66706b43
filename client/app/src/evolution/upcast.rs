//! Upcasts: the steps from an event as it was once written to the shape that the application knows today.

use std::borrow::Cow;

use serde_json::Value;

/// One step of the way from an old event to its newest schema: a pure function of its data, or another name.
///
/// The steps of a type form a chain, 1 → 2 → 3; its newest schema is the one that the last step leads to.
///
/// ```
/// use quorate_app::evolution::{JsonEvents, Upcast, given};
/// use quorate_client::Event;
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// enum OrderEvent {
///     OrderPaid { cents: u64 },
/// }
///
/// impl JsonEvents for OrderEvent {
///     const UPCASTS: &'static [Upcast] = &[
///         Upcast::rename("OrderSettled", "OrderPaid"),
///         Upcast::data("OrderPaid", 1, |json| {
///             serde_json::json!({ "cents": json["euros"].as_u64().map(|euros| euros * 100) })
///         }),
///     ];
/// }
///
/// let old = Event::new("OrderSettled", r#"{"euros":5}"#)?;
/// given(old).then_event(&OrderEvent::OrderPaid { cents: 500 });
/// # Ok::<(), quorate_client::Invalid>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Upcast {
    kind: &'static str,
    step: Step,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Data { schema: u32, change: fn(Value) -> Value },
    Rename { to: &'static str },
}

/// An event on its way up.
#[derive(Debug)]
pub(super) struct Upcasted<'a> {
    pub(super) kind: &'a str,
    pub(super) data: Cow<'a, [u8]>,
}

/// The reason why an event has no way up.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoWay {
    #[error("it is of schema {schema}, and this program knows schemas up to {newest}")]
    Newer { schema: u32, newest: u32 },
    #[error("no upcast leads from its schema {schema} to the newest, {newest}")]
    Gap { schema: u32, newest: u32 },
    #[error("its data is no JSON: {0}")]
    Json(String),
}

impl Upcast {
    /// Changes the data of a type of event from this schema to the next one. What cannot be changed is best left as
    /// it is: reading it then reports what is missing.
    ///
    /// ```
    /// use quorate_app::evolution::Upcast;
    /// const NAMES_APART: Upcast = Upcast::data("CustomerNamed", 1, |json| {
    ///     let (first, last) = json["name"].as_str().and_then(|name| name.split_once(' ')).unwrap_or_default();
    ///     serde_json::json!({ "first": first, "last": last })
    /// });
    /// # let _ = NAMES_APART;
    /// ```
    pub const fn data(kind: &'static str, schema: u32, change: fn(Value) -> Value) -> Upcast {
        Upcast { kind, step: Step::Data { schema, change } }
    }

    /// Reads events of an old name as events of the new one; their schemas go on with those of the new name.
    ///
    /// ```
    /// use quorate_app::evolution::Upcast;
    /// const RENAMED: Upcast = Upcast::rename("OrderSettled", "OrderPaid");
    /// # let _ = RENAMED;
    /// ```
    pub const fn rename(from: &'static str, to: &'static str) -> Upcast {
        Upcast { kind: from, step: Step::Rename { to } }
    }
}

/// Returns the newest schema of a type: the one that events of it are written with.
pub(super) fn newest(upcasts: &[Upcast], kind: &str) -> u32 {
    newest_within(upcasts, kind, upcasts.len())
}

/// Follows at most so many renames, so that names in a circle end.
fn newest_within(upcasts: &[Upcast], kind: &str, renames_max: usize) -> u32 {
    let schemas = upcasts.iter().map(|upcast| match upcast.step {
        Step::Data { schema, .. } if upcast.kind == kind => schema + 1,
        Step::Rename { to } if to == kind && renames_max > 0 => {
            newest_within(upcasts, upcast.kind, renames_max - 1)
        }
        _ => 1,
    });
    schemas.max().unwrap_or(1)
}

/// Returns the old names of types that are read under a new one.
pub(super) fn old_names(upcasts: &[Upcast]) -> impl Iterator<Item = &'static str> {
    let renames = upcasts.iter().filter(|upcast| matches!(upcast.step, Step::Rename { .. }));
    renames.map(|upcast| upcast.kind)
}

/// Takes an event to its newest schema. An event that is there already is not read.
pub(super) fn upcast<'a>(
    upcasts: &[Upcast],
    kind: &'a str,
    schema: u32,
    data: &'a [u8],
) -> Result<Upcasted<'a>, NoWay> {
    let (mut kind, mut schema, mut json) = (kind, schema, None);
    // Each step is taken at most once, so that names in a circle end.
    for _ in 0..upcasts.len() {
        let Some(step) = next_step(upcasts, kind, schema) else { break };
        match step {
            Step::Rename { to } => kind = to,
            Step::Data { change, .. } => {
                let before = match json.take() {
                    Some(json) => json,
                    None => serde_json::from_slice(data)
                        .map_err(|error| NoWay::Json(error.to_string()))?,
                };
                json = Some(change(before));
                schema += 1;
            }
        }
    }
    let newest = newest(upcasts, kind);
    match schema.cmp(&newest) {
        std::cmp::Ordering::Less => return Err(NoWay::Gap { schema, newest }),
        std::cmp::Ordering::Greater => return Err(NoWay::Newer { schema, newest }),
        std::cmp::Ordering::Equal => {}
    }
    let data = match json {
        None => Cow::Borrowed(data),
        Some(json) => Cow::Owned(json.to_string().into_bytes()),
    };
    Ok(Upcasted { kind, data })
}

/// Returns the next step of an event: of its data under this name, or else to the next name.
fn next_step(upcasts: &[Upcast], kind: &str, at: u32) -> Option<Step> {
    let mut own = upcasts.iter().filter(|upcast| upcast.kind == kind).map(|upcast| upcast.step);
    let data = own.clone().find(|step| matches!(step, Step::Data { schema, .. } if *schema == at));
    data.or_else(|| own.find(|step| matches!(step, Step::Rename { .. })))
}
