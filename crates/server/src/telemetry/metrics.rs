//! The metrics as OTLP has them: the same names, labels and values as Prometheus reads.

use super::messages::{Data, Gauge, Histogram, HistogramPoint, KeyValue, Metric, NumberPoint, Sum, Temporality};
use crate::metrics::collected::{Collected, Family, Kind, OwnedLabels, Value};

/// All families. What is counted is counted since `start`, and was read at `now` (nanoseconds since 1970).
pub(super) fn metrics(collected: &Collected, start: u64, now: u64) -> Vec<Metric> {
    // OTLP has no family without samples.
    collected.families().iter().filter(|family| !family.samples.is_empty()).map(|family| metric(family, start, now)).collect()
}

fn metric(family: &Family, start: u64, now: u64) -> Metric {
    let numbers = || family.samples.iter().filter_map(|sample| number(&sample.labels, &sample.value, start, now)).collect();
    let cumulative = Temporality::Cumulative as i32;
    let data = match family.kind {
        Kind::Counter => Data::Sum(Sum { data_points: numbers(), aggregation_temporality: cumulative, is_monotonic: true }),
        Kind::Gauge => Data::Gauge(Gauge { data_points: numbers() }),
        Kind::Histogram => {
            let points = family.samples.iter().filter_map(|sample| histogram(&sample.labels, &sample.value, start, now));
            Data::Histogram(Histogram { data_points: points.collect(), aggregation_temporality: cumulative })
        }
    };
    Metric { name: family.name.to_owned(), description: family.help.to_owned(), unit: unit(family.name).to_owned(), data: Some(data) }
}

/// The unit, where the name says it: a receiver that puts units into names must find nothing to add.
fn unit(name: &str) -> &'static str {
    let name = name.strip_suffix("_total").unwrap_or(name);
    match name.rsplit('_').next() {
        Some("seconds") => "s",
        Some("bytes") => "By",
        _ => "",
    }
}

fn attributes(labels: &OwnedLabels) -> Vec<KeyValue> {
    labels.iter().map(|(name, value)| KeyValue::text(name, value.clone())).collect()
}

fn number(labels: &OwnedLabels, value: &Value, start: u64, now: u64) -> Option<NumberPoint> {
    let Value::Number(value) = value else { return None };
    Some(NumberPoint { start_time_unix_nano: start, time_unix_nano: now, as_double: Some(*value), attributes: attributes(labels) })
}

/// Classes count for themselves here; they are read as sums of all up to a bound.
fn histogram(labels: &OwnedLabels, value: &Value, start: u64, now: u64) -> Option<HistogramPoint> {
    let Value::Histogram(reading) = value else { return None };
    let sums = reading.up_to.iter().map(|(_, count)| *count).chain([reading.count]);
    let mut before = 0;
    let bucket_counts = sums.map(|sum| sum.saturating_sub(std::mem::replace(&mut before, sum))).collect();
    Some(HistogramPoint {
        start_time_unix_nano: start,
        time_unix_nano: now,
        count: reading.count,
        sum: Some(reading.sum),
        bucket_counts,
        explicit_bounds: reading.up_to.iter().map(|(bound, _)| *bound).collect(),
        attributes: attributes(labels),
    })
}

#[cfg(test)]
mod tests {
    use sempre_engine::HistogramReading;

    use super::*;

    #[test]
    fn units_are_those_that_names_end_with() {
        let units = ["sempre_data_bytes", "process_cpu_seconds_total", "service_latency", "sempre_commits_total"].map(unit);
        assert_eq!(units, ["By", "s", "", ""]);
    }

    #[test]
    fn classes_of_histograms_count_for_themselves() {
        let reading = HistogramReading { up_to: vec![(0.5, 1), (1.0, 4)], count: 6, sum: 7.5 };
        let point = histogram(&vec![("of", "c".to_owned())], &Value::Histogram(reading), 1, 2).expect("a histogram");
        assert_eq!((point.bucket_counts, point.explicit_bounds, point.count), (vec![1, 3, 2], vec![0.5, 1.0], 6));
    }
}
