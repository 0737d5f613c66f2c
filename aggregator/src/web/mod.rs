//! The HTTP server's routes: health, metrics and the API.
//!
//! It promises that every answer carries headers which keep a browser from taking it for anything else. It does not
//! listen, and does not ask who calls: that is for whoever serves the router.

mod histogram;
mod search;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;

use crate::search::backend::Backend;

/// What the routes answer from.
#[derive(Clone)]
pub struct WebState {
    /// Answers searches; without one the API has none.
    pub search: Option<Backend>,
    /// Why it is not ready; nothing when it is.
    pub not_ready: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// The metrics in Prometheus' text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

/// An error of the API, as JSON.
#[derive(Debug, Serialize)]
struct ErrorBody<'a> {
    error: ErrorReason<'a>,
}

#[derive(Debug, Serialize)]
struct ErrorReason<'a> {
    reason: &'a str,
    /// The character of the query, counted from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<usize>,
}

/// The routes.
pub fn router(state: WebState) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/api/v1/search", get(search::search))
        .route("/api/v1/histogram", get(histogram::histogram))
        .fallback(|| async { failure(StatusCode::NOT_FOUND, "there is nothing here", None) })
        .layer(from_fn(secured))
        .with_state(state)
}

async fn readyz(State(state): State<WebState>) -> Response {
    #[derive(Serialize)]
    struct Readiness {
        ready: bool,
        reasons: Vec<String>,
    }
    let reasons = (state.not_ready)();
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(Readiness { ready, reasons })).into_response()
}

async fn metrics(State(state): State<WebState>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, (state.metrics)()).into_response()
}

fn failure(status: StatusCode, reason: &str, position: Option<usize>) -> Response {
    let error = ErrorReason { reason, position };
    (status, axum::Json(ErrorBody { error })).into_response()
}

async fn secured(request: Request, next: Next) -> Response {
    const HEADERS: [(HeaderName, &str); 4] = [
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
