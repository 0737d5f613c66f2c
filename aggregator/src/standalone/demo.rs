//! `--demo`: a few believable pods write logs, as a container runtime would.
//!
//! The files grow to a bound and are then rotated as the kubelet does it; nothing here is used to test anything.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use naru_proto::time::format_rfc3339_ns;

/// What the kubelet rotates at is 10 MiB; a demonstration shows one sooner.
const FILE_MAX_BYTES: u64 = 1 << 20;
const PAUSE: Duration = Duration::from_millis(200);

struct Pod {
    directory: &'static str,
    container: &'static str,
    line: fn(u64) -> (&'static str, String),
}

const PODS: [Pod; 4] = [
    Pod {
        directory: "shop_web-6c9f7d8b5-x2k4p_0b6f3a52-5f0e-4a34-9b1d-1f0c2a7f9e11",
        container: "web",
        line: web,
    },
    Pod {
        directory: "shop_orders-0_7d1c9c1e-2a63-4f0a-8f5e-6c2f3b1d4a22",
        container: "orders",
        line: orders,
    },
    Pod {
        directory: "shop_payments-5f7b9c6d4-9zq8w_3e8a1f70-9d24-4c57-a1b6-8d9e0f1a2b33",
        container: "payments",
        line: payments,
    },
    Pod {
        directory: "kube-system_coredns-76f75df574-7lq9m_5a4b3c2d-1e0f-4d9c-8b7a-6f5e4d3c2b44",
        container: "coredns",
        line: coredns,
    },
];

/// Writes until `stop` is set.
///
/// # Errors
/// The directory cannot be written.
pub(super) fn write(root: &Path, stop: &Arc<AtomicBool>) -> io::Result<()> {
    let mut logs = Vec::new();
    for pod in &PODS {
        let directory = root.join(pod.directory).join(pod.container);
        fs::create_dir_all(&directory)?;
        logs.push((pod, Log::open(directory)?));
    }
    let mut count = 0;
    while !stop.load(Ordering::Acquire) {
        for (pod, log) in &mut logs {
            let (iostream, text) = (pod.line)(count);
            log.write(iostream, &text)?;
        }
        count += 1;
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

struct Log {
    directory: PathBuf,
    file: File,
}

impl Log {
    fn open(directory: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(directory.join("0.log"))?;
        Ok(Self { directory, file })
    }

    fn write(&mut self, iostream: &str, text: &str) -> io::Result<()> {
        let time = format_rfc3339_ns(crate::clock::now_ms() * 1_000_000);
        let time = String::from_utf8_lossy(&time);
        for line in text.lines() {
            self.file.write_all(format!("{time} {iostream} F {line}\n").as_bytes())?;
        }
        if self.file.metadata()?.len() < FILE_MAX_BYTES {
            return Ok(());
        }
        // One rotated file is kept: what it held before is delivered long since.
        let live = self.directory.join("0.log");
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path != live {
                fs::remove_file(path)?;
            }
        }
        let stamp: String = time.chars().filter(char::is_ascii_digit).take(14).collect();
        let (day, second) = stamp.split_at(8);
        fs::rename(&live, self.directory.join(format!("0.log.{day}-{second}")))?;
        *self = Self::open(std::mem::take(&mut self.directory))?;
        Ok(())
    }
}

fn pick<T: Copy>(choices: &[T], count: u64) -> Option<T> {
    let mixed = count.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    choices.get(mixed as usize % choices.len().max(1)).copied()
}

fn web(count: u64) -> (&'static str, String) {
    let path = pick(&["/", "/cart", "/api/orders", "/healthz", "/search?q=shoes"], count);
    let status = pick(&[200, 200, 200, 200, 304, 404, 502], count + 7).unwrap_or(200);
    let line = format!(
        "10.42.{}.{} - \"GET {} HTTP/1.1\" {status} {} \"Mozilla/5.0\"",
        count % 4,
        count % 250,
        path.unwrap_or("/"),
        count * 37 % 9000
    );
    ("stdout", line)
}

fn orders(count: u64) -> (&'static str, String) {
    let message =
        pick(&["주문 완료", "주문이 접수되었습니다", "재고 확인", "order shipped"], count);
    let level = pick(&["info", "info", "info", "warn"], count + 3).unwrap_or("info");
    let line = format!(
        r#"{{"level":"{level}","msg":"{}","order":{},"ms":{}}}"#,
        message.unwrap_or("주문 완료"),
        10_000 + count,
        count * 13 % 400
    );
    ("stdout", line)
}

fn payments(count: u64) -> (&'static str, String) {
    if count % 20 == 19 {
        let trace = "java.net.SocketTimeoutException: connect timed out\n\
                     \tat com.shop.payments.Gateway.charge(Gateway.java:118)\n\
                     \tat com.shop.payments.Worker.run(Worker.java:42)";
        return ("stderr", format!("ERROR payment {} failed\n{trace}", 5_000 + count));
    }
    ("stdout", format!("INFO payment {} accepted in {} ms", 5_000 + count, count * 29 % 900))
}

fn coredns(count: u64) -> (&'static str, String) {
    let name = pick(&["orders.shop.svc.cluster.local.", "payments.shop.svc.cluster.local."], count);
    let line = format!(
        "[INFO] 10.42.0.{}:53211 - {count} \"A IN {} udp 62 false 512\" NOERROR qr,aa,rd 120 0.000{}s",
        count % 250,
        name.unwrap_or("kubernetes.default.svc.cluster.local."),
        count % 9 + 1
    );
    ("stdout", line)
}
