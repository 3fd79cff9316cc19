//! A reply and its body.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::Response;
use hyper::body::{Body, Frame, SizeHint};
use serde_json::Value;
use tokio::sync::mpsc;

use super::status::Failure;

/// A reply's body.
#[derive(Debug)]
pub(super) enum ReplyBody {
    /// All at once.
    Whole(Option<Bytes>),
    /// In pieces; an error cuts the connection.
    Pieces(mpsc::Receiver<Result<Bytes, Cut>>),
}

/// The connection ends in the middle of the body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut by a fault")
    }
}

impl std::error::Error for Cut {}

impl From<Infallible> for Cut {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.get_mut() {
            Self::Whole(body) => Poll::Ready(body.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Pieces(pieces) => {
                pieces.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => SizeHint::with_exact(body.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}

/// A reply that is one JSON object.
pub(super) fn object(code: u16, object: &Value) -> Response<ReplyBody> {
    let body = ReplyBody::Whole(Some(Bytes::from(object.to_string() + "\n")));
    with_header(code, body)
}

/// A reply that says why there is none.
pub(super) fn failure(failure: &Failure) -> Response<ReplyBody> {
    object(failure.code, &failure.object())
}

/// A reply whose body comes in pieces.
pub(super) fn pieces(pieces: mpsc::Receiver<Result<Bytes, Cut>>) -> Response<ReplyBody> {
    with_header(200, ReplyBody::Pieces(pieces))
}

fn with_header(code: u16, body: ReplyBody) -> Response<ReplyBody> {
    let mut response = Response::new(body);
    *response.status_mut() =
        hyper::StatusCode::from_u16(code).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    response
}
