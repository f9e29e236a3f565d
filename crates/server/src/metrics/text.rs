//! The text format of Prometheus (version 0.0.4), written by hand: it is three kinds of lines.

use std::fmt::Write;

use super::collected::{Collected, Kind, OwnedLabels, Value};

/// All that was collected, as text.
pub(super) fn text(collected: &Collected) -> String {
    let mut text = String::new();
    for family in collected.families() {
        let (name, kind) = (
            family.name,
            match family.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            },
        );
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", family.help);
        for sample in &family.samples {
            let mut line = |suffix, bound: Option<&str>, value| line(&mut text, (name, suffix), &sample.labels, bound, value);
            match &sample.value {
                Value::Number(value) => line("", None, *value),
                Value::Histogram(reading) => {
                    for (bound, count) in &reading.up_to {
                        line("_bucket", Some(&bound.to_string()), *count as f64);
                    }
                    line("_bucket", Some("+Inf"), reading.count as f64);
                    line("_sum", None, reading.sum);
                    line("_count", None, reading.count as f64);
                }
            }
        }
    }
    text
}

fn line(text: &mut String, (name, suffix): (&str, &str), labels: &OwnedLabels, bound: Option<&str>, value: f64) {
    let _ = write!(text, "{name}{suffix}");
    let all = labels.iter().map(|(name, value)| (*name, value.as_str())).chain(bound.map(|bound| ("le", bound)));
    for (at, (name, value)) in all.enumerate() {
        text.push(if at == 0 { '{' } else { ',' });
        let _ = write!(text, "{name}=\"");
        for c in value.chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                c => text.push(c),
            }
        }
        text.push('"');
    }
    if !labels.is_empty() || bound.is_some() {
        text.push('}');
    }
    let _ = writeln!(text, " {value}");
}

#[cfg(test)]
mod tests {
    use sempre_engine::HistogramReading;

    use super::*;

    #[test]
    fn lines_are_as_prometheus_reads_them() {
        let mut all = Collected::default();
        all.counter("a_total", "What.").count(&[("name", "x\"\\\ny"), ("of", "b")], 3).count(&[], 4);
        let reading = HistogramReading { up_to: vec![(0.005, 1), (1.0, 2)], count: 3, sum: 7.5 };
        all.histogram("b_seconds", "How long.").reading(&[("of", "c")], &reading);
        let expected = "# HELP a_total What.\n# TYPE a_total counter\na_total{name=\"x\\\"\\\\\\ny\",of=\"b\"} 3\na_total 4\n\
            # HELP b_seconds How long.\n# TYPE b_seconds histogram\nb_seconds_bucket{of=\"c\",le=\"0.005\"} 1\n\
            b_seconds_bucket{of=\"c\",le=\"1\"} 2\nb_seconds_bucket{of=\"c\",le=\"+Inf\"} 3\nb_seconds_sum{of=\"c\"} 7.5\n\
            b_seconds_count{of=\"c\"} 3\n";
        assert_eq!(text(&all), expected);
    }

    #[test]
    fn no_series_comes_twice() {
        let mut all = Collected::default();
        all.counter("a_total", "What.").count(&[("of", "other")], 3).count(&[("of", "b")], 1).count(&[("of", "other")], 4);
        let (one, two) = (
            HistogramReading { up_to: vec![(1.0, 2)], count: 3, sum: 7.5 },
            HistogramReading { up_to: vec![(1.0, 1)], count: 1, sum: 0.5 },
        );
        all.histogram("b_seconds", "How long.").reading(&[("of", "other")], &one).reading(&[("of", "other")], &two);
        let expected = "# HELP a_total What.\n# TYPE a_total counter\na_total{of=\"other\"} 7\na_total{of=\"b\"} 1\n\
            # HELP b_seconds How long.\n# TYPE b_seconds histogram\nb_seconds_bucket{of=\"other\",le=\"1\"} 3\n\
            b_seconds_bucket{of=\"other\",le=\"+Inf\"} 4\nb_seconds_sum{of=\"other\"} 8\nb_seconds_count{of=\"other\"} 4\n";
        assert_eq!(text(&all), expected);
    }
}
