//! `GET /api/v1/search?q=&from=&to=&limit=&after=`: a page of documents as JSON.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::{WebState, failure};
use crate::search::backend::SearchError;
use crate::search::request::{Hit, RawRequest, SearchRequest};

/// The parameters; each may be left out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    q: Option<String>,
    from: Option<String>,
    to: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
}

#[derive(Serialize)]
struct Answer {
    took_ms: u64,
    total: u64,
    hits: Vec<Hit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    incomplete: Vec<String>,
}

pub(super) async fn search(
    State(state): State<WebState>,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Response {
    let started = Instant::now();
    let parameters = match parameters {
        Ok(Query(parameters)) => parameters,
        Err(error) => return failure(StatusCode::BAD_REQUEST, &error.body_text(), None),
    };
    let Some(backend) = state.search else {
        return failure(StatusCode::NOT_FOUND, "nothing here can be searched", None);
    };
    let raw = RawRequest {
        query: parameters.q.as_deref(),
        from: parameters.from.as_deref(),
        to: parameters.to.as_deref(),
        limit: parameters.limit,
        after: parameters.after.as_deref(),
    };
    let request = match SearchRequest::read(&raw, now_ns()) {
        Ok(request) => request,
        Err(error) => {
            return failure(StatusCode::BAD_REQUEST, &error.to_string(), error.position());
        }
    };
    match backend.search(request).await {
        Ok(page) => axum::Json(Answer {
            took_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            total: page.total,
            hits: page.hits,
            next: page.next,
            incomplete: page.incomplete,
        })
        .into_response(),
        Err(error) => failure(status(&error), &error.to_string(), None),
    }
}

pub(super) fn status(error: &SearchError) -> StatusCode {
    match error {
        SearchError::TimeLimit(_) => StatusCode::GATEWAY_TIMEOUT,
        SearchError::TooBroad(_) | SearchError::TooManyBuckets(_) | SearchError::Refused(_) => {
            StatusCode::BAD_REQUEST
        }
        SearchError::Busy => StatusCode::SERVICE_UNAVAILABLE,
        SearchError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

pub(super) fn now_ns() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX)
}
