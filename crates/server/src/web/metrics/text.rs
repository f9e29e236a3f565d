//! The text format of Prometheus (version 0.0.4), written by hand: it is three kinds of lines.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write,
};

use sempre_engine::HistogramReading;

/// What has been written. Samples with the same name and labels are one, their sum: what is not told apart may come in parts.
#[derive(Default)]
pub(super) struct Text {
    /// Samples, and between them the lines that say what family they are of.
    lines: Vec<(String, Option<f64>)>,
    /// Where each sample is.
    places: HashMap<String, usize>,
    known: HashSet<&'static str>,
}

/// One family, to which samples are written.
pub(super) struct Family<'t> {
    text: &'t mut Text,
    name: &'static str,
}

/// Labels and their values.
pub(super) type Labels<'l> = &'l [(&'static str, &'l str)];

impl Text {
    pub(super) fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "counter", help)
    }

    pub(super) fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "gauge", help)
    }

    pub(super) fn histogram(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "histogram", help)
    }

    fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        debug_assert!(self.known.insert(name), "{name} is written twice");
        self.lines.push((format!("# HELP {name} {help}\n# TYPE {name} {kind}"), None));
        Family { text: self, name }
    }

    pub(super) fn into_string(self) -> String {
        let mut text = String::new();
        for (line, value) in &self.lines {
            // Writing to a string cannot fail.
            let _ = match value {
                Some(value) => writeln!(text, "{line} {value}"),
                None => writeln!(text, "{line}"),
            };
        }
        text
    }
}

impl Family<'_> {
    /// One sample of a counter or gauge.
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: f64) -> &mut Self {
        self.line("", labels, None, value);
        self
    }

    /// One whole number.
    pub(super) fn count(&mut self, labels: Labels<'_>, value: u64) -> &mut Self {
        self.sample(labels, value as f64)
    }

    /// All lines of a histogram.
    pub(super) fn reading(&mut self, labels: Labels<'_>, reading: &HistogramReading) -> &mut Self {
        for (bound, count) in &reading.up_to {
            self.line("_bucket", labels, Some(&bound.to_string()), *count as f64);
        }
        self.line("_bucket", labels, Some("+Inf"), reading.count as f64);
        self.line("_sum", labels, None, reading.sum);
        self.line("_count", labels, None, reading.count as f64);
        self
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, bound: Option<&str>, value: f64) {
        let mut series = format!("{}{suffix}", self.name);
        let all = labels.iter().copied().chain(bound.map(|bound| ("le", bound)));
        for (at, (name, value)) in all.enumerate() {
            series.push(if at == 0 { '{' } else { ',' });
            let _ = write!(series, "{name}=\"");
            for c in value.chars() {
                match c {
                    '\\' => series.push_str("\\\\"),
                    '"' => series.push_str("\\\""),
                    '\n' => series.push_str("\\n"),
                    c => series.push(c),
                }
            }
            series.push('"');
        }
        if !labels.is_empty() || bound.is_some() {
            series.push('}');
        }
        let Text { lines, places, .. } = &mut *self.text;
        match places.get(&series).and_then(|place| lines[*place].1.as_mut()) {
            Some(sum) => *sum += value,
            None => {
                places.insert(series.clone(), lines.len());
                lines.push((series, Some(value)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_prometheus_reads_them() {
        let mut text = Text::default();
        text.counter("a_total", "What.").count(&[("name", "x\"\\\ny"), ("of", "b")], 3).count(&[], 4);
        let reading = HistogramReading { up_to: vec![(0.005, 1), (1.0, 2)], count: 3, sum: 7.5 };
        text.histogram("b_seconds", "How long.").reading(&[("of", "c")], &reading);
        let expected = "# HELP a_total What.\n# TYPE a_total counter\na_total{name=\"x\\\"\\\\\\ny\",of=\"b\"} 3\na_total 4\n\
            # HELP b_seconds How long.\n# TYPE b_seconds histogram\nb_seconds_bucket{of=\"c\",le=\"0.005\"} 1\n\
            b_seconds_bucket{of=\"c\",le=\"1\"} 2\nb_seconds_bucket{of=\"c\",le=\"+Inf\"} 3\nb_seconds_sum{of=\"c\"} 7.5\n\
            b_seconds_count{of=\"c\"} 3\n";
        assert_eq!(text.into_string(), expected);
    }
    #[test]
    fn no_series_comes_twice() {
        let mut text = Text::default();
        text.counter("a_total", "What.").count(&[("of", "other")], 3).count(&[("of", "b")], 1).count(&[("of", "other")], 4);
        let (one, two) = (
            HistogramReading { up_to: vec![(1.0, 2)], count: 3, sum: 7.5 },
            HistogramReading { up_to: vec![(1.0, 1)], count: 1, sum: 0.5 },
        );
        text.histogram("b_seconds", "How long.").reading(&[("of", "other")], &one).reading(&[("of", "other")], &two);
        let expected = "# HELP a_total What.\n# TYPE a_total counter\na_total{of=\"other\"} 7\na_total{of=\"b\"} 1\n\
            # HELP b_seconds How long.\n# TYPE b_seconds histogram\nb_seconds_bucket{of=\"other\",le=\"1\"} 3\n\
            b_seconds_bucket{of=\"other\",le=\"+Inf\"} 4\nb_seconds_sum{of=\"other\"} 8\nb_seconds_count{of=\"other\"} 4\n";
        assert_eq!(text.into_string(), expected);
    }
}
