//! The arrows between the files of each crate: they use each other in one direction.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, sources};

/// The sources of the crates.
const CRATES: [&str; 7] = [
    "proto/src",
    "store/src",
    "raft/src",
    "node/src",
    "client/src",
    "client/app/src",
    "client/testing/src",
];

/// The circles that are left. A record of the Raft log may hold a whole image, and an image is what records make of it.
const LEFT: [&[&str]; 1] = [&["raft/src/log/format", "raft/src/log/image"]];

/// A path of modules below a crate's root.
type Module = Vec<String>;
/// The modules that each module uses.
type Arrows = BTreeMap<Module, BTreeSet<Module>>;

#[test]
fn files_use_each_other_in_one_direction() {
    let mut found = BTreeSet::new();
    for folder in CRATES {
        let arrows = arrows(&sources(folder));
        assert!(arrows.len() > 3, "{folder} has moved; this test looks for its files in vain");
        let name = |module: &Module| format!("{folder}/{}", module.join("/"));
        found.extend(circles(&arrows).iter().map(|circle| circle.iter().map(name).collect()));
    }
    let left = LEFT.iter().map(|circle| circle.iter().map(|&name| name.to_owned()).collect());
    let left: BTreeSet<Vec<String>> = left.collect();
    let (new, gone): (Vec<_>, Vec<_>) =
        (found.difference(&left).collect(), left.difference(&found).collect());
    assert!(new.is_empty() && gone.is_empty(), "new circles: {new:#?}\ngone: {gone:#?}");
}

/// A crate's files by their modules, without those for tests, and the names that each file takes from elsewhere.
struct Files<'a> {
    sources: BTreeMap<Module, &'a Source>,
    imports: BTreeMap<Module, Module>,
}

/// Returns the arrows between files, from the paths that their code names. A crate's root is in no circle: it declares
/// everything.
fn arrows(sources: &[Source]) -> Arrows {
    let product = sources.iter().filter(|source| !source.product.is_empty());
    let sources: BTreeMap<Module, &Source> =
        product.map(|source| (module_of(&source.path), source)).collect();
    let imports = sources.iter().flat_map(|(module, source)| imports(module, source)).collect();
    let files = Files { sources, imports };
    let mut arrows = Arrows::new();
    for (module, source) in &files.sources {
        let used = paths(&source.product, module);
        let used = used.iter().filter_map(|path| files.file_of(path, 0));
        let used = used.filter(|used| used != module && !used.is_empty());
        arrows.insert(module.clone(), used.collect());
    }
    arrows.remove(&Module::new());
    arrows
}

impl Files<'_> {
    /// Returns the module of the file in which a path's item is declared; imports are followed a few times.
    fn file_of(&self, path: &[String], followed: usize) -> Option<Module> {
        let length =
            (0..=path.len()).rev().find(|&length| self.sources.contains_key(&path[..length]))?;
        let name = path.get(length).and_then(|_| self.imports.get(&path[..=length]));
        if let Some(name) = name
            && name[..name.len() - 1] != path[..length]
            && followed < 6
        {
            let rest = path[length + 1..].iter().cloned();
            let path: Module = name.iter().cloned().chain(rest).collect();
            if let Some(module) = self.file_of(&path, followed + 1) {
                return Some(module);
            }
        }
        Some(path[..length].to_vec())
    }
}

/// Returns the modules that lead to what a file holds.
fn module_of(path: &str) -> Module {
    let (_, below) = path.split_once("src/").expect("a source");
    let mut parts: Module = below.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        parts.pop();
    }
    parts
}

/// Returns each name that a module takes from elsewhere, with its whole path.
fn imports(module: &[String], source: &Source) -> Vec<(Module, Module)> {
    let mut imports = Vec::new();
    for statement in without_comments(&source.product).split("use ").skip(1) {
        let mut found = Vec::new();
        let tree = statement.split(';').next().unwrap_or_default();
        expand(&tokens(tree), &mut 0, &mut Module::new(), &mut found);
        for path in found {
            let Some(name) = path.last() else { continue };
            let name = module.iter().chain([name]).cloned().collect();
            imports.push((name, absolute(module, &path)));
        }
    }
    imports
}

/// Returns a path below the crate's root; it may begin with `crate`, `self` or `super`.
fn absolute(module: &[String], path: &[String]) -> Module {
    let mut base = module.to_vec();
    let mut rest = path;
    while let [first, after @ ..] = rest {
        match first.as_str() {
            "crate" => base.clear(),
            "super" => drop(base.pop()),
            "self" => {}
            _ => break,
        }
        rest = after;
    }
    base.extend_from_slice(rest);
    base
}

/// Returns the whole path of everything in our own crate that the code of a module names.
fn paths(code: &str, module: &[String]) -> Vec<Module> {
    let code = without_comments(code);
    let tokens = tokens(&code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let begins = ["crate", "super", "self"].contains(&tokens[at]);
        let follows = at == 0 || tokens[at - 1] != "::";
        if begins && follows && tokens.get(at + 1) == Some(&"::") {
            let mut relative = Vec::new();
            expand(&tokens, &mut at, &mut Module::new(), &mut relative);
            found.extend(relative.iter().map(|path| absolute(module, path)));
        } else {
            at += 1;
        }
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
fn expand(tokens: &[&str], at: &mut usize, base: &mut Module, found: &mut Vec<Module>) {
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

/// Returns the sets of modules, each in order, in which every module reaches every other.
fn circles(arrows: &Arrows) -> BTreeSet<Vec<Module>> {
    let reached = |from: &Module| {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&Module> = arrows[from].iter().collect();
        while let Some(module) = next.pop() {
            if reached.insert(module) {
                next.extend(&arrows[module]);
            }
        }
        reached
    };
    let reach: BTreeMap<&Module, BTreeSet<&Module>> =
        arrows.keys().map(|module| (module, reached(module))).collect();
    let circle = |module: &&Module| {
        let both = reach[*module].iter().filter(|other| reach[**other].contains(*module));
        both.map(|other| (*other).clone()).collect::<Vec<Module>>()
    };
    reach.keys().map(circle).filter(|circle| !circle.is_empty()).collect()
}
