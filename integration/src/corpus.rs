//! The two corpora that the benchmarks read: CRI logs that depend on their seed alone.
//!
//! *Repetitive*: one access log whose lines differ in a few numbers, 256 bytes each. *Mixed*: what a node really has, a
//! dozen applications that log JSON, klog, access lines, Korean sentences and stack traces, 209 bytes on average.

use std::io::{self, Write};

use naru_proto::frame::IoStream;

use crate::line::iostream_name;
use crate::node::Zone;

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Corpus {
    /// Lines of 256 bytes that differ little.
    Repetitive,
    /// Lines of 209 bytes on average that differ much.
    Mixed,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Physical lines, each a record.
    pub lines: u64,
    /// With envelopes and newlines.
    pub bytes: u64,
}

/// 2026-11-22T00:30:00Z.
const START_NS: i64 = 1_795_307_400_000_000_000;

/// The physical length of every repetitive line, its newline included.
const REPETITIVE_BYTES: usize = 256;

impl Corpus {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Repetitive, Self::Mixed];

    /// Its name on a command line and in a table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Repetitive => "repetitive",
            Self::Mixed => "mixed",
        }
    }

    /// Reads what [`Self::name`] says.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|corpus| corpus.name() == name)
    }

    /// Writes `lines` lines, about 10,000 of them a second by their times.
    pub fn write(self, seed: u64, lines: u64, out: &mut impl Write) -> io::Result<Size> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut time_ns = START_NS + i64::from(random.u32(..1_000_000)) * 1000;
        let mut size = Size { lines, bytes: 0 };
        let mut line = String::new();
        for number in 0..lines {
            time_ns += i64::from(random.u32(1_000..200_000));
            let iostream = if random.u8(..16) == 0 { IoStream::Stderr } else { IoStream::Stdout };
            line.clear();
            line.push_str(&Zone::SEOUL.rfc3339_nano(time_ns));
            line.push_str(&format!(" {} F ", iostream_name(iostream)));
            match self {
                Self::Repetitive => repetitive(&mut line, number, &mut random),
                Self::Mixed => mixed(&mut line, number, &mut random),
            }
            line.push('\n');
            out.write_all(line.as_bytes())?;
            size.bytes += line.len() as u64;
        }
        Ok(size)
    }
}

fn repetitive(line: &mut String, number: u64, random: &mut fastrand::Rng) {
    line.push_str(&format!(
        "10.244.3.{} - - \"GET /api/v1/orders/{number:08}?currency=KRW HTTP/1.1\" 200 {} {:.3} \
         \"https://shop.example.com/checkout\" \"Mozilla/5.0 (X11; Linux x86_64) order-frontend/4.2\" request=",
        random.u8(2..32),
        random.u16(300..900),
        f32::from(random.u16(1..400)) / 1000.0,
    ));
    // A request id whose tail fills the line: every physical line has the same length.
    while line.len() + 1 < REPETITIVE_BYTES {
        line.push(char::from(b"0123456789abcdef"[(line.len() * 7 + number as usize) % 16]));
    }
    line.truncate(REPETITIVE_BYTES - 1);
}

const WORDS: [&str; 16] = [
    "주문",
    "결제",
    "배송",
    "재고",
    "timeout",
    "retry",
    "upstream",
    "connection",
    "payment",
    "order",
    "inventory",
    "coupon",
    "session",
    "gateway",
    "checkout",
    "cache",
];

const CLASSES: [&str; 6] = [
    "com.example.shop.OrderService.place",
    "com.example.shop.PaymentGateway.charge",
    "org.springframework.web.servlet.FrameworkServlet.service",
    "jakarta.servlet.http.HttpServlet.service",
    "java.base/java.util.concurrent.ThreadPoolExecutor.runWorker",
    "io.netty.channel.nio.NioEventLoop.processSelectedKeys",
];

fn mixed(line: &mut String, number: u64, random: &mut fastrand::Rng) {
    let mut word = || WORDS[random.usize(..WORDS.len())];
    let (a, b, c) = (word(), word(), word());
    let id = random.u64(..);
    let text = match random.u8(..10) {
        0..4 => format!(
            "{{\"level\":\"{}\",\"ts\":{}.{:06},\"logger\":\"{a}\",\"msg\":\"{b} {c} done\",\"trace_id\":\"{id:016x}{:016x}\",\
             \"path\":\"/v2/{a}/{:016x}\",\"host\":\"worker-{:02}.example\",\"user\":{},\"latency_ms\":{},\"status\":{}}}",
            ["info", "info", "warn", "debug"][random.usize(..4)],
            1_795_307_400 + number / 10_000,
            random.u32(..1_000_000),
            random.u64(..),
            random.u64(..),
            random.u8(..40),
            random.u32(..5_000_000),
            random.u16(1..2000),
            [200, 200, 200, 404, 500][random.usize(..5)],
        ),
        4..6 => format!(
            "10.244.{}.{} - {id:08x} \"POST /v2/{a}/{} HTTP/1.1\" {} {} \"-\" \"okhttp/4.{}\" {:.3} upstream=10.96.{}.{}:8080",
            random.u8(..),
            random.u8(..),
            random.u32(..),
            [200, 201, 204, 302, 503][random.usize(..5)],
            random.u32(..90_000),
            random.u8(..12),
            f32::from(random.u16(..)) / 9000.0,
            random.u8(..),
            random.u8(..),
        ),
        6 => format!(
            "I1122 09:{:02}:{:02}.{:06}       1 reconciler.go:{}] \"{b} {c}\" pod=\"shop/{a}-{:05x}\" volume=\"pvc-{id:016x}\" err=\"<nil>\"",
            random.u8(..60),
            random.u8(..60),
            random.u32(..1_000_000),
            random.u16(40..900),
            random.u32(..0xf_ffff),
        ),
        7 => format!("\tat {}({}.java:{})", CLASSES[random.usize(..6)], a, random.u16(10..1200)),
        8 => format!(
            "[{id:x}] {a} 요청을 처리하는 중 {b} 서비스가 {}ms 동안 응답하지 않아 {c} 를 다시 시도합니다 (#{number})",
            random.u16(..9000)
        ),
        _ => format!(
            "WARN  {a}: {b} {c} slow, took {} us, attempt {} of 5, next in {} ms",
            random.u32(..),
            random.u8(1..5),
            random.u16(..)
        ),
    };
    line.push_str(&text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corpora_are_what_they_say() {
        for (corpus, bytes) in [(Corpus::Repetitive, 256..257), (Corpus::Mixed, 199..220)] {
            let mut written = Vec::new();
            let size = corpus.write(7, 10_000, &mut written).unwrap();
            assert_eq!(size, Size { lines: 10_000, bytes: written.len() as u64 });
            let mean = size.bytes / size.lines;
            assert!(bytes.contains(&mean), "{corpus:?}: {mean} bytes a line");
            let mut lines = written.split_inclusive(|b| *b == b'\n');
            assert!(lines.all(|line| naru_proto::cri::envelope(line).is_some()));
            let mut again = Vec::new();
            corpus.write(7, 10_000, &mut again).unwrap();
            assert!(written == again, "the seed decides everything");
            assert_eq!(Corpus::parse(corpus.name()), Some(corpus));
        }
    }

    /// Figures that were published are of these bytes: whoever changes them measures something else.
    #[test]
    fn corpora_never_change() {
        for (corpus, length, checksum) in
            [(Corpus::Repetitive, 2_560_000, 0x2b54_2c78), (Corpus::Mixed, 2_125_793, 0x7c10_16ad)]
        {
            let mut written = Vec::new();
            corpus.write(0, 10_000, &mut written).unwrap();
            let found = (written.len(), crc32c::crc32c(&written));
            assert_eq!(found, (length, checksum), "{corpus:?}");
        }
    }
}
