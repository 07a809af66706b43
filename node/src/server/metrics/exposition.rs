//! Metrics in the text format of Prometheus, as one scrape finds them.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;
use quorate_raft::Observations;

use super::names::{Metric, MetricKind};

/// The content type of the text.
pub(crate) const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// The type of the exemplars that the histograms do not have.
type NoExemplar = Exemplar<Vec<(String, String)>, f64>;

/// The value of a metric.
#[derive(Debug)]
pub(super) enum Value {
    Whole(u64),
    Signed(i64),
    Real(f64),
    /// A value for each value of the metric's label.
    Labelled(Vec<(String, u64)>),
    Times(Observations),
}

/// The metrics with their values.
#[derive(Debug, Default)]
pub(super) struct Exposition(Vec<(Metric, Value)>);

impl Exposition {
    pub(super) fn add(&mut self, metric: Metric, value: Value) {
        debug_assert_eq!(metric.label.is_some(), matches!(value, Value::Labelled(_)));
        debug_assert_eq!(metric.kind == MetricKind::Histogram, matches!(value, Value::Times(_)));
        self.0.push((metric, value));
    }

    pub(super) fn yes_or_no(&mut self, metric: Metric, value: bool) {
        self.add(metric, Value::Whole(value.into()));
    }

    pub(super) fn whole(&mut self, metric: Metric, value: u64) {
        self.add(metric, Value::Whole(value));
    }

    /// Returns the text.
    pub(super) fn text(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        prometheus_text::encode(&mut text, &registry).expect("a string takes everything");
        text
    }
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        self.0.iter().try_for_each(|(metric, value)| encode(&mut encoder, metric, value))
    }
}

fn encode(encoder: &mut DescriptorEncoder, metric: &Metric, value: &Value) -> fmt::Result {
    let (name, kind) = match metric.kind {
        MetricKind::Gauge => (metric.name, MetricType::Gauge),
        // The library adds the ending of a counter's name.
        MetricKind::Counter => (metric.name.trim_end_matches("_total"), MetricType::Counter),
        MetricKind::Histogram => (metric.name, MetricType::Histogram),
    };
    let mut encoder = encoder.encode_descriptor(name, metric.help, None, kind)?;
    match value {
        Value::Whole(value) if metric.kind == MetricKind::Counter => {
            encoder.encode_counter(value, None::<&NoExemplar>)
        }
        Value::Whole(value) => encoder.encode_gauge(value),
        Value::Signed(value) => encoder.encode_gauge(value),
        Value::Real(value) => encoder.encode_gauge(value),
        Value::Labelled(values) => values.iter().try_for_each(|(label, value)| {
            let labels = [(metric.label.unwrap_or_default(), label.as_str())];
            encoder.encode_family(&labels)?.encode_gauge(value)
        }),
        Value::Times(Observations { buckets, sum_seconds }) => {
            let count = buckets.iter().map(|(_, count)| count).sum();
            encoder.encode_histogram::<Vec<(String, String)>>(*sum_seconds, count, buckets, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quorate_raft::Histogram;

    use super::super::names;
    use super::*;

    #[test]
    fn each_group_has_a_line_with_its_name_escaped() {
        let lags = vec![("billing".to_owned(), 7), ("a\"b\\c".to_owned(), 0)];
        let mut exposition = Exposition::default();
        exposition.add(names::GROUP_LAG, Value::Labelled(lags));
        let text = exposition.text();
        let lines: Vec<&str> = text.lines().skip(1).collect();
        let expected = [
            "# TYPE quorate_group_lag gauge",
            "quorate_group_lag{group=\"billing\"} 7",
            "quorate_group_lag{group=\"a\\\"b\\\\c\"} 0",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_counter_keeps_its_name_and_a_histogram_counts_all_that_is_shorter() {
        let histogram = Histogram::default();
        histogram.observe_many(Duration::from_millis(1), 2);
        histogram.observe(Duration::from_secs(60));
        let mut exposition = Exposition::default();
        exposition.whole(names::SCRUBBED_BYTES, 5);
        exposition.add(names::APPEND_TIME, Value::Times(histogram.observations()));
        let text = exposition.text();
        for line in [
            "# TYPE quorate_scrubbed_bytes_total counter",
            "quorate_scrubbed_bytes_total 5",
            "# TYPE quorate_append_duration_seconds histogram",
            "quorate_append_duration_seconds_bucket{le=\"0.0005\"} 0",
            "quorate_append_duration_seconds_bucket{le=\"0.001\"} 2",
            "quorate_append_duration_seconds_bucket{le=\"30\"} 2",
            "quorate_append_duration_seconds_bucket{le=\"+Inf\"} 3",
            "quorate_append_duration_seconds_count 3",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}: {text}");
        }
    }
}
