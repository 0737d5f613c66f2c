//! The body of a `_bulk` request, written and read. Pure.

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

/// A document as a bulk takes it.
#[derive(Debug, Clone, Copy)]
pub struct Ready<'a> {
    /// `_index`.
    pub index: &'a str,
    /// `_id`.
    pub id: &'a str,
    /// Its JSON, without a newline.
    pub source: &'a [u8],
}

/// One request's body.
#[derive(Debug, Clone)]
pub struct Bulk {
    /// An action line and a source line for each document.
    pub body: Bytes,
    /// How many.
    pub documents: usize,
}

/// Bulks of `create` actions that are full at `max_bytes`: none is longer, unless a single document is.
#[must_use]
pub fn bulks<'a>(documents: impl IntoIterator<Item = Ready<'a>>, max_bytes: usize) -> Vec<Bulk> {
    let mut full = Vec::new();
    let mut body = BytesMut::with_capacity(max_bytes);
    let mut count = 0;
    for document in documents {
        let action = json!({"create": {"_index": document.index, "_id": document.id}}).to_string();
        let bytes = action.len() + document.source.len() + 2;
        if count > 0 && body.len() + bytes > max_bytes {
            full.push(Bulk { body: body.split().freeze(), documents: count });
            count = 0;
        }
        body.extend_from_slice(action.as_bytes());
        body.extend_from_slice(b"\n");
        body.extend_from_slice(document.source);
        body.extend_from_slice(b"\n");
        count += 1;
    }
    if count > 0 {
        full.push(Bulk { body: body.freeze(), documents: count });
    }
    full
}

/// One action with its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// `create` or `index`.
    pub action: String,
    /// Its `_index`, or the path's.
    pub index: String,
    /// Its `_id`, if it has one.
    pub id: Option<String>,
    /// Its `_source`.
    pub source: Bytes,
}

/// Reads a body as a server does; what it would refuse as a whole is an error.
pub fn parse(default_index: Option<&str>, body: &Bytes) -> Result<Vec<Item>, String> {
    if body.last() != Some(&b'\n') {
        return Err("the bulk request must be terminated by a newline [\\n]".into());
    }
    let mut lines = body[..body.len() - 1].split(|b| *b == b'\n');
    let mut items = Vec::new();
    while let Some(line) = lines.next() {
        let action: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let (name, fields) = action
            .as_object()
            .and_then(|action| action.iter().next())
            .filter(|(name, _)| matches!(name.as_str(), "create" | "index"))
            .ok_or_else(|| format!("no action that is known here: {action}"))?;
        let index = fields["_index"].as_str().or(default_index).ok_or("index is missing")?;
        let source = lines.next().ok_or("the last action has no source")?;
        items.push(Item {
            action: name.clone(),
            index: index.to_owned(),
            id: fields["_id"].as_str().map(str::to_owned),
            source: body.slice_ref(source),
        });
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulks_are_full_and_read_back_as_they_were_written() {
        let sources: Vec<String> = (0..100).map(|i| format!("{{\"n\":{i}}}")).collect();
        let ids: Vec<String> = (0..100).map(|i| format!("\"{i}")).collect();
        let documents = ids.iter().zip(&sources).map(|(id, source)| Ready {
            index: "logs",
            id,
            source: source.as_bytes(),
        });
        let bulks = bulks(documents, 500);
        assert!(bulks.len() > 5, "{}", bulks.len());
        let mut number = 0;
        for bulk in &bulks {
            assert!(bulk.body.len() <= 500);
            let items = parse(None, &bulk.body).unwrap();
            assert_eq!(items.len(), bulk.documents);
            for item in items {
                assert_eq!((item.action.as_str(), item.index.as_str()), ("create", "logs"));
                assert_eq!(item.id.as_ref(), Some(&ids[number]));
                assert_eq!(item.source, sources[number].as_bytes());
                number += 1;
            }
        }
        assert_eq!(number, 100);
    }

    #[test]
    fn a_document_that_is_too_long_goes_alone() {
        let long = [b'x'; 100];
        let documents =
            [&b"{}"[..], &long, b"{}"].map(|source| Ready { index: "i", id: "a", source });
        let sizes: Vec<usize> = bulks(documents, 60).iter().map(|bulk| bulk.documents).collect();
        assert_eq!(sizes, [1, 1, 1]);
    }

    #[test]
    fn what_a_server_would_refuse_is_an_error() {
        let check = |body: &'static str, default: Option<&str>, readable: bool| {
            let items = parse(default, &Bytes::from_static(body.as_bytes()));
            assert_eq!(items.is_ok(), readable, "{body:?}: {items:?}");
        };
        check("{\"index\":{\"_index\":\"a\"}}\n{}\n", None, true);
        check("{\"index\":{}}\n{}\n", Some("a"), true);
        check("{\"index\":{}}\n{}\n", None, false);
        check("{\"index\":{\"_index\":\"a\"}}\n{}", None, false);
        check("{\"create\":{\"_index\":\"a\"}}\n", None, false);
        check("{\"guess\":{\"_index\":\"a\"}}\n{}\n", None, false);
        check("{\"index\"\n{}\n", None, false);
        check("", None, false);
    }
}
