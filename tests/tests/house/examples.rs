//! The public items that an application meets have an example in their documentation.

use std::collections::BTreeSet;

use super::{Source, sources};

/// The sources of the crates that applications and their tests are written with.
const CRATES: [&str; 2] = ["client/app/src", "client/testing/src"];

/// The public items without an example of their own, each with the reason.
const LEFT: [(&str, &str); 8] = [
    (
        "client/app/src/projection/script.rs ScriptSubscription",
        "`Script` makes it, nobody names it",
    ),
    ("client/app/src/projection/store/mod.rs Claim", "the example of `Store` shows it"),
    ("client/app/src/projection/store/mod.rs Creation", "the example of `Store` shows it"),
    ("client/app/src/projection/store/mod.rs Step", "the example of `Store` shows it"),
    ("client/app/src/projection/store/mod.rs Swap", "an answer that only a rebuild looks at"),
    ("client/app/src/reception/layers.rs Authorize", "its layer makes it, nobody names it"),
    ("client/app/src/reception/layers.rs Observe", "its layer makes it, nobody names it"),
    ("client/app/src/reception/layers.rs Trace", "its layer makes it, nobody names it"),
];

/// The words behind the fence of a block that is compiled as an example.
const COMPILED: [&str; 3] = ["", "no_run", "rust"];

/// An exported struct, enum, trait or function, by its file and name.
#[derive(Debug, PartialEq)]
struct Item {
    name: String,
    has_example: bool,
}

/// Every `pub` item outside of an `impl` is one that a user can reach: the compiler warns of others.
#[test]
fn public_items_for_applications_have_an_example() {
    let mut lacking = BTreeSet::new();
    for folder in CRATES {
        let items: Vec<Item> = sources(folder).iter().flat_map(items).collect();
        assert!(items.len() > 2, "{folder} has moved; this test looks for its items in vain");
        lacking.extend(items.into_iter().filter(|one| !one.has_example).map(|one| one.name));
    }
    let left: BTreeSet<String> = LEFT.iter().map(|(name, _)| (*name).to_owned()).collect();
    let (new, gone): (Vec<_>, Vec<_>) =
        (lacking.difference(&left).collect(), left.difference(&lacking).collect());
    assert!(new.is_empty(), "public items without an example: {new:#?}");
    assert!(gone.is_empty(), "these have an example now, or are gone: {gone:#?}");
}

/// Returns the public items of a file: what is declared at the beginning of a line.
fn items(source: &Source) -> Vec<Item> {
    let mut found = Vec::new();
    let (mut has_example, mut is_in_block) = (false, false);
    for line in source.product.lines() {
        if let Some(documentation) = line.strip_prefix("///") {
            if let Some(words) = documentation.trim().strip_prefix("```") {
                has_example |= !is_in_block && COMPILED.contains(&words);
                is_in_block = !is_in_block;
            }
        } else if !line.is_empty() && !line.starts_with([' ', '#', ')']) {
            let name = declared(line).map(|name| format!("{} {name}", source.path));
            found.extend(name.map(|name| Item { name, has_example }));
            has_example = false;
        }
    }
    found
}

/// Returns the name of the struct, enum, trait or function that a line declares as public.
fn declared(line: &str) -> Option<&str> {
    let mut words = line.strip_prefix("pub ")?.split(' ');
    let kind = words.find(|word| !["async", "const", "unsafe"].contains(word))?;
    let name = words.next()?.split(|one: char| !one.is_alphanumeric() && one != '_').next();
    name.filter(|_| ["struct", "enum", "trait", "fn"].contains(&kind))
}

#[test]
fn an_example_is_a_block_that_is_compiled() {
    let product = "\
/// One.
///
/// ```
/// one();
/// ```
#[derive(
    Debug,
)]
pub struct One<T>(T);
/// Two.
///
/// ```text
/// no code
/// ```
pub async fn two() {
    /// ```
    pub struct Inner;
}
/// ```
struct Private;
pub(crate) enum Hidden {}
/// ```text
/// ```
///
/// ```no_run
/// ```
pub trait Three: Send {}
";
    let source = Source { path: "a.rs".into(), whole: String::new(), product: product.into() };
    let item = |name: &str, has_example| Item { name: name.into(), has_example };
    let expected = [item("a.rs One", true), item("a.rs two", false), item("a.rs Three", true)];
    assert_eq!(items(&source), expected);
}
