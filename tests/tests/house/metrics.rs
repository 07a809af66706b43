//! Metrics as they are documented, shown and alerted on: all names are those that the node lists.

use std::collections::{BTreeMap, BTreeSet};

use quorate_node::server::{METRICS, Metric, MetricKind};
use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use super::{read, root};

/// A file of alert rules, as Prometheus reads it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    alert: String,
    expr: String,
    #[serde(rename = "for")]
    pending: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

fn rules() -> Vec<Rule> {
    let text = read(&root().join("deploy/alerts.yaml"));
    let file: RuleFile = serde_saphyr::from_str(&text).expect("a file of rules");
    let [group] = &file.groups[..] else { panic!("one group") };
    assert_eq!(group.name, "quorate");
    file.groups.into_iter().flat_map(|group| group.rules).collect()
}

fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a regular expression")
}

/// Returns the faults of an expression in PromQL that can be found without Prometheus: a name that no node has, a part
/// of a histogram that is none, a label that the metric has not, and brackets that do not match.
fn faults(expression: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for name in pattern(r"quorate_[a-z_]+").find_iter(expression).map(|found| found.as_str()) {
        if !METRICS.iter().any(|metric| is_series_of(metric, name)) {
            faults.push(format!("there is no `{name}`"));
        }
    }
    let mut open = Vec::new();
    for c in expression.chars() {
        match c {
            '(' | '{' | '[' => open.push(c),
            ')' | '}' | ']' => {
                let expected = match c {
                    ')' => '(',
                    '}' => '{',
                    _ => '[',
                };
                if open.pop() != Some(expected) {
                    faults.push(format!("`{c}` closes nothing"));
                }
            }
            _ => {}
        }
    }
    if !open.is_empty() {
        faults.push(format!("not closed: {open:?}"));
    }
    let labels: BTreeSet<&str> = METRICS.iter().filter_map(|metric| metric.label).collect();
    for grouped in pattern(r"\bby \(([^)]*)\)").captures_iter(expression) {
        for label in grouped[1].split(',').map(str::trim) {
            if !["job", "instance", "le"].contains(&label) && !labels.contains(label) {
                faults.push(format!("there is no label `{label}`"));
            }
        }
    }
    faults
}

/// Returns true if a metric is scraped under this name; a histogram is scraped in three parts.
fn is_series_of(metric: &Metric, name: &str) -> bool {
    match metric.kind {
        MetricKind::Histogram => ["_bucket", "_sum", "_count"]
            .contains(&name.strip_prefix(metric.name).unwrap_or_default()),
        MetricKind::Gauge | MetricKind::Counter => name == metric.name,
    }
}

#[test]
fn faults_of_expressions_are_found() {
    assert_eq!(faults("max by (job) (quorate_term) > 1"), [""; 0]);
    assert_eq!(faults("sum by (group) (rate(quorate_apply_duration_seconds_count[5m]))"), [""; 0]);
    for wrong in [
        "quorate_terms",
        "quorate_apply_duration_seconds",
        "quorate_term_bucket",
        "max(quorate_term",
        "rate(quorate_term[5m)]",
        "sum by (node) (quorate_term)",
    ] {
        assert!(!faults(wrong).is_empty(), "{wrong}");
    }
}

#[test]
fn alerts_are_about_metrics_that_exist_and_name_their_section_of_the_runbook() {
    let runbook = read(&root().join("docs/operations.md"));
    let section = runbook.split("\n## Alerts\n").nth(1).expect("a section about alerts");
    let section = section.split("\n## ").next().unwrap_or_default();
    let explained: BTreeSet<&str> =
        section.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let mut names = BTreeSet::new();
    let rules = rules();
    for Rule { alert, expr, pending, labels, annotations } in &rules {
        assert_eq!(faults(expr), [""; 0], "{alert}");
        let is_span = |span: &String| pattern(r"^\d+[smhd]$").is_match(span);
        assert!(pending.as_ref().is_none_or(is_span), "{alert}: {pending:?}");
        let labels: Vec<(&str, &str)> =
            labels.iter().map(|(label, value)| (label.as_str(), value.as_str())).collect();
        let [("severity", "critical" | "warning" | "info")] = labels[..] else {
            panic!("{alert}: {labels:?}");
        };
        let annotated: Vec<&str> = annotations.keys().map(String::as_str).collect();
        assert_eq!(annotated, ["runbook", "summary"], "{alert}");
        let link = format!("docs/operations.md#{}", alert.to_lowercase());
        assert_eq!(annotations["runbook"], link, "{alert}");
        assert!(names.insert(alert.as_str()), "{alert} is there twice");
    }
    assert_eq!(names, explained, "the sections of docs/operations.md are those of the alerts");
}

/// Returns all texts under a key, wherever it is.
fn texts_under<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| texts_under(value, key, found)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(text) if name == key => found.push(text),
                    _ => texts_under(value, key, found),
                }
            }
        }
        _ => {}
    }
}

#[test]
fn the_dashboard_shows_metrics_that_exist_and_leaves_none_out() {
    let text = read(&root().join("deploy/grafana-dashboard.json"));
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let mut expressions = Vec::new();
    texts_under(&dashboard["panels"], "expr", &mut expressions);
    assert!(expressions.len() > 20, "the dashboard has panels");
    for expression in &expressions {
        assert_eq!(faults(expression), [""; 0], "{expression}");
    }
    let shown = expressions.join(" ");
    // Those that are not drawn tell the same as others.
    let not_drawn = ["quorate_checkpointed_index"];
    let missing = METRICS.iter().map(|metric| metric.name).filter(|name| !shown.contains(name));
    assert_eq!(missing.collect::<Vec<_>>(), not_drawn);
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<u64> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
}

/// Returns the table of all metrics as the document has it.
fn table() -> String {
    let mut table = "| name | type | label | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for Metric { name, kind, label, help } in METRICS {
        let label = label.map(|label| format!("`{label}`")).unwrap_or_default();
        table.push_str(&format!("| `{name}` | {} | {label} | {help} |\n", kind.as_str()));
    }
    table
}

#[test]
fn every_metric_is_documented_as_the_node_describes_it() {
    let document = read(&root().join("docs/metrics.md"));
    let table = table();
    assert!(document.contains(&table), "docs/metrics.md must have this table:\n{table}");
}
