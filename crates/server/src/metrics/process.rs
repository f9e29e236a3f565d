//! What the operating system says of the process; where it says nothing, nothing is told.

use super::collected::Collected;
use crate::SERVER_VERSION;

/// Ticks of the kernel's clock in a second, as user space is told on every Linux.
const TICKS: f64 = 100.0;

pub(super) fn families(told: &mut Collected) {
    let labels = [("version", env!("CARGO_PKG_VERSION")), ("server_version", SERVER_VERSION)];
    told.gauge("sempre_build_info", "Versions, as labels of a 1.").count(&labels, 1);
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    if let Some(bytes) = resident(&read("/proc/self/status")) {
        told.gauge("process_resident_memory_bytes", "Memory in use.").sample(&[], bytes);
    }
    // Behind the name, which may have anything in it.
    let stat = read("/proc/self/stat");
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    if let (Some(Ok(user)), Some(Ok(system))) = (fields.get(11).map(|n| n.parse::<f64>()), fields.get(12).map(|n| n.parse::<f64>())) {
        told.counter("process_cpu_seconds_total", "Time of processors used.").sample(&[], (user + system) / TICKS);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        told.gauge("process_open_fds", "Open files and sockets.").sample(&[], open.count() as f64);
    }
}

/// Bytes, of what the kernel says in kibibytes: pages are not equally large everywhere.
fn resident(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok().map(|kibibytes| kibibytes * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::resident;

    #[test]
    fn memory_is_read_in_kibibytes() {
        assert_eq!(resident("Name:\tsempre\nVmRSS:\t   12 kB\nRssAnon:\t 4 kB\n"), Some(12288.0));
        assert_eq!(resident("Name:\tVmRSS: 5\n"), None);
    }
}
