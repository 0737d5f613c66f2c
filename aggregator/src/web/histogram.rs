//! `GET /api/v1/histogram?q=&from=&to=&interval=`: how many documents there are over time, as JSON.

use std::time::Instant;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::search::{now_ns, status};
use super::{WebState, failure};
use crate::search::histogram::{Bucket, HistogramRequest, RawHistogram};

/// The parameters; each may be left out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    q: Option<String>,
    from: Option<String>,
    to: Option<String>,
    interval: Option<String>,
}

#[derive(Serialize)]
struct Answer {
    took_ms: u64,
    interval_ms: i64,
    buckets: Vec<Bucket>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    incomplete: Vec<String>,
}

pub(super) async fn histogram(
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
    let raw = RawHistogram {
        query: parameters.q.as_deref(),
        from: parameters.from.as_deref(),
        to: parameters.to.as_deref(),
        interval: parameters.interval.as_deref(),
    };
    let request = match HistogramRequest::read(&raw, now_ns()) {
        Ok(request) => request,
        Err(error) => {
            return failure(StatusCode::BAD_REQUEST, &error.to_string(), error.position());
        }
    };
    match backend.histogram(request).await {
        Ok(histogram) => axum::Json(Answer {
            took_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            interval_ms: histogram.interval_ms,
            buckets: histogram.buckets().collect(),
            incomplete: histogram.incomplete,
        })
        .into_response(),
        Err(error) => failure(status(&error), &error.to_string(), None),
    }
}
