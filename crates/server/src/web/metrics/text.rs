//! The text format of Prometheus (version 0.0.4), written by hand: it is three kinds of lines.

use std::{collections::HashSet, fmt::Write};

use sempre_engine::HistogramReading;

/// What has been written.
#[derive(Default)]
pub(super) struct Text {
    text: String,
    known: HashSet<&'static str>,
}

/// One family, to which samples are written.
pub(super) struct Family<'t> {
    text: &'t mut String,
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
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { text: &mut self.text, name }
    }

    pub(super) fn into_string(self) -> String {
        self.text
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
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        let all = labels.iter().copied().chain(bound.map(|bound| ("le", bound)));
        for (at, (name, value)) in all.enumerate() {
            self.text.push(if at == 0 { '{' } else { ',' });
            let _ = write!(self.text, "{name}=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
        }
        if !labels.is_empty() || bound.is_some() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
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
}
