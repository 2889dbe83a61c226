//! What `meter.go` measures of a process.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What to measure: the only argument, in JSON, as `spec.go` describes it.
#[derive(Deserialize, Clone)]
#[serde(default)]
#[derive(Default)]
pub struct Spec {
    pub work: String,
    pub size: u64,
    pub payload: usize,
    pub entities: u64,
    pub callers: usize,
    pub batch: u64,
    pub durable: bool,
    pub most: u64,
    pub limit_ns: u64,
    pub warm_ns: u64,
    pub seed: u64,
    pub repeat: u64,
    pub dir: String,
}

/// What was measured; what is absent is zero.
#[derive(Serialize, Default)]
pub struct Outcome {
    pub n: u64,
    pub seconds: f64,
    pub rate: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub cpu_ns: f64,
    pub log_bytes: f64,
    pub peak_mib: f64,
    pub empty_mib: f64,
    pub open_mib: f64,
    pub heap_mib: f64,
    pub open_ms: f64,
    pub first_ms: f64,
    pub events: u64,
    pub acked: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub failed: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cannot: String,
}

impl Outcome {
    /// Notes n events in `took`, and the processor time since `cpu`.
    pub fn measured(&mut self, n: u64, took: Duration, cpu: Duration) {
        self.n = n;
        self.seconds = took.as_secs_f64();
        if n > 0 {
            self.rate = n as f64 / self.seconds;
            self.cpu_ns = (cpu_time() - cpu).as_nanos() as f64 / n as f64;
        }
    }

    pub fn latencies(&mut self, h: &mut Vec<u32>) {
        h.sort_unstable();
        let at = |q: f64| h.get((q * h.len() as f64) as usize).map_or(0.0, |ns| f64::from(*ns) / 1000.0);
        self.p50_us = at(0.5);
        self.p99_us = at(0.99);
    }
}

/// The processor time that this process has used.
pub fn cpu_time() -> Duration {
    let mut u: libc::rusage = unsafe { std::mem::zeroed() };
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut u) };
    let of = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    of(u.ru_utime) + of(u.ru_stime)
}

/// Resident, anonymous and highest resident memory, in MiB.
pub fn memory() -> (f64, f64, f64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find(|l| l.starts_with(name)).unwrap_or("");
        line.split_whitespace().nth(1).and_then(|v| v.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    };
    (field("VmRSS:"), field("RssAnon:"), field("VmHWM:"))
}

/// The bytes of the blocks that the files under a directory occupy.
pub fn disk_use(dir: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|e| match e.metadata() {
            Ok(m) if m.is_dir() => disk_use(&e.path()),
            Ok(m) => m.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}
