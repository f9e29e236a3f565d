//! Figures, as JSON and as Markdown tables.

use std::{collections::BTreeMap, fmt::Write as _, fs};

use sempre_bench::meter::{Calibration, Spent};
use serde::Serialize;

/// What one run of a workload came to.
#[derive(Default)]
pub(crate) struct Outcome {
    /// What is counted: "workflow", "step".
    pub(crate) unit: &'static str,
    /// How many.
    pub(crate) units: u64,
    /// Of units, or of what the workload says.
    pub(crate) latencies_us: Vec<u64>,
    pub(crate) spent: Spent,
    /// What only this workload has, by name.
    pub(crate) more: BTreeMap<&'static str, f64>,
}

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) workload: String,
    pub(crate) target: String,
    pub(crate) in_flight: usize,
    pub(crate) round: usize,
    pub(crate) unit: &'static str,
    pub(crate) units: u64,
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) cpu_ms_per_unit: f64,
    pub(crate) disk_bytes_per_unit: f64,
    pub(crate) flushes_per_unit: f64,
    pub(crate) rss_mib: f64,
    pub(crate) rss_peak_mib: f64,
    /// Of the machine, just before.
    pub(crate) calibration: Calibration,
    pub(crate) more: BTreeMap<&'static str, f64>,
}

impl Figures {
    pub(crate) fn new(place: (String, &str, usize, usize), calibration: Calibration, outcome: Outcome) -> Self {
        let (workload, target, in_flight, round) = place;
        let Outcome { unit, units, mut latencies_us, spent, more } = outcome;
        latencies_us.sort_unstable();
        let each = |total: f64| total / units.max(1) as f64;
        Self {
            workload,
            target: target.to_owned(),
            in_flight,
            round,
            unit,
            units,
            seconds: spent.seconds,
            per_second: units as f64 / spent.seconds.max(f64::MIN_POSITIVE),
            p50_ms: quantile(&latencies_us, 0.5),
            p99_ms: quantile(&latencies_us, 0.99),
            cpu_ms_per_unit: each(spent.cpu_seconds * 1000.0),
            disk_bytes_per_unit: each(spent.disk_bytes as f64),
            flushes_per_unit: each(spent.flushes as f64),
            rss_mib: spent.rss_mib,
            rss_peak_mib: spent.rss_peak_mib,
            calibration,
            more,
        }
    }

    /// One line, as it comes.
    pub(crate) fn line(&self) -> String {
        let mut line = format!(
            "round {} {:<18} in flight {:>4}: {:>8.0} {}s/s  p50 {:>8.2} ms  p99 {:>8.2} ms  CPU {:.3} ms  disk {:.0} B  flushes {:.2}  RSS {:.0} MiB (peak {:.0})  [sync {:.0} us, loop {:.0} ms]",
            self.round,
            self.target,
            self.in_flight,
            self.per_second,
            self.unit,
            self.p50_ms,
            self.p99_ms,
            self.cpu_ms_per_unit,
            self.disk_bytes_per_unit,
            self.flushes_per_unit,
            self.rss_mib,
            self.rss_peak_mib,
            self.calibration.sync_us,
            self.calibration.loop_ms,
        );
        for (name, value) in &self.more {
            let _ = write!(line, "  {name} {value:.3}");
        }
        line
    }
}

/// Milliseconds at a quantile of sorted microseconds; 0 of none.
fn quantile(sorted_us: &[u64], q: f64) -> f64 {
    let at = (sorted_us.len().saturating_sub(1) as f64 * q) as usize;
    sorted_us.get(at).map_or(0.0, |us| *us as f64 / 1000.0)
}

/// Median, lowest and highest.
fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or_default();
    (at(values.len() / 2), at(0), at(values.len().saturating_sub(1)))
}

/// The median of some values.
pub(crate) fn median(values: Vec<f64>) -> f64 {
    spread(values).0
}

/// Median (lowest–highest) over the rounds, a row for each target and number in flight; then how targets compare.
pub(crate) fn markdown(all: &[Figures]) -> String {
    let unit = all.first().map_or("unit", |figures| figures.unit);
    let more: Vec<&str> = all.first().map(|figures| figures.more.keys().copied().collect()).unwrap_or_default();
    let mut text =
        format!("| server | in flight | {unit}s/s | p50 ms | p99 ms | CPU ms/{unit} | disk B/{unit} | flushes/{unit} | RSS MiB |");
    more.iter().for_each(|name| text += &format!(" {name} |"));
    text += "\n|---|---|---|---|---|---|---|---|---|";
    more.iter().for_each(|_| text += "---|");
    let mut places: Vec<(&str, usize)> = Vec::new();
    for figures in all {
        if !places.contains(&(figures.target.as_str(), figures.in_flight)) {
            places.push((&figures.target, figures.in_flight));
        }
    }
    for (target, in_flight) in &places {
        let of: Vec<&Figures> = all.iter().filter(|f| f.target == *target && f.in_flight == *in_flight).collect();
        let cell = |figure: &dyn Fn(&Figures) -> f64, digits: usize| {
            let (middle, low, high) = spread(of.iter().map(|f| figure(f)).collect());
            format!("{middle:.digits$} ({low:.digits$}–{high:.digits$})")
        };
        let _ = write!(
            text,
            "\n| {target} | {in_flight} | {} | {} | {} | {} | {} | {} | {} |",
            cell(&|f| f.per_second, 0),
            cell(&|f| f.p50_ms, 2),
            cell(&|f| f.p99_ms, 2),
            cell(&|f| f.cpu_ms_per_unit, 3),
            cell(&|f| f.disk_bytes_per_unit, 0),
            cell(&|f| f.flushes_per_unit, 2),
            cell(&|f| f.rss_mib, 0),
        );
        for name in &more {
            let _ = write!(text, " {} |", cell(&|f| f.more.get(name).copied().unwrap_or_default(), 3));
        }
    }
    let (sync, low, high) = spread(all.iter().map(|f| f.calibration.sync_us).collect());
    let (turns, shortest, longest) = spread(all.iter().map(|f| f.calibration.loop_ms).collect());
    let _ = write!(
        text,
        "\n\nThe machine meanwhile: 4 KiB written and synced in {sync:.0} us ({low:.0}–{high:.0}), the fixed loop in {turns:.0} ms ({shortest:.0}–{longest:.0}).\n"
    );
    text + &ratios(all, &places)
}

/// The first target next to each other one, round by round: only what was measured one after the other is compared.
fn ratios(all: &[Figures], places: &[(&str, usize)]) -> String {
    let Some((first, _)) = places.first() else { return String::new() };
    let mut text = String::new();
    for (target, in_flight) in places.iter().filter(|(target, _)| target != first) {
        let of = |name: &str| all.iter().filter(|f| f.target == name && f.in_flight == *in_flight).collect::<Vec<_>>();
        let pairs: Vec<(&Figures, &Figures)> = of(first).into_iter().zip(of(target)).collect();
        let ratio = |figure: fn(&Figures) -> f64| spread(pairs.iter().map(|(a, b)| figure(a) / figure(b)).collect());
        let (speed, slowest, fastest) = ratio(|f| f.per_second);
        let _ = writeln!(text, "\n{first} : {target} at {in_flight} in flight, {} pairs:", pairs.len());
        let _ = writeln!(text, "- {}s per second: {speed:.2} ({slowest:.2}–{fastest:.2})", all[0].unit);
        if pairs.iter().all(|(_, b)| b.cpu_ms_per_unit > 0.0) {
            let (cpu, least, most) = ratio(|f| 1.0 / f.cpu_ms_per_unit);
            let _ = writeln!(text, "- {}s per second of server CPU: {cpu:.2} ({least:.2}–{most:.2})", all[0].unit);
        }
    }
    text
}

/// The machine and the figures.
#[derive(Serialize)]
pub(crate) struct Report<'a> {
    machine: Machine,
    figures: &'a [Figures],
}

#[derive(Serialize)]
struct Machine {
    cores: usize,
    cpu: String,
    kernel: String,
    load: String,
}

impl<'a> Report<'a> {
    pub(crate) fn new(figures: &'a [Figures]) -> Self {
        let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).and_then(|rest| rest.split_once(':'));
        Self {
            machine: Machine {
                cores: std::thread::available_parallelism().map_or(0, usize::from),
                cpu: cpu.map(|(_, name)| name.trim().to_owned()).unwrap_or_default(),
                kernel: read("/proc/sys/kernel/osrelease"),
                load: read("/proc/loadavg"),
            },
            figures,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(target: &str, round: usize, units: u64, cpu_seconds: f64) -> Figures {
        let spent = Spent { seconds: 2.0, cpu_seconds, disk_bytes: units * 10, flushes: units / 2, ..Spent::default() };
        let outcome = Outcome { unit: "workflow", units, latencies_us: vec![3000, 1000, 2000], spent, more: BTreeMap::new() };
        Figures::new(("short".into(), target, 64, round), Calibration { sync_us: 100.0, loop_ms: 50.0 }, outcome)
    }

    #[test]
    fn figures_are_per_unit() {
        let one = figures("sempre", 1, 1000, 0.5);
        assert_eq!((one.per_second, one.p50_ms, one.p99_ms), (500.0, 2.0, 2.0));
        assert_eq!((one.cpu_ms_per_unit, one.disk_bytes_per_unit, one.flushes_per_unit), (0.5, 10.0, 0.5));
    }

    #[test]
    fn tables_have_a_row_for_each_target_and_compare_what_was_measured_in_turn() {
        let all = [
            figures("sempre", 1, 1000, 0.5),
            figures("other", 1, 100, 0.5),
            figures("sempre", 2, 3000, 0.6),
            figures("other", 2, 100, 0.6),
            figures("sempre", 3, 2000, 0.5),
            figures("other", 3, 100, 0.5),
        ];
        let text = markdown(&all);
        assert!(text.contains("| sempre | 64 | 1000 (500–1500) | 2.00 (2.00–2.00) |"), "{text}");
        assert!(text.contains("| other | 64 | 50 (50–50) |"), "{text}");
        assert!(text.contains("sempre : other at 64 in flight, 3 pairs:\n- workflows per second: 20.00 (10.00–30.00)"), "{text}");
        assert!(text.contains("- workflows per second of server CPU: 20.00 (10.00–30.00)"), "{text}");
        assert!(text.contains("written and synced in 100 us (100–100), the fixed loop in 50 ms"), "{text}");
    }

    #[test]
    fn nothing_measured_is_an_empty_table() {
        assert!(markdown(&[]).starts_with("| server |"));
    }
}
