//! The manifests for Kubernetes: their parts fit each other, and the binary takes what they tell it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::deploy::{environment_of_the_image, must_parse, settings_of, texts};
use super::{read, root};

const NAMESPACE: &str = "events";

/// A manifest, as far as all kinds are alike.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Manifest {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

fn manifests(file: &str) -> Vec<Manifest> {
    let text = read(&root().join("deploy/kubernetes").join(file));
    let manifests: Vec<Manifest> = serde_saphyr::from_multiple(&text).expect("YAML");
    let versions = [
        ("Service", "v1"),
        ("PodDisruptionBudget", "policy/v1"),
        ("NetworkPolicy", "networking.k8s.io/v1"),
        ("StatefulSet", "apps/v1"),
        ("Job", "batch/v1"),
    ];
    for Manifest { api_version, kind, metadata, .. } in &manifests {
        assert!(versions.contains(&(kind, api_version)), "{kind} of {api_version}");
        assert!(metadata.labels.values().all(|label| label == "quorate"), "{}", metadata.name);
    }
    manifests
}

/// Returns the spec of the manifest of a kind with a name.
fn spec<'a>(manifests: &'a [Manifest], kind: &str, name: &str) -> &'a Value {
    let mut named = manifests.iter().filter(|one| one.kind == kind && one.metadata.name == name);
    let found = named.next().unwrap_or_else(|| panic!("there is no {kind} {name}"));
    assert!(named.next().is_none(), "there are two of {kind} {name}");
    &found.spec
}

/// Returns the only container of a pod.
fn container(pod: &Value) -> &Value {
    let [container] = &pod["spec"]["containers"].as_array().expect("containers")[..] else {
        panic!("one container");
    };
    assert_eq!(container["image"], "quorate");
    container
}

/// Returns a text in which Kubernetes has put the values of the variables for a pod.
fn expanded(text: &str, pod: &str) -> String {
    let text = text.replace("$(POD_NAME)", pod).replace("$(POD_NAMESPACE)", NAMESPACE);
    assert!(!text.contains("$("), "{text}");
    text
}

/// Returns the environment of a container in a pod. A variable may name only those that stand before it.
fn environment(container: &Value, pod: &str) -> BTreeMap<String, String> {
    let mut environment = environment_of_the_image();
    let mut fields = Vec::new();
    for variable in container["env"].as_array().expect("variables") {
        let name = variable["name"].as_str().expect("a name");
        match variable["value"].as_str() {
            Some(value) => {
                let names = value.split("$(").skip(1).filter_map(|rest| rest.split(')').next());
                assert!(names.clone().all(|name| fields.contains(&name)), "{value}: {fields:?}");
                environment.insert(name.to_owned(), expanded(value, pod));
            }
            None => {
                let field = &variable["valueFrom"]["fieldRef"]["fieldPath"];
                let expected =
                    if name == "POD_NAME" { "metadata.name" } else { "metadata.namespace" };
                assert_eq!(field, expected, "{name}");
                fields.push(name);
            }
        }
    }
    environment
}

#[test]
fn the_pods_serve_with_settings_that_the_node_takes_under_names_that_the_service_gives_them() {
    let manifests = manifests("quorate.yaml");
    let set = spec(&manifests, "StatefulSet", "quorate");
    let container = container(&set["template"]);
    must_parse(&texts(&container["args"]));
    let service = set["serviceName"].as_str().expect("a name");
    assert_eq!(spec(&manifests, "Service", service)["clusterIP"], "None");
    for number in 0..3 {
        let pod = format!("quorate-{number}");
        let server = settings_of(&environment(container, &pod)).server;
        let name = format!("{pod}.{service}.{NAMESPACE}.svc");
        assert_eq!(server.advertise, format!("{name}:7701"));
        assert_eq!(server.peer_advertise, format!("{name}:7801"));
        assert!(server.insecure);
        let listening = [
            (server.listen, "clients"),
            (server.peer_listen, "peers"),
            (server.metrics_listen.expect("an address"), "metrics"),
        ];
        for (address, name) in listening {
            let port: u64 = address.rsplit(':').next().expect("a port").parse().expect("a number");
            let ports = container["ports"].as_array().expect("ports");
            assert!(
                ports.iter().any(|one| one["name"] == name && one["containerPort"] == port),
                "{name} at {port}"
            );
        }
        // The folder is on the volume that the set keeps for the pod.
        let mount = &container["volumeMounts"][0];
        assert!(server.directory.starts_with(mount["mountPath"].as_str().expect("a path")));
        assert_eq!(mount["name"], set["volumeClaimTemplates"][0]["metadata"]["name"]);
    }
    let lead = &container["securityContext"];
    assert_eq!(lead["readOnlyRootFilesystem"], true, "the folder alone is written");
}

#[test]
fn services_the_budget_and_the_policy_select_the_pods_and_name_their_ports() {
    let manifests = manifests("quorate.yaml");
    let set = spec(&manifests, "StatefulSet", "quorate");
    let labels = &set["template"]["metadata"]["labels"];
    let spread = &set["template"]["spec"]["topologySpreadConstraints"][0]["labelSelector"];
    let budget = spec(&manifests, "PodDisruptionBudget", "quorate");
    let policy = spec(&manifests, "NetworkPolicy", "quorate");
    for selected in [
        &set["selector"]["matchLabels"],
        &spread["matchLabels"],
        &budget["selector"]["matchLabels"],
        &policy["podSelector"]["matchLabels"],
        &spec(&manifests, "Service", "quorate")["selector"],
        &spec(&manifests, "Service", "quorate-clients")["selector"],
    ] {
        assert_eq!(selected, labels);
    }
    assert_eq!((&set["replicas"], &budget["maxUnavailable"]), (&3.into(), &1.into()));
    let ports = container(&set["template"])["ports"].as_array().expect("ports");
    for service in ["quorate", "quorate-clients"] {
        for port in spec(&manifests, "Service", service)["ports"].as_array().expect("ports") {
            let target = |one: &&Value| one["name"] == port["targetPort"];
            let target = ports.iter().find(target).unwrap_or_else(|| panic!("{port}"));
            assert_eq!(port["port"], target["containerPort"]);
        }
    }
    let open = policy["ingress"].as_array().expect("rules").iter();
    let open: Vec<&Value> = open.map(|rule| &rule["ports"][0]["port"]).collect();
    assert!(open.iter().copied().eq(ports.iter().map(|port| &port["name"])), "{open:?}");
}

#[test]
fn probes_ask_what_the_node_serves_and_a_stop_has_the_time_that_it_needs() {
    let manifests = manifests("quorate.yaml");
    let set = spec(&manifests, "StatefulSet", "quorate");
    let container = container(&set["template"]);
    for (probe, path) in
        [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]
    {
        assert_eq!(container[probe]["httpGet"]["path"], path);
        assert_eq!(container[probe]["httpGet"]["port"], "metrics");
        let span = |field: &str| container[probe][field].as_u64().expect("a number");
        assert!(span("timeoutSeconds") <= span("periodSeconds"), "{probe}");
    }
    let metrics = spec(&manifests, "NetworkPolicy", "quorate")["ingress"].as_array();
    let metrics = metrics.and_then(|rules| rules.last()).expect("rules");
    assert!(metrics.get("from").is_none(), "the machine itself probes, which is no pod");
    let grace = set["template"]["spec"]["terminationGracePeriodSeconds"].as_u64();
    assert!(grace.is_some_and(|seconds| seconds >= 30));
    // Nodes that are not ready must find each other, and none waits for another to be.
    assert_eq!(spec(&manifests, "Service", "quorate")["publishNotReadyAddresses"], true);
    assert_eq!(set["podManagementPolicy"], "Parallel");
}

#[test]
fn the_job_founds_the_cluster_of_the_pods() {
    let nodes = manifests("quorate.yaml");
    let set = spec(&nodes, "StatefulSet", "quorate");
    let pods = 0..set["replicas"].as_u64().expect("a number");
    let advertised: Vec<String> = pods
        .map(|number| {
            let environment =
                environment(container(&set["template"]), &format!("quorate-{number}"));
            environment["QUORATE_PEER_ADVERTISE"].clone()
        })
        .collect();
    let jobs = manifests("init.yaml");
    let job = spec(&jobs, "Job", "quorate-init");
    let container = container(&job["template"]);
    let arguments: Vec<String> =
        texts(&container["args"]).iter().map(|text| expanded(text, "none")).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    must_parse(&arguments);
    let asked = format!("quorate-0.quorate.{NAMESPACE}.svc:7701");
    assert_eq!(arguments, ["cluster", "init", "--node", &asked, "--peers", &advertised.join(",")]);
    assert_eq!(job["template"]["spec"]["restartPolicy"], "OnFailure");
    assert_ne!(job["template"]["metadata"]["labels"], set["template"]["metadata"]["labels"]);
}
