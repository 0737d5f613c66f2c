//! Documents of one index, ready to be sent, each with the right to its outcome. A holder.

use bytes::Bytes;
use naru_proto::ids::{DocumentId, FileId};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

use super::Index;
use crate::document::Document;

/// What a document takes beside its source: the action with an id of 20 characters, and two newlines.
const ACTION_BYTES: usize = 43;

/// A document that waits for its outcome. `T` rides along: see [`Bulk`].
#[derive(Debug)]
pub struct Item<T> {
    /// Its `_id`.
    pub id: DocumentId,
    /// The file that its record stood in.
    pub file: FileId,
    /// Where in it.
    pub offset: u64,
    /// The record as it was in the file.
    pub record: Bytes,
    /// Its parsed body was taken out: the mapping did not take it.
    pub repaired: bool,
    /// How often the server refused it.
    pub refusals: u32,
    /// What must be told of its outcome.
    pub token: T,
    /// Where its action begins and ends in the body.
    start: usize,
    end: usize,
}

/// Where a document goes: see [`Bulk::sift`].
#[derive(Debug)]
pub enum Sifted<T> {
    /// It has its outcome.
    Gone,
    /// Into the first bulk.
    First(Item<T>),
    /// Into the second one.
    Second(Item<T>),
}

/// Documents of one index and the body that sends them.
#[derive(Debug)]
pub struct Bulk<T> {
    index: Index,
    overwrites: bool,
    body: Vec<u8>,
    items: Vec<Item<T>>,
}

impl<T> Bulk<T> {
    /// Without documents; when it `overwrites`, they replace those of their ids that are there.
    #[must_use]
    pub fn new(index: Index, overwrites: bool) -> Self {
        Self { index, overwrites, body: Vec::new(), items: Vec::new() }
    }

    /// One of the same kind without documents.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self::new(self.index, self.overwrites)
    }

    /// The index of all its documents.
    #[must_use]
    pub fn index(&self) -> Index {
        self.index
    }

    /// Bytes of the body.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.body.len()
    }

    /// Bytes of the body if a document were added.
    #[must_use]
    pub fn bytes_with(&self, document: &Document<'_>) -> usize {
        self.body.len() + ACTION_BYTES + document.source.len()
    }

    /// How many documents there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Adds a document of this index.
    pub fn push(&mut self, document: &Document<'_>, record: Bytes, token: T) {
        let start = self.body.len();
        push_action(&mut self.body, self.overwrites, document.id, document.source);
        self.items.push(Item {
            id: document.id,
            file: document.file,
            offset: document.offset,
            record,
            repaired: false,
            refusals: 0,
            token,
            start,
            end: self.body.len(),
        });
    }

    /// The body as it is sent; the bulk keeps its own.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Takes the body out to send it without a copy; [`Bulk::put_back`] must follow.
    pub fn take_body(&mut self) -> Bytes {
        Bytes::from(std::mem::take(&mut self.body))
    }

    /// Puts back what [`Bulk::take_body`] took.
    pub fn put_back(&mut self, body: Bytes) {
        self.body = Vec::from(body);
    }

    /// Splits off what follows the first `count` documents.
    #[must_use]
    pub fn split_off(&mut self, count: usize) -> Self {
        let mut rest = self.emptied();
        rest.items = self.items.split_off(count.min(self.items.len()));
        if let Some(first) = rest.items.first().map(|item| item.start) {
            rest.body = self.body.split_off(first);
            for item in &mut rest.items {
                item.start -= first;
                item.end -= first;
            }
        }
        rest
    }

    /// Its documents, taken apart into two bulks, in order.
    pub fn sift(self, mut sift: impl FnMut(usize, Item<T>) -> Sifted<T>) -> (Self, Self) {
        let (mut first, mut second) = (self.emptied(), self.emptied());
        for (place, item) in self.items.into_iter().enumerate() {
            let action = self.body.get(item.start..item.end).unwrap_or_default();
            match sift(place, item) {
                Sifted::Gone => {}
                Sifted::First(item) => first.push_back(item, action),
                Sifted::Second(item) => second.push_back(item, action),
            }
        }
        (first, second)
    }

    fn push_back(&mut self, mut item: Item<T>, action: &[u8]) {
        item.start = self.body.len();
        self.body.extend_from_slice(action);
        item.end = self.body.len();
        self.items.push(item);
    }

    /// Takes the parsed bodies out of the documents that `which` says, and marks them. The text stays in `log`.
    #[must_use]
    pub fn repaired(self, which: impl Fn(&Item<T>) -> bool) -> Self {
        let mut fixed = self.emptied();
        for mut item in self.items {
            let action = self.body.get(item.start..item.end).unwrap_or_default();
            item.start = fixed.body.len();
            match which(&item).then(|| without_json(action)).flatten() {
                Some(source) => {
                    push_action(&mut fixed.body, self.overwrites, item.id, &source);
                    item.repaired = true;
                }
                None => fixed.body.extend_from_slice(action),
            }
            item.end = fixed.body.len();
            fixed.items.push(item);
        }
        fixed
    }

    /// Whether a document has a parsed body that can be taken out.
    #[must_use]
    pub fn is_repairable(&self, place: usize) -> bool {
        let Some(item) = self.items.get(place).filter(|item| !item.repaired) else { return false };
        without_json(self.body.get(item.start..item.end).unwrap_or_default()).is_some()
    }

    /// Its documents, in order.
    #[must_use]
    pub fn items(&self) -> &[Item<T>] {
        &self.items
    }

    /// Its documents.
    pub fn into_items(self) -> impl Iterator<Item = Item<T>> {
        self.items.into_iter()
    }
}

fn push_action(body: &mut Vec<u8>, overwrites: bool, id: DocumentId, source: &[u8]) {
    let action: &[u8] =
        if overwrites { b"{\"index\":{\"_id\":\"" } else { b"{\"create\":{\"_id\":\"" };
    body.extend_from_slice(action);
    body.extend_from_slice(id.as_str().as_bytes());
    body.extend_from_slice(b"\"}}\n");
    body.extend_from_slice(source);
    body.push(b'\n');
}

/// The source of an action without `json`, marked `naru.json: mapping`; None when it has none.
fn without_json(action: &[u8]) -> Option<Vec<u8>> {
    let newline = memchr::memchr(b'\n', action)?;
    let source = action.get(newline + 1..)?;
    let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(source).ok()?;
    fields.remove("json")?;
    let mut naru: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(fields.get("naru")?.get()).ok()?;
    naru.insert("json".to_owned(), RawValue::from_string("\"mapping\"".to_owned()).ok()?);
    let naru = serde_json::to_string(&naru).ok()?;
    fields.insert("naru".to_owned(), RawValue::from_string(naru).ok()?);
    serde_json::to_vec(&fields).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use naru_proto::ids::{ClusterKey, FileDocumentIds, IdTime};

    const INDEX: Index = Index::UNPLACED;

    fn bulk(sources: &[&str]) -> Bulk<usize> {
        let ids = FileDocumentIds::new(ClusterKey::of("c"), "n", FileId([1; 12]));
        let mut bulk = Bulk::new(INDEX, false);
        for (place, source) in sources.iter().enumerate() {
            let id = ids.id(IdTime::new(None), place as u64, source.as_bytes());
            let document = Document {
                id,
                id_time: IdTime::new(None),
                timestamp_ns: 0,
                file: FileId([1; 12]),
                offset: place as u64,
                source: source.as_bytes(),
            };
            bulk.push(&document, Bytes::from_static(b"raw"), place);
        }
        bulk
    }

    fn sources<T>(bulk: &Bulk<T>) -> Vec<String> {
        let text = String::from_utf8(bulk.body().to_vec()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (action, item) in lines.iter().step_by(2).zip(&bulk.items) {
            assert_eq!(*action, format!("{{\"create\":{{\"_id\":\"{}\"}}}}", item.id.as_str()));
        }
        lines.iter().skip(1).step_by(2).map(ToString::to_string).collect()
    }

    #[test]
    fn splits_and_sifts_keep_each_document_with_its_bytes() {
        let mut all = bulk(&["{\"a\":0}", "{\"a\":1}", "{\"a\":2}", "{\"a\":3}"]);
        let rest = all.split_off(1);
        assert_eq!((sources(&all).len(), all.len()), (1, 1));
        assert_eq!(sources(&rest), ["{\"a\":1}", "{\"a\":2}", "{\"a\":3}"]);
        let (kept, other) = rest.sift(|place, item| match place {
            0 => Sifted::First(item),
            1 => Sifted::Gone,
            _ => Sifted::Second(item),
        });
        assert_eq!(
            (sources(&kept), sources(&other)),
            (vec!["{\"a\":1}".into()], vec!["{\"a\":3}".into()])
        );
        assert_eq!(other.into_items().map(|item| item.token).collect::<Vec<_>>(), [3]);
        assert!(bulk(&["{}"]).split_off(1).is_empty());
        assert_eq!(bulk(&["{}"]).bytes(), ACTION_BYTES + 2);
    }

    #[test]
    fn a_repair_takes_the_parsed_body_out_once() {
        let source = r#"{"@timestamp":"t","log":"{\"a\":1}","json":{"a":1},"naru":{"node":"n","offset":18446744073709551615}}"#;
        let plain = r#"{"log":"x","naru":{"node":"n"}}"#;
        let broken = bulk(&[source, plain]);
        assert!(broken.is_repairable(0) && !broken.is_repairable(1));
        let fixed = broken.repaired(|item| item.token == 0);
        let found = sources(&fixed);
        assert_eq!(
            found[0],
            r#"{"@timestamp":"t","log":"{\"a\":1}","naru":{"json":"mapping","node":"n","offset":18446744073709551615}}"#
        );
        assert_eq!(found[1], plain);
        assert!(!fixed.is_repairable(0), "only once");
    }
}
