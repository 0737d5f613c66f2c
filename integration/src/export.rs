//! Everything that was indexed, read back from the program in the two ways that a user has.

use std::net::SocketAddr;
use std::process::Command;

use naru_proto::time::parse_rfc3339_ns;
use serde_json::Value;

use crate::http;
use crate::ledger::Indexed;
use crate::programs;

/// What one page over HTTP holds at most.
const PAGE: usize = 1000;

/// A document as it was exported.
#[derive(Debug, Clone)]
pub struct Document {
    /// `_id`.
    pub id: String,
    /// `_index`.
    pub index: String,
    /// `_source`.
    pub source: Value,
}

impl Document {
    /// A string of the source, by JSON pointer.
    #[must_use]
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.source.pointer(pointer)?.as_str()
    }

    /// What the ledger judges.
    #[must_use]
    pub fn indexed(&self) -> Indexed {
        let owned = |pointer| self.text(pointer).map(str::to_owned);
        Indexed {
            id: self.id.clone(),
            index: self.index.clone(),
            text: owned("/log").unwrap_or_default(),
            time_ns: self.text("/@timestamp").and_then(|text| parse_rfc3339_ns(text.as_bytes())),
            iostream: owned("/stream"),
            pod: owned("/kubernetes/pod_name"),
        }
    }

    /// One of `hits`, as Elasticsearch and the program answer them.
    pub(crate) fn of_hit(mut hit: Value) -> Option<Self> {
        Some(Self {
            id: hit["_id"].as_str()?.to_owned(),
            index: hit["_index"].as_str()?.to_owned(),
            source: hit["_source"].take(),
        })
    }
}

/// `naru-aggregator search --json`, as a user runs it.
#[must_use]
pub fn by_command(address: SocketAddr, limit: usize, query: &str) -> Vec<Document> {
    let output = Command::new(programs::aggregator())
        .args(["search", "--url", &format!("http://{address}"), "--json"])
        .args(["--limit", &limit.to_string(), query])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "search ended with {}: {errors}", output.status);
    let printed = String::from_utf8(output.stdout).unwrap();
    printed.lines().map(of_printed).collect()
}

/// One printed line: a `_source` with `_id` and `_index` in it.
fn of_printed(line: &str) -> Document {
    let parsed: Option<Value> = serde_json::from_str(line).ok();
    let document = parsed.and_then(|mut source| {
        let fields = source.as_object_mut()?;
        let id = fields.remove("_id")?.as_str()?.to_owned();
        let index = fields.remove("_index")?.as_str()?.to_owned();
        Some(Document { id, index, source })
    });
    document.unwrap_or_else(|| panic!("not a document: {line}"))
}

/// What one search over HTTP answers.
#[derive(Debug)]
pub struct Page {
    /// How many match in all.
    pub total: u64,
    /// These of them.
    pub documents: Vec<Document>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// One page of `/api/v1/search`; the answer's text when it is not 200.
pub fn page(address: SocketAddr, query: &[(&str, &str)]) -> Result<Page, String> {
    let path = http::with_query("/api/v1/search", query);
    let response = http::get(address, &path).map_err(|failure| failure.to_string())?;
    let text = || String::from_utf8_lossy(&response.body).into_owned();
    if response.status != 200 {
        return Err(format!("{} {}", response.status, text()));
    }
    let mut answer: Value = serde_json::from_slice(&response.body).map_err(|_| text())?;
    let documents = answer["hits"]
        .as_array_mut()
        .map(std::mem::take)
        .and_then(|hits| hits.into_iter().map(Document::of_hit).collect::<Option<Vec<Document>>>());
    Ok(Page {
        total: answer["total"].as_u64().ok_or_else(text)?,
        documents: documents.ok_or_else(text)?,
        next: answer["next"].as_str().map(str::to_owned),
    })
}

/// How many documents match.
pub fn total(address: SocketAddr, query: &str) -> Result<u64, String> {
    page(address, &[("q", query), ("limit", "1")]).map(|page| page.total)
}

/// Every match, page after page.
#[must_use]
pub fn by_pages(address: SocketAddr, query: &str) -> Vec<Document> {
    let limit = PAGE.to_string();
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut pairs = vec![("q", query), ("limit", limit.as_str())];
        pairs.extend(after.as_deref().map(|after| ("after", after)));
        let page = page(address, &pairs).unwrap();
        let read = page.documents.len();
        found.extend(page.documents);
        match page.next {
            Some(next) if read > 0 => after = Some(next),
            _ => return found,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_line_is_a_document() {
        let line = r#"{"_id":"a","_index":"i","@timestamp":"1970-01-01T00:00:00.000000005Z",
            "log":"x","stream":"stdout","kubernetes":{"pod_name":"web-0"}}"#;
        let document = of_printed(line);
        assert_eq!(document.text("/kubernetes/pod_name"), Some("web-0"));
        let expected = Indexed {
            id: "a".into(),
            index: "i".into(),
            text: "x".into(),
            time_ns: Some(5),
            iostream: Some("stdout".into()),
            pod: Some("web-0".into()),
        };
        assert_eq!(document.indexed(), expected);
    }
}
