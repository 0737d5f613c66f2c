//! `naru-forwarder files`: what is tailed, and how far.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use naru_proto::frame::{Container, Source, Writer};
use serde::{Deserialize, Serialize};

use crate::checkpoint::{Binding, Checkpoint, SourceState};
use crate::config::Config;

/// One file, as the command prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRow {
    /// `namespace/pod/container/restart`, or a host path.
    pub source: String,
    /// Its name in its directory.
    pub name: String,
    /// Hexadecimal; empty while its first line is not complete.
    pub file: String,
    /// Uncompressed bytes, as far as they were seen.
    pub size: u64,
    /// Bytes that were cut into records.
    pub read: u64,
    /// Bytes that the aggregator made durable.
    pub acknowledged: u64,
    /// `size` less `acknowledged`.
    pub lag: u64,
    /// `reading`, `passed` or `waiting`.
    pub state: String,
}

/// Where a running forwarder answers.
#[must_use]
pub fn socket_path(data_dir: &Path) -> std::path::PathBuf {
    data_dir.join("forwarder.sock")
}

/// Asks the running forwarder of a data directory; None when none runs.
///
/// # Errors
/// Something answers, and not with files.
pub fn ask(data_dir: &Path) -> std::io::Result<Option<Vec<FileRow>>> {
    let Ok(mut stream) = UnixStream::connect(socket_path(data_dir)) else { return Ok(None) };
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /files HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok(Some(serde_json::from_str(body)?))
}

/// What the checkpoint of a forwarder that does not run says.
///
/// # Errors
/// There is none.
pub fn of_checkpoint(config: &Config) -> std::io::Result<Vec<FileRow>> {
    let directory = config.data_dir.join("checkpoint");
    std::fs::metadata(&directory)?;
    let binding = Binding { cluster: config.cluster.clone(), node: config.node.clone() };
    let (_, loaded) = Checkpoint::open(&directory, binding)?;
    let mut rows: Vec<FileRow> = loaded.sources.values().flat_map(rows_of).collect();
    rows.sort_by(|a, b| (&a.source, &a.name).cmp(&(&b.source, &b.name)));
    Ok(rows)
}

fn rows_of(state: &SourceState) -> impl Iterator<Item = FileRow> + '_ {
    state.files.iter().map(|file| FileRow {
        source: source_name(&state.source),
        name: file.name.display().to_string(),
        file: file.id.to_string(),
        size: file.size,
        read: file.acknowledged,
        acknowledged: file.acknowledged,
        lag: file.size.saturating_sub(file.acknowledged),
        state: if file.finished { "passed" } else { "waiting" }.to_owned(),
    })
}

/// `namespace/pod/container/restart`, or a host path.
#[must_use]
pub fn source_name(source: &Source) -> String {
    match &source.writer {
        Writer::Container(Container { namespace, pod, container, restart, .. }) => {
            format!("{namespace}/{pod}/{container}/{restart}")
        }
        Writer::HostFile { path } => path.clone(),
    }
}

/// Prints the rows as a table.
#[must_use]
pub fn table(rows: &[FileRow]) -> String {
    let mut lines =
        vec![["SOURCE", "FILE", "SIZE", "READ", "ACKED", "LAG", "STATE"].map(str::to_owned)];
    lines.extend(rows.iter().map(|row| {
        [
            row.source.clone(),
            row.name.clone(),
            row.size.to_string(),
            row.read.to_string(),
            row.acknowledged.to_string(),
            row.lag.to_string(),
            row.state.clone(),
        ]
    }));
    let mut widths = [0; 7];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in &lines {
        for (place, (cell, width)) in line.iter().zip(widths).enumerate() {
            let padded = match place {
                2..=5 => format!("{cell:>width$}  "),
                _ => format!("{cell:<width$}  "),
            };
            text.push_str(&padded);
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned() {
        let row = FileRow {
            source: "shop/web-0/web/0".into(),
            name: "0.log".into(),
            file: "00".into(),
            size: 120,
            read: 120,
            acknowledged: 20,
            lag: 100,
            state: "reading".into(),
        };
        let expected = "\
SOURCE            FILE   SIZE  READ  ACKED  LAG  STATE
shop/web-0/web/0  0.log   120   120     20  100  reading
";
        assert_eq!(table(&[row]), expected);
    }
}
