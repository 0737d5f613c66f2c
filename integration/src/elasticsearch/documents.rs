//! Everything that a server holds, as a set for the ledger.

use serde_json::{Value, json};

use super::Server;
use crate::export::Document;

/// What one page holds: a few megabytes.
const PAGE: usize = 5000;

/// Every document of all open indices, hidden ones included. Closed ones answer no search: open them first.
#[must_use]
pub fn export_all(server: &Server) -> Vec<Document> {
    server.refresh();
    // A shard that does not answer makes the search fail, instead of its documents being left out.
    let path = format!(
        "/{}/_search?scroll=5m&expand_wildcards=open,hidden&allow_partial_search_results=false",
        server.all()
    );
    let query = json!({"size": PAGE, "sort": ["_doc"], "track_total_hits": true});
    let mut answer = server.ask("POST", &path, Some(&query));
    let total = answer["hits"]["total"]["value"].as_u64().unwrap();
    let mut found = Vec::new();
    loop {
        let hits = take_hits(&mut answer);
        let next = json!({"scroll": "5m", "scroll_id": answer["_scroll_id"]});
        if hits.is_empty() {
            server.ask("DELETE", "/_search/scroll", Some(&json!({"scroll_id": next["scroll_id"]})));
            break;
        }
        found.extend(hits);
        answer = server.ask("POST", "/_search/scroll", Some(&next));
    }
    assert_eq!(found.len() as u64, total, "the export is not complete");
    found
}

fn take_hits(answer: &mut Value) -> Vec<Document> {
    assert_eq!(answer["timed_out"], false, "{answer}");
    assert_eq!(answer["_shards"]["failed"], 0, "{answer}");
    let hits = answer["hits"]["hits"].as_array_mut().map(std::mem::take).unwrap();
    hits.into_iter().map(|hit| Document::of_hit(hit).unwrap()).collect()
}
