//! What becomes of one item of a bulk, and of a bulk that was answered as a whole. Pure.
//!
//! No document is given up for what is not its own fault: an index that is blocked, a cluster that is full or down, a
//! password that is wrong hold what is sent; only an answer about the document itself ends it.

use super::answer::ItemError;

/// What becomes of one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is indexed now.
    Indexed,
    /// It was there: our ids are one document's for ever.
    Duplicate,
    /// Again, with less at once: too much was asked.
    Overloaded,
    /// Again: the server failed.
    Failed,
    /// Again, when its index takes documents: blocked, closed, or the cluster has no shard left for it.
    Blocked,
    /// Again, when the credentials are right.
    Denied,
    /// Again, when the index was prepared: there is none.
    Missing,
    /// The mapping does not take it: once more without its parsed body.
    Unmappable,
    /// Never: a dead letter.
    Dead,
}

/// What becomes of a bulk whose items have no answers of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestVerdict {
    /// Each item has its answer.
    Items,
    /// Again, with less at once.
    Overloaded,
    /// Again: the server failed.
    Failed,
    /// Again, when the cluster takes documents.
    Blocked,
    /// Again, when the credentials are right.
    Denied,
    /// Too many bytes at once: in halves, and no more so large.
    TooLarge,
    /// Something in it cannot be read: in halves, to the document that it is.
    Malformed,
    /// What answers is no Elasticsearch, or the path is wrong: again, when a person has looked.
    Misaddressed,
}

/// A status, as far as the decisions tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Success,
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    Timeout,
    Conflict,
    TooLarge,
    TooMany,
    OtherClient,
    Unavailable,
    OtherServer,
    Unknown,
}

impl Status {
    fn of(status: u16) -> Self {
        match status {
            200..=299 => Self::Success,
            400 => Self::BadRequest,
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            408 => Self::Timeout,
            409 => Self::Conflict,
            413 => Self::TooLarge,
            429 => Self::TooMany,
            402..=499 => Self::OtherClient,
            503 => Self::Unavailable,
            500..=599 => Self::OtherServer,
            _ => Self::Unknown,
        }
    }
}

/// Errors of an index that takes nothing now.
const CLOSED: [&str; 3] =
    ["cluster_block_exception", "index_closed_exception", "index_create_block_exception"];
/// How the reasons of a 400 begin that is the index's or the cluster's fault, not the document's.
const INDEX_FAULTS: [&str; 5] = [
    "this action would add [",
    "no write index is defined",
    "pipeline with id [",
    "Number of documents in",
    "number of documents in",
];

/// An error, as far as the decisions tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// The index or the cluster takes nothing now.
    Block,
    Other,
}

impl Cause {
    fn of(error: Option<&ItemError>) -> Self {
        let Some(error) = error else { return Self::Other };
        if CLOSED.contains(&error.kind.as_str()) {
            return Self::Block;
        }
        // The text alone says which, and it may quote the document: only how it begins is the server's own.
        let reason = error.reason.strip_prefix("Validation Failed: 1: ").unwrap_or(&error.reason);
        let general = ["illegal_argument_exception", "validation_exception"];
        let of_index = INDEX_FAULTS.iter().any(|fault| reason.starts_with(fault));
        if general.contains(&error.kind.as_str()) && of_index { Self::Block } else { Self::Other }
    }
}

/// What becomes of an item of a bulk of `create`s.
#[must_use]
pub fn item(status: u16, error: Option<&ItemError>) -> Verdict {
    match (Status::of(status), Cause::of(error)) {
        (Status::Success, Cause::Other | Cause::Block) => Verdict::Indexed,
        // With `create` nothing else conflicts but the id.
        (Status::Conflict, Cause::Other | Cause::Block) => Verdict::Duplicate,
        (Status::BadRequest | Status::Forbidden | Status::TooMany, Cause::Block) => {
            Verdict::Blocked
        }
        (Status::BadRequest, Cause::Other) => Verdict::Unmappable,
        (Status::Unauthorized, Cause::Other | Cause::Block) | (Status::Forbidden, Cause::Other) => {
            Verdict::Denied
        }
        (Status::NotFound, Cause::Other | Cause::Block) => Verdict::Missing,
        (Status::TooMany, Cause::Other) | (Status::Unavailable, Cause::Other | Cause::Block) => {
            Verdict::Overloaded
        }
        (Status::Timeout | Status::OtherServer | Status::Unknown, Cause::Other | Cause::Block) => {
            Verdict::Failed
        }
        (Status::TooLarge | Status::OtherClient, Cause::Other | Cause::Block) => Verdict::Dead,
    }
}

/// What becomes of a bulk, by the status of the whole answer.
#[must_use]
pub fn request(status: u16, error: Option<&ItemError>) -> RequestVerdict {
    match (Status::of(status), Cause::of(error)) {
        (Status::Success, Cause::Other | Cause::Block) => RequestVerdict::Items,
        (Status::BadRequest | Status::Forbidden | Status::TooMany, Cause::Block) => {
            RequestVerdict::Blocked
        }
        // What is not Elasticsearch's own answer says nothing of the documents.
        (Status::BadRequest, Cause::Other) if error.is_none() => RequestVerdict::Misaddressed,
        (Status::BadRequest, Cause::Other) => RequestVerdict::Malformed,
        (Status::Unauthorized, Cause::Other | Cause::Block) | (Status::Forbidden, Cause::Other) => {
            RequestVerdict::Denied
        }
        (Status::TooLarge, Cause::Other | Cause::Block) => RequestVerdict::TooLarge,
        (Status::TooMany, Cause::Other) | (Status::Unavailable, Cause::Other | Cause::Block) => {
            RequestVerdict::Overloaded
        }
        (Status::Timeout | Status::OtherServer, Cause::Other | Cause::Block) => {
            RequestVerdict::Failed
        }
        (
            Status::NotFound | Status::Conflict | Status::OtherClient | Status::Unknown,
            Cause::Other | Cause::Block,
        ) => RequestVerdict::Misaddressed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: &str, reason: &str) -> ItemError {
        ItemError { kind: kind.into(), reason: reason.into() }
    }

    #[test]
    fn items() {
        let check = |status, kind: &str, reason: &str, expected| {
            let error = (!kind.is_empty()).then(|| error(kind, reason));
            assert_eq!(item(status, error.as_ref()), expected, "{status} {kind} {reason}");
        };
        check(201, "", "", Verdict::Indexed);
        check(200, "", "", Verdict::Indexed);
        check(409, "version_conflict_engine_exception", "", Verdict::Duplicate);
        check(429, "es_rejected_execution_exception", "", Verdict::Overloaded);
        check(429, "circuit_breaking_exception", "", Verdict::Overloaded);
        check(429, "cluster_block_exception", "TOO_MANY_REQUESTS/12", Verdict::Blocked);
        check(403, "cluster_block_exception", "FORBIDDEN/8/index write (api)", Verdict::Blocked);
        check(403, "security_exception", "", Verdict::Denied);
        check(401, "security_exception", "", Verdict::Denied);
        check(400, "index_closed_exception", "closed", Verdict::Blocked);
        let full = "this action would add [2] total shards, but this cluster currently has [1000]/[1000] maximum shards \
                    open";
        check(400, "validation_exception", full, Verdict::Blocked);
        check(400, "illegal_argument_exception", full, Verdict::Blocked);
        check(400, "mapper_parsing_exception", "failed to parse", Verdict::Unmappable);
        let forged = "failed to parse field [json.code]: Preview of field's value: 'this action would add [2] maximum shards open'";
        check(400, "mapper_parsing_exception", forged, Verdict::Unmappable);
        check(400, "illegal_argument_exception", forged, Verdict::Unmappable);
        let wrapped = format!("Validation Failed: 1: {full};");
        check(400, "validation_exception", &wrapped, Verdict::Blocked);
        check(
            400,
            "illegal_argument_exception",
            "pipeline with id [x] does not exist",
            Verdict::Blocked,
        );
        check(403, "index_create_block_exception", "", Verdict::Blocked);
        check(400, "document_parsing_exception", "", Verdict::Unmappable);
        check(400, "strict_dynamic_mapping_exception", "", Verdict::Unmappable);
        check(400, "illegal_argument_exception", "Limit of total fields", Verdict::Unmappable);
        check(404, "index_not_found_exception", "", Verdict::Missing);
        check(503, "unavailable_shards_exception", "", Verdict::Overloaded);
        check(503, "cluster_block_exception", "state not recovered", Verdict::Overloaded);
        check(408, "", "", Verdict::Failed);
        check(500, "process_cluster_event_timeout_exception", "", Verdict::Failed);
        check(504, "", "", Verdict::Failed);
        check(599, "", "", Verdict::Failed);
        check(413, "", "", Verdict::Dead);
        check(405, "", "", Verdict::Dead);
        check(422, "", "", Verdict::Dead);
        check(0, "", "", Verdict::Failed);
        check(302, "", "", Verdict::Failed);
    }

    #[test]
    fn whole_requests() {
        let check = |status, kind: &str, expected| {
            let error = (!kind.is_empty()).then(|| error(kind, ""));
            assert_eq!(request(status, error.as_ref()), expected, "{status} {kind}");
        };
        check(200, "", RequestVerdict::Items);
        check(400, "illegal_argument_exception", RequestVerdict::Malformed);
        check(400, "index_closed_exception", RequestVerdict::Blocked);
        check(400, "", RequestVerdict::Misaddressed);
        check(401, "security_exception", RequestVerdict::Denied);
        check(403, "security_exception", RequestVerdict::Denied);
        check(403, "cluster_block_exception", RequestVerdict::Blocked);
        check(404, "", RequestVerdict::Misaddressed);
        check(405, "", RequestVerdict::Misaddressed);
        check(406, "", RequestVerdict::Misaddressed);
        check(408, "", RequestVerdict::Failed);
        check(413, "", RequestVerdict::TooLarge);
        check(429, "", RequestVerdict::Overloaded);
        check(500, "", RequestVerdict::Failed);
        check(502, "", RequestVerdict::Failed);
        check(503, "", RequestVerdict::Overloaded);
        check(301, "", RequestVerdict::Misaddressed);
    }

    #[test]
    fn every_status_has_a_verdict_and_none_loses_a_document() {
        for status in 0..=1000 {
            let dead = item(status, None) == Verdict::Dead;
            let own_fault =
                (402..=499).contains(&status) && ![403, 404, 408, 409, 429].contains(&status);
            assert_eq!(dead, own_fault, "{status}");
        }
    }
}
