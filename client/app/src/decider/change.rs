//! The difference between two states, field by field.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::load::Loaded;

/// One field in which two states differ.
///
/// ```
/// use quorate_app::decider::Change;
/// let change = Change { path: "due".into(), before: Some(50.into()), after: Some(20.into()) };
/// assert_eq!(change.to_string(), "due: 50 → 20");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The path of the field, as in `lines.0.amount`; empty = the whole state.
    pub path: String,
    /// The value in the earlier state; `None` if the field was not there.
    pub before: Option<Value>,
    /// The value in the later state; `None` if the field is not there any more.
    pub after: Option<Value>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<Value>| match value {
            Some(value) => value.to_string(),
            None => "nothing".to_owned(),
        };
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{} → {}", shown(&self.before), shown(&self.after))
    }
}

impl<S: Serialize> Loaded<S> {
    /// Returns the fields in which a later state differs from this one, as they are in JSON.
    ///
    /// ```no_run
    /// # use quorate_app::decider::{Decider, Repository};
    /// # async fn example<D: Decider>(orders: Repository<D>) -> Result<(), Box<dyn std::error::Error>>
    /// # where D::State: serde::Serialize {
    /// let newyear = quorate_client::Timestamp::parse("2026-01-01T00:00:00Z")?;
    /// let (then, now) = (orders.load("42").until(newyear).await?, orders.load("42").await?);
    /// for change in then.changes_to(&now)? {
    ///     println!("{change}"); // due: 50 → 20
    /// }
    /// # Ok(()) }
    /// ```
    pub fn changes_to(&self, later: &Loaded<S>) -> Result<Vec<Change>, serde_json::Error> {
        let value = |state: &S| serde_json::to_value(state);
        Ok(changes(&value(&self.state)?, &value(&later.state)?))
    }
}

/// Returns the fields in which two values differ.
pub(crate) fn changes(before: &Value, after: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    compare(String::new(), Some(before), Some(after), &mut found);
    found
}

fn compare(path: String, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Change>) {
    if before == after {
        return;
    }
    let below = |key: &str| match path.is_empty() {
        true => key.to_owned(),
        false => format!("{path}.{key}"),
    };
    match (before, after) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let added = new.keys().filter(|key| !old.contains_key(*key));
            for key in old.keys().chain(added) {
                compare(below(key), old.get(key), new.get(key), found);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for index in 0..old.len().max(new.len()) {
                compare(below(&index.to_string()), old.get(index), new.get(index), found);
            }
        }
        _ => found.push(Change { path, before: before.cloned(), after: after.cloned() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes_are_named_by_their_paths() {
        let before = json!({ "due": 50, "lines": [{ "sku": "a", "count": 1 }, 2], "note": "x" });
        let after = json!({ "due": 20, "lines": [{ "sku": "a", "count": 3 }], "by": null });
        let shown: Vec<String> = changes(&before, &after).iter().map(Change::to_string).collect();
        let expected = [
            "due: 50 → 20",
            "lines.0.count: 1 → 3",
            "lines.1: 2 → nothing",
            "note: \"x\" → nothing",
            "by: nothing → null",
        ];
        assert_eq!(shown.len(), expected.len(), "{shown:?}");
        for line in expected {
            assert!(shown.contains(&line.to_owned()), "{line}: {shown:?}");
        }
        assert!(changes(&after, &after).is_empty());
        assert_eq!(changes(&json!(1), &json!(2))[0].to_string(), "1 → 2");
    }
}
