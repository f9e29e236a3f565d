//! What the operating system says of the process; where it says nothing, nothing is told.

use super::text::Text;
use crate::SERVER_VERSION;

/// Ticks of the kernel's clock in a second, as user space is told on every Linux.
const TICKS: f64 = 100.0;
const PAGE_BYTES: f64 = 4096.0;

pub(super) fn families(text: &mut Text) {
    let labels = [("version", env!("CARGO_PKG_VERSION")), ("server_version", SERVER_VERSION)];
    text.gauge("sempre_build_info", "Versions, as labels of a 1.").count(&labels, 1);
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    if let Some(pages) = read("/proc/self/statm").split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()) {
        text.gauge("process_resident_memory_bytes", "Memory in use.").sample(&[], pages * PAGE_BYTES);
    }
    // Behind the name, which may have anything in it.
    let stat = read("/proc/self/stat");
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    if let (Some(Ok(user)), Some(Ok(system))) = (fields.get(11).map(|n| n.parse::<f64>()), fields.get(12).map(|n| n.parse::<f64>())) {
        text.counter("process_cpu_seconds_total", "Time of processors used.").sample(&[], (user + system) / TICKS);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        text.gauge("process_open_fds", "Open files and sockets.").sample(&[], open.count() as f64);
    }
}
