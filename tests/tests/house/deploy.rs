//! The image, the compose file and the unit: what they tell the binary is what the binary takes.

use std::collections::BTreeMap;
use std::process::Command;

use quorate_node::commands::serve::config;
use quorate_tests::cluster::binary;
use serde_json::Value;

use super::{read, root};

/// The settings of the environment that the commands of the image share.
const SHARED: [&str; 1] = ["QUORATE_ENDPOINTS"];

/// Returns the settings that a node finds in these variables of its environment.
pub(super) fn settings_of(environment: &BTreeMap<String, String>) -> config::InForce {
    let mut toml = String::new();
    for (name, value) in environment {
        let Some(key) = name.strip_prefix("QUORATE_") else { continue };
        assert!(!SHARED.contains(&name.as_str()), "{name} is no setting of a node");
        let value = if matches!(value.as_str(), "true" | "false") {
            value.clone()
        } else {
            format!("\"{value}\"")
        };
        toml.push_str(&format!("{} = {value}\n", key.to_lowercase()));
    }
    let settings = config::parse(&toml).and_then(config::Settings::resolve);
    settings.unwrap_or_else(|error| panic!("{error}:\n{toml}"))
}

/// Returns the exit code with which the binary's own parser ends: 0 if it takes the command line.
fn parsed(arguments: &[&str]) -> Option<i32> {
    let mut command = Command::new(binary());
    let output = command.args(arguments).arg("--help").output().expect("it runs");
    output.status.code()
}

/// Checks that the binary takes a command line.
pub(super) fn must_parse(arguments: &[&str]) {
    assert_eq!(parsed(arguments), Some(0), "{arguments:?}");
}

/// Returns the texts of a list.
pub(super) fn texts(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap_or_else(|| panic!("{list} is no list"));
    list.iter().map(|text| text.as_str().unwrap_or_else(|| panic!("{text} is no text"))).collect()
}

/// Returns the values of the instruction `ENV` of the Dockerfile.
pub(super) fn environment_of_the_image() -> BTreeMap<String, String> {
    let dockerfile = read(&root().join("deploy/Dockerfile")).replace("\\\n", " ");
    let lines = dockerfile.lines().filter_map(|line| line.strip_prefix("ENV "));
    let pairs = lines.flat_map(str::split_whitespace).filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn a_command_line_that_the_binary_does_not_take_is_noticed() {
    must_parse(&["cluster", "init", "--peers", "a:1,b:2"]);
    for wrong in [
        &["cluster", "found"][..],
        &["cluster", "init", "--peer", "a:1"],
        &["cluster", "init", "--peers", "a"],
        &["serve", "--confg", "a"],
    ] {
        assert_eq!(parsed(wrong), Some(2), "{wrong:?}");
    }
}

#[test]
fn the_image_serves_with_settings_that_the_node_takes_on_the_ports_that_it_exposes() {
    let mut environment = environment_of_the_image();
    for (name, value) in [
        ("QUORATE_INSECURE", "true"),
        ("QUORATE_ADVERTISE", "node-1:7701"),
        ("QUORATE_PEER_ADVERTISE", "node-1:7801"),
    ] {
        environment.insert(name.to_owned(), value.to_owned());
    }
    let server = settings_of(&environment).server;
    let port = |address: &str| address.rsplit(':').next().unwrap_or_default().to_owned();
    let ports = [&server.listen, &server.peer_listen, &server.metrics_listen.expect("an address")]
        .map(|address| port(address));
    let dockerfile = read(&root().join("deploy/Dockerfile"));
    assert!(dockerfile.contains(&format!("\nEXPOSE {}\n", ports.join(" "))));
    assert!(dockerfile.contains("\nENTRYPOINT [\"quorate\"]\nCMD [\"serve\"]\n"));
    must_parse(&["serve"]);
}

#[test]
fn the_compose_file_founds_a_cluster_of_the_nodes_that_it_starts() {
    let text = read(&root().join("deploy/compose.yaml"));
    let compose: Value = serde_saphyr::from_str(&text).expect("YAML");
    let services = compose["services"].as_object().expect("services");
    let mut peers = Vec::new();
    for (name, service) in services.iter().filter(|(name, _)| *name != "init") {
        let mut environment = environment_of_the_image();
        for (name, value) in service["environment"].as_object().expect("variables") {
            environment.insert(name.clone(), value.as_str().expect("a text").to_owned());
        }
        let server = settings_of(&environment).server;
        assert_eq!(server.advertise, format!("{name}:7701"));
        peers.push(server.peer_advertise);
        assert_eq!(service["volumes"], serde_json::json!([format!("{name}:/data")]));
        assert!(compose["volumes"].as_object().expect("volumes").contains_key(name));
        let ports = texts(&service["ports"]);
        assert!(ports.iter().all(|port| port.starts_with("127.0.0.1:")), "{ports:?}");
        assert!(ports[0].ends_with(":7701") && ports[1].ends_with(":9701"), "{ports:?}");
        let [first, "quorate", probe @ ..] = &texts(&service["healthcheck"]["test"])[..] else {
            panic!("{name} has no check of its health");
        };
        assert_eq!(*first, "CMD");
        must_parse(probe);
    }
    assert_eq!(peers.len(), 3);
    let init = &services["init"];
    let command = texts(&init["command"]);
    must_parse(&command);
    assert_eq!(command, ["cluster", "init", "--peers", &peers.join(",")]);
    let awaited = init["depends_on"].as_object().expect("nodes").keys();
    assert!(awaited.eq(services.keys().filter(|name| *name != "init")));
}

#[test]
fn the_unit_starts_a_node_with_a_configuration_and_stops_it_in_order() {
    let unit = read(&root().join("deploy/quorate.service"));
    let value = |key: &str| {
        let mut values = unit.lines().filter_map(|line| line.strip_prefix(&format!("{key}=")));
        values.next().unwrap_or_else(|| panic!("the unit has no {key}"))
    };
    let start: Vec<&str> = value("ExecStart").split(' ').collect();
    let ["/usr/local/bin/quorate", arguments @ ..] = &start[..] else { panic!("{start:?}") };
    must_parse(arguments);
    let [.., "--config", settings] = arguments else { panic!("{arguments:?}") };
    assert_eq!(value("Documentation"), format!("file://{settings}"));
    assert_eq!((value("KillSignal"), value("Restart")), ("SIGTERM", "on-failure"));
    let seconds: u64 = value("TimeoutStopSec").parse().expect("a number of seconds");
    assert!(seconds >= 30);
    // The folder of the sample configuration is the one that the unit makes.
    let sample = read(&root().join("deploy/three-hosts.toml"));
    let folder = format!("data = \"/var/lib/{}\"\n", value("StateDirectory"));
    assert!(sample.contains(&folder), "{folder}");
}
