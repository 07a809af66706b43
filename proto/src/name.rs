//! Names of streams, categories, paths and types, and the rules for them.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::invalid::Invalid;
use crate::limits::{IDENTIFIER_BYTES_MAX, NAME_BYTES_MAX, NAME_PARTS_MAX, TAG_BYTES_MAX};

/// The name of a stream: `[path/]category-id`, as in `order-42` or `acme/eu/order-42`.
///
/// Invariants: 1 to 255 bytes of UTF-8; no control characters; at most 16 parts between slashes, none of them
/// empty; the category is not empty. A name that begins with `$` is the system's ([`StreamName::is_system`]).
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName(Arc<str>);

impl StreamName {
    /// Makes a name that obeys the rules above.
    pub fn new(name: impl AsRef<str>) -> Result<StreamName, Invalid> {
        StreamName::check(name.as_ref())?;
        Ok(StreamName(name.as_ref().into()))
    }

    /// Checks a name as [`StreamName::new`] does, without making one.
    pub fn check(name: &str) -> Result<(), Invalid> {
        check_parts("stream", name)?;
        if category_range(name).is_empty() {
            return Err(Invalid::new("stream", format!("`{name}` has no category before the `-`")));
        }
        Ok(())
    }

    /// Returns the whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the part of the name after the last `/`, up to the first `-` there, or all of that part.
    pub fn category(&self) -> &str {
        category(&self.0)
    }

    /// Returns the name up to the end of its category. Streams of one lineage lie in the same category and paths.
    pub fn lineage(&self) -> &str {
        self.0.get(..category_range(&self.0).end).unwrap_or(&self.0)
    }

    /// Returns the paths that the stream lies in, shortest first: `acme` and `acme/eu` for `acme/eu/order-42`.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').filter_map(|(at, _)| self.0.get(..at))
    }

    /// Returns true if the stream is the system's: users cannot append to it.
    pub fn is_system(&self) -> bool {
        self.0.starts_with('$')
    }
}

/// A category: the part of a stream's name that names the kind of thing it is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Category(Arc<str>);

impl Category {
    /// Makes a category of 1 to 255 bytes without control characters, `/` and `-`.
    pub fn new(name: impl AsRef<str>) -> Result<Category, Invalid> {
        let name = name.as_ref();
        check_text("category", name)?;
        if name.contains(['/', '-']) {
            return Err(Invalid::new("category", format!("`{name}` contains a `/` or a `-`")));
        }
        Ok(Category(name.into()))
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A path: whole parts of a stream's name before a `/`, a tenant say.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Arc<str>);

impl Path {
    /// Makes a path of 1 to 255 bytes and at most 16 parts, none empty, without control characters.
    pub fn new(name: impl AsRef<str>) -> Result<Path, Invalid> {
        check_parts("path", name.as_ref())?;
        Ok(Path(name.as_ref().into()))
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if a stream lies in this path.
    pub fn holds(&self, stream: &StreamName) -> bool {
        stream.paths().any(|path| path == self.as_str())
    }
}

/// The type of an event, `OrderPaid` say. One that begins with `$` is the system's.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventType(Arc<str>);

impl EventType {
    /// Makes a type of 1 to 255 bytes without control characters.
    pub fn new(name: impl AsRef<str>) -> Result<EventType, Invalid> {
        EventType::check(name.as_ref())?;
        Ok(EventType(name.as_ref().into()))
    }

    /// Checks a name as [`EventType::new`] does, without making a type.
    pub fn check(name: &str) -> Result<(), Invalid> {
        check_text("type", name)
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if the type is the system's: users cannot append it.
    pub fn is_system(&self) -> bool {
        self.0.starts_with('$')
    }
}

/// A tag: a label that a writer put on an event, and that a query asks for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Arc<str>);

impl Tag {
    /// Makes a tag of 1 to 128 bytes without control characters.
    pub fn new(tag: impl AsRef<str>) -> Result<Tag, Invalid> {
        Tag::check(tag.as_ref())?;
        Ok(Tag(tag.as_ref().into()))
    }

    /// Checks a text as [`Tag::new`] does, without making a tag.
    pub fn check(tag: &str) -> Result<(), Invalid> {
        check_bounded("tag", tag, TAG_BYTES_MAX)
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The id of a larger process that events belong to, and that a query asks for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CorrelationId(Arc<str>);

impl CorrelationId {
    /// Makes a correlation id of 1 to 128 bytes without control characters.
    pub fn new(id: impl AsRef<str>) -> Result<CorrelationId, Invalid> {
        CorrelationId::check(id.as_ref())?;
        Ok(CorrelationId(id.as_ref().into()))
    }

    /// Checks a text as [`CorrelationId::new`] does, without making a correlation id.
    pub fn check(id: &str) -> Result<(), Invalid> {
        check_bounded("correlation_id", id, IDENTIFIER_BYTES_MAX)
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a consumer group.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName(Arc<str>);

impl GroupName {
    /// Makes a name of 1 to 128 bytes without control characters.
    pub fn new(name: impl AsRef<str>) -> Result<GroupName, Invalid> {
        check_bounded("group", name.as_ref(), IDENTIFIER_BYTES_MAX)?;
        Ok(GroupName(name.as_ref().into()))
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! text {
    ($($name:ident),*) => {$(
        /// Names hash and compare as their text, so a text finds a name in a map.
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "`{}`", self.0)
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(name: &str) -> Result<$name, Invalid> {
                $name::new(name)
            }
        }
    )*};
}

text!(StreamName, Category, Path, EventType, Tag, CorrelationId, GroupName);

fn category(name: &str) -> &str {
    name.get(category_range(name)).unwrap_or(name)
}

/// Returns the place of the category: behind the last `/`, up to the first `-` there.
fn category_range(name: &str) -> Range<usize> {
    let (mut start, mut end) = (0, None);
    for (at, byte) in name.bytes().enumerate() {
        match byte {
            b'/' => (start, end) = (at + 1, None),
            b'-' => end = end.or(Some(at)),
            _ => {}
        }
    }
    start..end.unwrap_or(name.len())
}

fn check_text(field: &'static str, text: &str) -> Result<(), Invalid> {
    check_bounded(field, text, NAME_BYTES_MAX)
}

pub(crate) fn check_bounded(
    field: &'static str,
    text: &str,
    bytes_max: usize,
) -> Result<(), Invalid> {
    if text.is_empty() {
        return Err(Invalid::new(field, "is empty"));
    }
    if text.len() > bytes_max {
        let why = format!("has {} bytes; at most {bytes_max} are allowed", text.len());
        return Err(Invalid::limit(field, why, bytes_max as u64));
    }
    // Most names are of these characters alone, of which none is a control character.
    let is_plain = text.bytes().fold(true, |all, byte| all & matches!(byte, b' '..=b'~'));
    if !is_plain && text.chars().any(char::is_control) {
        return Err(Invalid::new(field, format!("{text:?} contains a control character")));
    }
    Ok(())
}

fn check_parts(field: &'static str, text: &str) -> Result<(), Invalid> {
    check_text(field, text)?;
    let slashes = text.bytes().fold(0, |count, byte| count + usize::from(byte == b'/'));
    if slashes == 0 {
        return Ok(());
    }
    if text.split('/').any(str::is_empty) {
        return Err(Invalid::new(field, format!("`{text}` has an empty part beside a `/`")));
    }
    let parts = slashes + 1;
    // A stream of the system lies in no path, and puts a part of its own before the path that it is about.
    if parts > NAME_PARTS_MAX && !text.starts_with('$') {
        let why = format!("`{text}` has {parts} parts; at most {NAME_PARTS_MAX} are allowed");
        return Err(Invalid::limit(field, why, NAME_PARTS_MAX as u64));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_shows_its_category_and_paths() {
        for (name, category, paths) in [
            ("order-42", "order", vec![]),
            ("order", "order", vec![]),
            ("order-eu-42", "order", vec![]),
            ("acme/eu/order-42", "order", vec!["acme", "acme/eu"]),
            ("a-b/order-42", "order", vec!["a-b"]),
            ("$$order-42", "$$order", vec![]),
        ] {
            let stream = StreamName::new(name).expect(name);
            assert_eq!(stream.category(), category, "{name}");
            let lineage = paths.last().map_or(category.into(), |path| format!("{path}/{category}"));
            assert_eq!(stream.lineage(), lineage, "{name}");
            assert_eq!(stream.paths().collect::<Vec<_>>(), paths, "{name}");
        }
    }

    #[test]
    fn a_path_holds_whole_parts_only() {
        let stream = StreamName::new("acme/eu/order-42").expect("a name");
        for (path, holds) in [("acme", true), ("acme/eu", true), ("acme/e", false), ("eu", false)] {
            assert_eq!(Path::new(path).expect(path).holds(&stream), holds, "{path}");
        }
    }

    #[test]
    fn a_name_and_a_path_have_at_most_sixteen_parts() {
        let (most, more) = (vec!["a"; NAME_PARTS_MAX].join("/"), vec!["a"; 17].join("/"));
        assert_eq!(StreamName::new(&most).expect("a name").paths().count(), 15);
        let path = Path::new(&most).expect("a path");
        for refused in [StreamName::new(&more).map(drop), Path::new(&more).map(drop)] {
            let refused = refused.expect_err("too many parts").to_string();
            assert!(refused.contains("has 17 parts; at most 16 are allowed"), "{refused}");
        }
        let changes =
            crate::Scope::Path(path.clone()).changes().expect("its settings can be changed");
        assert_eq!(crate::Scope::changed_by(&changes), Some(crate::Scope::Path(path)));
    }

    #[test]
    fn names_that_break_a_rule_are_refused_with_the_reason() {
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for (name, why) in [
            ("", "is empty"),
            (long.as_str(), "has 256 bytes; at most 255 are allowed"),
            ("a\nb", "contains a control character"),
            ("/order-1", "has an empty part"),
            ("a//order-1", "has an empty part"),
            ("order-1/", "has an empty part"),
            ("-1", "has no category"),
            ("a/-1", "has no category"),
        ] {
            let refused = StreamName::new(name).expect_err(name).to_string();
            assert!(refused.contains(why), "{name}: {refused}");
        }
        assert!(StreamName::new("x".repeat(NAME_BYTES_MAX)).is_ok());
        assert!(Category::new("a-b").is_err() && Category::new("a/b").is_err());
    }
}
