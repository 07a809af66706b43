//! The rules of the house: allowed dependencies, words that some code must not hold, and true documents.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use quorate_node::commands::serve::config;

mod circles;
mod deploy;
mod examples;
mod kubernetes;
mod metrics;
mod words;

/// Our packages, each with those of our packages that it may depend on.
const ARROWS: [(&str, &[&str]); 8] = [
    ("proto", &[]),
    ("client", &["proto"]),
    ("client/app", &["client"]),
    ("client/testing", &["app", "client", "node", "proto", "raft", "store"]),
    ("store", &["proto"]),
    ("raft", &["proto", "store"]),
    ("node", &["proto", "store", "raft", "client"]),
    ("tests", &["proto", "store", "raft", "client", "app", "node"]),
];

/// Our packages in workspaces of their own, likewise.
const OUTSIDE: [(&str, &[&str]); 3] = [
    ("tests/compare", &["client"]),
    ("client/examples/orders", &["app", "client", "testing"]),
    ("client/examples/accounts", &["app", "client", "testing"]),
];

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the workspace lies above").to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn manifest(package: &str) -> toml::Table {
    let path = root().join(package).join("Cargo.toml");
    read(&path).parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the names of a package's direct dependencies of all kinds.
fn dependencies(package: &str) -> BTreeSet<String> {
    let manifest = manifest(package);
    ["dependencies", "dev-dependencies", "build-dependencies"]
        .iter()
        .filter_map(|kind| manifest.get(*kind)?.as_table())
        .flat_map(|table| table.keys().cloned())
        .collect()
}

/// Returns all packages that one of ours is built with when it is built alone, as cargo resolves them.
fn tree(package: &str) -> BTreeSet<String> {
    let package = format!("quorate-{package}");
    let output = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(["tree", "--locked", "--edges", "normal", "--prefix", "none", "--package", &package])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).expect("names of packages");
    names.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// A Rust file: its path, its text, and its text without the parts that only tests see.
struct Source {
    path: String,
    whole: String,
    product: String,
}

/// Returns all our Rust files below a folder of the workspace.
fn sources(folder: &str) -> Vec<Source> {
    let mut paths = Vec::new();
    walk(&root().join(folder), &mut paths);
    paths.sort();
    let mut sources: Vec<Source> = paths.iter().map(|path| source(path)).collect();
    let test_modules: BTreeSet<String> = sources.iter().flat_map(test_modules).collect();
    for source in &mut sources {
        let inside = |module: &String| {
            source.path.starts_with(&format!("{module}/")) || source.path == format!("{module}.rs")
        };
        if test_modules.iter().any(inside) {
            source.product.clear();
        }
    }
    sources
}

fn source(path: &Path) -> Source {
    let whole = read(path);
    let inline = whole.find("#[cfg(test)]\nmod tests {").unwrap_or(whole.len());
    let product = whole[..inline].to_owned();
    let path = path.strip_prefix(root()).expect("below the root").display().to_string();
    Source { path, whole, product }
}

/// Returns the paths, without `.rs`, of modules that a file declares for tests only.
fn test_modules(source: &Source) -> Vec<String> {
    let (folder, name) = source.path.rsplit_once('/').expect("in a folder");
    let folder = match name {
        "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
        _ => format!("{folder}/{}", name.trim_end_matches(".rs")),
    };
    let declared = source.whole.split("#[cfg(test)]\nmod ").skip(1);
    let names = declared.filter_map(|rest| rest.split_once(';')).map(|(name, _)| name);
    names.filter(|name| !name.contains(' ')).map(|name| format!("{folder}/{name}")).collect()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
    {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                walk(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Fails if the product's code in `sources` holds one of the words, and lists each line that does.
/// Comments do not count.
fn forbid(sources: &[Source], words: &[&str], why: &str) {
    let mut found = Vec::new();
    for source in sources {
        for (number, line) in source.product.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if let Some(word) = words.iter().find(|word| code.contains(**word)) {
                found.push(format!("{}:{}: `{word}`", source.path, number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{why}:\n{}", found.join("\n"));
}

fn product() -> Vec<Source> {
    ["proto", "store", "raft", "client", "node"].iter().flat_map(|one| sources(one)).collect()
}

#[test]
fn packages_depend_along_the_arrows_only() {
    for (package, allowed) in ARROWS.into_iter().chain(OUTSIDE) {
        let allowed: BTreeSet<String> =
            allowed.iter().map(|one| format!("quorate-{one}")).collect();
        let ours: BTreeSet<String> =
            dependencies(package).into_iter().filter(|name| name.starts_with("quorate-")).collect();
        let wrong: Vec<_> = ours.difference(&allowed).collect();
        assert!(wrong.is_empty(), "{package} must not depend on {wrong:?}");
    }
}

#[test]
fn all_packages_of_the_workspace_are_in_the_house() {
    let workspace: toml::Table = read(&root().join("Cargo.toml")).parse().expect("a manifest");
    let members = workspace["workspace"]["members"].as_array().expect("members");
    let members: BTreeSet<&str> = members.iter().filter_map(toml::Value::as_str).collect();
    let house: BTreeSet<&str> = ARROWS.iter().map(|(package, _)| *package).collect();
    assert_eq!(members, house);
    let excluded = workspace["workspace"]["exclude"].as_array().expect("what is excluded");
    let excluded: BTreeSet<&str> = excluded.iter().filter_map(toml::Value::as_str).collect();
    for (package, _) in OUTSIDE {
        assert!(excluded.iter().any(|folder| package.starts_with(folder)), "{package}");
    }
    for package in members {
        let name = manifest(package)["package"]["name"].as_str().expect("a name").to_owned();
        let folder = package.rsplit('/').next().expect("a folder");
        assert_eq!(name, format!("quorate-{folder}"));
    }
}

#[test]
fn the_store_stands_alone() {
    let tree = tree("store");
    let foreign = |name: &&String| {
        let families = ["tokio", "tonic", "openraft", "prost", "hyper", "rand"];
        families.iter().any(|family| *name == family || name.starts_with(&format!("{family}-")))
    };
    let foreign: Vec<&String> = tree.iter().filter(foreign).collect();
    assert!(foreign.is_empty(), "the store is built with {foreign:?}");
}

#[test]
fn the_store_reads_no_clock_draws_nothing_and_starts_no_thread() {
    let words = [
        "std::thread",
        "thread::spawn",
        "SystemTime",
        "Instant::now",
        "new_v4",
        "now_v7",
        "RandomState",
        "async fn",
    ];
    forbid(
        &sources("store/src"),
        &words,
        "time comes in with the command, steps are driven by others",
    );
}

#[test]
fn the_client_knows_the_words_and_the_wire_alone() {
    let tree = tree("client");
    for package in ["quorate-store", "quorate-raft", "quorate-node", "openraft", "redb"] {
        assert!(!tree.contains(package), "the client is built with {package}");
    }
}

#[test]
fn formats_are_ours() {
    let on_disk = |source: &Source| {
        let places = ["/format", "raft/src/log/", "raft/src/adapter/membership"];
        places.iter().any(|place| source.path.contains(place))
    };
    let formats: Vec<Source> = product().into_iter().filter(on_disk).collect();
    assert!(formats.len() > 5, "the formats have moved; this test looks for them in vain");
    let words = ["openraft", "prost", "tonic", "wire::", "serde"];
    forbid(&formats, &words, "no type of a library is on a disk");
}

#[test]
fn only_the_wire_and_the_services_see_prost() {
    let services = ["proto/", "node/src/server/"];
    let serves = |source: &Source| services.iter().any(|place| source.path.starts_with(place));
    let others: Vec<Source> = product().into_iter().filter(|source| !serves(source)).collect();
    forbid(&others, &["prost::"], "messages are encoded by tonic, and converted in proto's wire");
    let wireless = ["store/src", "raft/src/log", "node/src/commands"];
    let wireless: Vec<Source> = wireless.iter().flat_map(|folder| sources(folder)).collect();
    forbid(&wireless, &["wire::"], "there is no wire here");
}

#[test]
fn only_the_node_reads_the_environment_and_command_lines() {
    for package in ["proto", "store", "raft", "client", "client/app", "client/testing"] {
        let sources = sources(&format!("{package}/src"));
        forbid(
            &sources,
            &["env::var", "env::args", "clap::", "option_env!"],
            "settings are the node's",
        );
        assert!(!dependencies(package).contains("clap"), "{package} depends on clap");
    }
}

#[test]
fn clocks_randomness_and_threads_come_from_the_host() {
    let words =
        ["SystemTime::now", "std::time::Instant", "thread::spawn", "spawn_blocking", "new_v4"];
    let host = |source: &Source| source.path.starts_with("raft/src/host");
    let raft = sources("raft/src").into_iter().filter(|source| !host(source));
    let server = sources("node/src/server").into_iter();
    let seen: Vec<Source> = raft.chain(server).collect();
    forbid(&seen, &words, "the simulation would not be the same twice");
}

#[test]
fn every_file_says_what_it_is_for_and_is_short() {
    let mut faults = Vec::new();
    for source in product().into_iter().chain(sources("tests")) {
        if !source.whole.starts_with("//! ") {
            faults.push(format!("{} does not open with `//!`", source.path));
        }
        let lines = source.whole.lines().count();
        if lines > 500 {
            faults.push(format!("{} has {lines} lines", source.path));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn nothing_is_left_unfinished() {
    // The words are put together here so that this file does not hold them.
    let words: Vec<String> =
        [("to", "do!("), ("unimple", "mented!("), ("db", "g!("), ("FIX", "ME")]
            .iter()
            .map(|(one, two)| format!("{one}{two}"))
            .collect();
    let mut found = Vec::new();
    for source in product().into_iter().chain(sources("tests")) {
        for (number, line) in source.whole.lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_sample_configurations_are_what_the_node_reads() {
    let mut parsed = BTreeMap::new();
    for entry in fs::read_dir(root().join("deploy")).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let settings = config::parse(&read(&path))
                .and_then(config::Settings::resolve)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            parsed.insert(path.file_stem().expect("a name").display().to_string(), settings);
        }
    }
    assert_eq!(parsed.len(), 2, "{:?}", parsed.keys());
    let insecure = |name: &str| parsed[name].server.insecure;
    assert!(!insecure("single-host") && insecure("three-hosts"));
}

#[test]
fn documents_link_to_what_is_there() {
    let mut broken = Vec::new();
    for document in documents() {
        let text = read(&document);
        let folder = document.parent().expect("a folder").to_owned();
        let document = document.display();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            let outside = link.contains("://") || file.is_empty();
            if !outside && !folder.join(file).exists() {
                broken.push(format!("{document} links to `{link}`"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Returns the paths of the documents that are to be read.
fn documents() -> Vec<PathBuf> {
    let top = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "deploy/README.md"];
    let below = fs::read_dir(root().join("docs")).expect("the folder");
    let below = below.map(|entry| entry.expect("an entry").path());
    let below = below.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    top.iter().map(|document| root().join(document)).chain(below).collect()
}

/// The README names a test as `` `its_name` ``, on a line that links to the test's file or folder.
#[test]
fn the_promises_of_the_readme_name_tests_that_exist() {
    let everything: Vec<Source> = product().into_iter().chain(sources("tests")).collect();
    let text = read(&root().join("README.md"));
    let (mut named, mut missing) = (0, Vec::new());
    for line in text.lines() {
        let files: Vec<&str> = line
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
            .filter(|file| root().join(file).exists())
            .collect();
        let names = line.split('`').skip(1).step_by(2).filter(|name| is_test_name(name));
        for name in names.filter(|_| !files.is_empty()) {
            named += 1;
            let declared = [format!("fn {name}("), format!("fn {name}<")];
            let there = |source: &Source| {
                files.iter().any(|file| source.path.starts_with(file))
                    && declared.iter().any(|declared| source.whole.contains(declared))
            };
            if !everything.iter().any(there) {
                missing.push(format!("`{name}` is not in {}", files.join(" or ")));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    assert!(named >= 6, "six promises, and only {named} tests are named");
}

fn is_test_name(text: &str) -> bool {
    text.matches('_').count() >= 2 && text.chars().all(|one| one.is_ascii_lowercase() || one == '_')
}
