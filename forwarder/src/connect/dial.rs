//! A connection that is there already, as the transport wants it: once. What broke is not dialled again behind our back,
//! because another address may be better.

use std::future::{Ready, ready};
use std::io;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;

pub(super) struct Once<S>(Option<S>);

impl<S> Once<S> {
    pub(super) fn of(stream: S) -> Self {
        Self(Some(stream))
    }
}

impl<S> Service<Uri> for Once<S> {
    type Response = TokioIo<S>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(match self.0.take() {
            Some(stream) => Ok(TokioIo::new(stream)),
            None => Err(io::Error::new(io::ErrorKind::NotConnected, "it closed the connection")),
        })
    }
}
