//! The words of the house: comments begin with their subject, and private names do not come back.

use std::collections::BTreeMap;

use super::{Source, product, read, root, sources};

/// Private names that were replaced by the field's words.
const REPLACED: [(&str, &str); 20] = [
    ("Tenure", "LeaderTerm"),
    ("Reign", "LeadershipWatch"),
    ("Lane", "Route or StreamQueue"),
    ("Lanes", "StreamQueues"),
    ("Desk", "SessionReplies"),
    ("Flight", "InFlightAppend"),
    ("Flights", "InFlightAppends"),
    ("shaken", "uncertain"),
    ("Prepared", "EncodedRequest or Proposal"),
    ("Forwarded", "Proposal"),
    ("Conditional", "Proposal"),
    ("Deliver", "Reply"),
    ("Look", "ConditionCheck"),
    ("Letter", "Delivery"),
    ("Mark", "Cursor"),
    ("Seat", "ConsumerConnection"),
    ("Seated", "JoinedConsumer"),
    ("Said", "ConsumerMessage"),
    ("Fold", "KeyMerge"),
    ("FoundError", "BootstrapError"),
];

/// A comment names its subject first: a noun, or what a function does.
#[test]
fn comments_begin_with_their_subject() {
    const QUESTIONS: [&str; 10] =
        ["What", "Who", "Whether", "How", "Where", "Of", "Which", "Whoever", "Whatever", "Whose"];
    let mut faults = Vec::new();
    let rust = product().into_iter().chain(sources("tests")).filter(|source| !is_help(source));
    let files = rust.map(|source| (source.path, source.whole)).chain(protocols());
    for (path, text) in files {
        let mut inside = false;
        for (line, number) in text.lines().zip(1..) {
            let comment = line.trim_start().strip_prefix("//");
            let text = comment.map(|text| text.trim_start_matches(['/', '!']).trim());
            let begins = text.is_some_and(|text| !text.is_empty()) && !inside;
            inside = text.is_some_and(|text| !text.is_empty());
            let first = text.unwrap_or_default().split(' ').next().unwrap_or_default();
            if begins && QUESTIONS.contains(&first) {
                faults.push(format!("{path}:{number}: {}", line.trim()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Returns true if comments of the file are the help of commands, which answers questions.
fn is_help(source: &Source) -> bool {
    ["derive(Args", "derive(Parser", "derive(Subcommand", "derive(ValueEnum"]
        .iter()
        .any(|derived| source.whole.contains(derived))
}

/// Returns the paths and the texts of the definitions of the wire.
fn protocols() -> Vec<(String, String)> {
    let mut folders = vec![root().join("proto/quorate")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).expect("a folder of definitions");
        for path in entries.map(|entry| entry.expect("an entry").path()) {
            match path.extension() {
                None => folders.push(path),
                Some(_) => found.push((path.display().to_string(), read(&path))),
            }
        }
    }
    assert!(found.len() > 4, "the definitions have moved; this test looks for them in vain");
    found
}

#[test]
fn replaced_names_do_not_come_back() {
    let replaced = BTreeMap::from(REPLACED);
    let mut faults = Vec::new();
    for source in product() {
        for (line, number) in source.whole.lines().zip(1..) {
            let code = line.split("//").next().unwrap_or_default();
            let words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
            for (word, better) in words.filter_map(|word| replaced.get_key_value(word)) {
                faults.push(format!("{}:{number}: `{word}` is called {better}", source.path));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
