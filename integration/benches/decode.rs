//! Stored batch to documents, in lines per CPU second, beside what the least work of that kind costs in the same run.
//!
//! `cargo bench -p naru-integration --bench decode`. The corpora are made from a seed: container lines of 209–256 bytes,
//! plain (access logs and application lines, a tenth with characters to escape) and JSON (nested, fifteen fields).

use std::error::Error;
use std::hint::black_box;

use bytes::Bytes;
use naru_aggregator::document::{Builder, Documents};
use naru_proto::body::BodyWriter;
use naru_proto::frame::{Container, Ends, Extent, Flags, Format, Frame, Source, Writer};
use naru_proto::ids::{ClusterKey, FileId};
use naru_proto::time::format_rfc3339_ns;
use naru_proto::{batch, wire};
use serde_json::value::RawValue;
use zstd_safe::DCtx;

const LINES: usize = 400_000;
const ROUNDS: usize = 5;
const FRAME_BYTES: usize = 128 << 10;
const BATCH_RAW_BYTES: usize = 3 << 20;
/// What delivery asks for at a time.
const OUTPUT_BYTES: usize = 8 << 20;
const START_NS: i64 = 1_795_307_400_000_000_000;

type Line = fn(&mut Random, usize) -> String;

fn main() -> Result<(), Box<dyn Error>> {
    println!("{LINES} lines a corpus, best of {ROUNDS} rounds, thousands of lines per CPU second");
    measure("plain", plain)?;
    measure("json", json)
}

fn measure(name: &str, line: Line) -> Result<(), Box<dyn Error>> {
    let lines = corpus(line);
    let bytes: usize = lines.iter().map(String::len).sum();
    let batches = batches(&lines);
    let (decode, output) = decode(&batches)?;
    let whole = best(|| {
        let mut context = DCtx::create();
        let mut builder = Builder::new(ClusterKey::of("default"));
        let mut out = Documents::default();
        for stored in &batches {
            append(&mut builder, &stored.frames(&mut context)?, &mut out);
        }
        Ok(())
    })?;
    let mut copy = Vec::with_capacity(output.len());
    let memcpy = best(|| {
        for _ in 0..batches.len() {
            copy.clear();
            copy.extend_from_slice(black_box(&output));
        }
        Ok(())
    })?;
    let memcpy = memcpy / (output.len() * batches.len()) as f64;
    println!("{name}: {} B a line, {} B a document", bytes / LINES, output.len() / LINES);
    println!("  decode and document        {:8.0}", per_second(decode));
    println!("  and decompressing before   {:8.0}", per_second(whole));
    let copied = memcpy * output.len() as f64;
    println!(
        "  copying the output         {:8.0}  ratio {:.1}",
        per_second(copied),
        decode / copied
    );
    if name == "json" {
        let bodies: Vec<&str> = lines.iter().filter_map(|l| l.get(l.find('{')?..)).collect();
        let walk = best(|| {
            for body in &bodies {
                black_box(serde_json::from_str::<&RawValue>(body)?);
            }
            Ok(())
        })?;
        println!(
            "  serde's bare walk          {:8.0}  ratio {:.1}",
            per_second(walk),
            decode / walk
        );
    }
    Ok(())
}

fn decode(batches: &[Stored]) -> Result<(f64, Vec<u8>), Box<dyn Error>> {
    let mut context = DCtx::create();
    let frames: Result<Vec<_>, _> = batches.iter().map(|b| b.frames(&mut context)).collect();
    let frames = frames?.concat();
    let mut output = Vec::new();
    let mut all = Documents::default();
    let mut builder = Builder::new(ClusterKey::of("default"));
    for frame in &frames {
        if builder.append(frame, 0, usize::MAX, &mut all).next_record.is_some() {
            return Err("a frame was not finished".into());
        }
    }
    if all.len() != LINES {
        return Err("a line is missing".into());
    }
    all.iter().for_each(|document| output.extend_from_slice(document.source));
    let seconds = best(|| {
        let mut builder = Builder::new(ClusterKey::of("default"));
        append(&mut builder, &frames, &mut Documents::default());
        Ok(())
    })?;
    Ok((seconds, output))
}

/// As delivery does: until a bulk is full, then from where it stopped.
fn append(builder: &mut Builder, frames: &[Frame], out: &mut Documents) {
    for frame in frames {
        let mut next = Some(0);
        while let Some(record) = next {
            next = builder.append(frame, record, OUTPUT_BYTES, out).next_record;
            if out.json_bytes() >= OUTPUT_BYTES {
                black_box(&*out);
                out.clear();
            }
        }
    }
}

struct Stored {
    body: Vec<u8>,
    raw_bytes: usize,
}

impl Stored {
    fn frames(&self, context: &mut DCtx<'_>) -> Result<Vec<Frame>, batch::BatchError> {
        batch::frames(context, &self.body, self.raw_bytes)
    }
}

fn batches(lines: &[String]) -> Vec<Stored> {
    let mut batches = Vec::new();
    let mut writer = BodyWriter::default();
    let mut bytes = String::new();
    let mut offset = 0;
    for (number, line) in lines.iter().enumerate() {
        bytes.push_str(line);
        let last = number + 1 == lines.len();
        if bytes.len() >= FRAME_BYTES || last {
            let length = bytes.len() as u64;
            writer.push(&header(offset, length), bytes.as_bytes());
            offset += length;
            bytes.clear();
        }
        if writer.raw_bytes() >= BATCH_RAW_BYTES || last {
            let raw_bytes = writer.raw_bytes();
            batches.push(Stored { body: writer.finish(), raw_bytes });
        }
    }
    batches
}

fn header(start: u64, length: u64) -> wire::Frame {
    let container = Container {
        namespace: "production".into(),
        pod: "checkout-5d4f8c7b9-x2x4z".into(),
        pod_uid: "0f0e8b9e-6d3b-4c0e-9d53-0123456789ab".into(),
        container: "checkout".into(),
        restart: 0,
    };
    let frame = Frame {
        source: Source { node: "node-17".into(), writer: Writer::Container(container) },
        format: Format::Cri,
        extents: vec![Extent { file: FileId([7; 12]), start, length }],
        ends: Ends::Lines,
        id_time_ns: Some(START_NS),
        read_time_ns: Some(START_NS),
        iostream: None,
        line_start: None,
        container_id: "8a1f".repeat(16),
        flags: Flags::default(),
        bytes: Bytes::new(),
    };
    frame.into()
}

fn corpus(line: Line) -> Vec<String> {
    let mut random = Random(17);
    let make = |number| {
        let time = format_rfc3339_ns(START_NS + number as i64 * 1_234_567);
        let iostream = if random.below(4) == 0 { "stderr" } else { "stdout" };
        let content = line(&mut random, number);
        format!("{} {iostream} F {content}\n", String::from_utf8_lossy(&time))
    };
    (0..LINES).map(make).collect()
}

fn plain(random: &mut Random, number: usize) -> String {
    let (a, b, c) = (random.below(256), random.below(90_000), random.below(1 << 40));
    match number % 10 {
        0..4 => format!(
            "10.0.{a}.{} - - [22/Nov/2026:09:30:00 +0900] GET /api/v1/orders/{b}/items?page={} \
             HTTP/1.1 200 {c} - Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 rt=0.{b:05}",
            a / 2,
            a % 7,
        ),
        4..9 => format!(
            "2026-11-22 09:30:00,{:03} INFO  [http-nio-8080-exec-{a}] com.example.checkout.Order \
             order {b} placed by customer {c:011x} in {a} ms, 주문이 완료되었습니다, next step is payment",
            b % 1000,
        ),
        _ => format!(
            "E1122 09:30:00.{b:06}       1 reflector.go:{a}] Failed to watch *v1.Pod: Get \
             \"https://10.96.0.1:443/api/v1/pods?resourceVersion={c}\": dial tcp: \"i/o timeout\""
        ),
    }
}

fn json(random: &mut Random, _: usize) -> String {
    let (a, b, c) = (random.below(256), random.below(90_000), random.below(1 << 40));
    format!(
        "{{\"level\":\"info\",\"ts\":1795307400.{b:05},\"logger\":\"checkout\",\"msg\":\"order \
         placed\",\"order\":{{\"id\":{b},\"items\":[{a},2,3],\"total\":{a}.5}},\"trace\":\"{c:016x}\",\
         \"http\":{{\"method\":\"GET\",\"path\":\"/orders/{b}\",\"status\":200}},\"ok\":true}}"
    )
}

fn per_second(seconds: f64) -> f64 {
    LINES as f64 / seconds / 1000.0
}

/// CPU seconds of the quickest round.
fn best(mut round: impl FnMut() -> Result<(), Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let before = cpu_seconds()?;
        round()?;
        best = best.min(cpu_seconds()? - before);
    }
    Ok(best)
}

/// What this thread has used (proc(5), `/proc/pid/schedstat`).
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: u64 = text.split(' ').next().unwrap_or_default().parse()?;
    Ok(nanoseconds as f64 / 1e9)
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}
