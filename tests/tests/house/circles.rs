//! The rooms of each crate: the modules of a folder use each other in one direction.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Source, read, root, sources};

/// The folders whose rooms are looked at; a room is a file or a folder in it.
const FOLDERS: [&str; 8] = [
    "proto/src",
    "store/src",
    "raft/src",
    "node/src",
    "node/src/server",
    "node/src/server/append",
    "client/src",
    "client/app/src",
];

/// The circles that are left: the rooms of each are one thought in several files.
const LEFT: [(&str, &[&str]); 0] = [];

/// The rooms that each room uses.
type Arrows = BTreeMap<String, BTreeSet<String>>;

#[test]
fn rooms_use_each_other_in_one_direction() {
    let mut faults = Vec::new();
    for folder in FOLDERS {
        let arrows = arrows(folder);
        assert!(arrows.len() > 3, "{folder} has moved; this test looks for its rooms in vain");
        let left = LEFT.iter().filter(|(place, _)| *place == folder).map(|(_, rooms)| *rooms);
        let left: BTreeSet<Vec<&str>> = left.map(<[&str]>::to_vec).collect();
        let found = circles(&arrows);
        let found: BTreeSet<Vec<&str>> =
            found.iter().map(|circle| circle.iter().map(String::as_str).collect()).collect();
        if found != left {
            faults.push(format!("{folder}: circles {found:?}, expected {left:?}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Returns the arrows between the rooms of a folder, from the paths that their code names.
fn arrows(folder: &str) -> Arrows {
    let modules = modules(folder);
    let sources: Vec<(Vec<String>, Source)> =
        sources(folder).into_iter().map(|source| (module_of(&source.path), source)).collect();
    let rooms: BTreeSet<&String> =
        sources.iter().filter_map(|(module, _)| module.get(modules.len())).collect();
    let exports = exports(folder, &modules, &rooms);
    let mut arrows = Arrows::new();
    for (module, source) in &sources {
        let Some(room) = module.get(modules.len()) else { continue };
        let used = arrows.entry(room.clone()).or_default();
        for path in paths(&source.product, module) {
            let Some(first) = path.strip_prefix(&modules[..]).and_then(<[String]>::first) else {
                continue;
            };
            let target = exports.get(first).unwrap_or(first);
            if rooms.contains(target) && target != room {
                used.insert(target.clone());
            }
        }
    }
    arrows
}

/// Returns the modules that lead to a folder: none for a crate's `src`.
fn modules(folder: &str) -> Vec<String> {
    let (_, below) = folder.split_once("src").expect("a folder of sources");
    below.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Returns the modules that lead to what a file holds.
fn module_of(path: &str) -> Vec<String> {
    let (_, below) = path.split_once("src/").expect("a source");
    let mut parts: Vec<String> =
        below.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        parts.pop();
    }
    parts
}

/// Returns the room of each name that the folder's own file takes out of a room.
fn exports(
    folder: &str,
    modules: &[String],
    rooms: &BTreeSet<&String>,
) -> BTreeMap<String, String> {
    let own = [format!("{folder}/lib.rs"), format!("{folder}/mod.rs"), format!("{folder}.rs")];
    let own = own.iter().find(|path| Path::new(&root().join(path)).exists());
    let text = own.map(|path| read(&root().join(path))).unwrap_or_default();
    let mut exports = BTreeMap::new();
    for statement in without_comments(&text).split("use ").skip(1) {
        let mut found = Vec::new();
        let tree = statement.split(';').next().unwrap_or_default();
        expand(&tokens(tree), &mut 0, &mut modules.to_vec(), &mut found);
        for path in found {
            let inside = &path[modules.len()..];
            if let [room, .., name] = inside
                && rooms.contains(room)
            {
                exports.insert(name.clone(), room.clone());
            }
        }
    }
    exports
}

/// Returns the absolute path of everything in our own crate that the code of a module names.
fn paths(code: &str, module: &[String]) -> Vec<Vec<String>> {
    let code = without_comments(code);
    let tokens = tokens(&code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let begins = ["crate", "super", "self"].contains(&tokens[at]);
        let follows = at == 0 || tokens[at - 1] != "::";
        if !begins || !follows || tokens.get(at + 1) != Some(&"::") {
            at += 1;
            continue;
        }
        let mut base = module.to_vec();
        while tokens.get(at + 1) == Some(&"::") {
            match tokens[at] {
                "crate" => base.clear(),
                "super" => drop(base.pop()),
                "self" => {}
                _ => break,
            }
            at += 2;
        }
        expand(&tokens, &mut at, &mut base, &mut found);
    }
    found
}

fn without_comments(code: &str) -> String {
    let lines: Vec<&str> = code.lines().filter_map(|line| line.split("//").next()).collect();
    lines.join("\n")
}

/// Returns the words, braces, commas and `::` of some code.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let length = match first {
            ':' if rest.starts_with("::") => 2,
            c if word(c) => rest.find(|c| !word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        if !token.trim().is_empty() {
            tokens.push(token);
        }
        rest = after;
    }
    tokens
}

/// Collects the paths of a tree as `use` has it, `a::{b, c::d}`, from a token on.
fn expand(tokens: &[&str], at: &mut usize, base: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let depth = base.len();
    while let Some(token) = tokens.get(*at) {
        *at += 1;
        if *token == "{" {
            while tokens.get(*at).is_some_and(|token| *token != "}") {
                let before = *at;
                expand(tokens, at, base, found);
                if tokens.get(*at) == Some(&",") || *at == before {
                    *at += 1;
                }
            }
            *at += 1;
            break;
        }
        base.push((*token).to_owned());
        if tokens.get(*at) != Some(&"::") {
            found.push(base.clone());
            // A name that is taken under another one, `a as b`, is known by the other one.
            if tokens.get(*at) == Some(&"as") {
                *at += 2;
            }
            break;
        }
        *at += 1;
    }
    base.truncate(depth);
}

/// Returns the sets of rooms, each in order, in which every room reaches every other.
fn circles(arrows: &Arrows) -> BTreeSet<Vec<String>> {
    let reached = |from: &String| {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&String> = arrows[from].iter().collect();
        while let Some(room) = next.pop() {
            if reached.insert(room) {
                next.extend(&arrows[room]);
            }
        }
        reached
    };
    let reach: BTreeMap<&String, BTreeSet<&String>> =
        arrows.keys().map(|room| (room, reached(room))).collect();
    let circle = |room: &&String| {
        let both = reach[*room].iter().filter(|other| reach[**other].contains(*room));
        both.map(|other| (*other).clone()).collect::<Vec<String>>()
    };
    reach.keys().map(circle).filter(|circle| !circle.is_empty()).collect()
}
