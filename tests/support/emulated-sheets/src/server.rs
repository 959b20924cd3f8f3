//! HTTP: connections in, requests to the service, answers out the way their fault says.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming as Stream};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::api;
use crate::service::{self, Delivery, Incoming, Reply, Shared};

/// The longest body; Google recommends 2 MB and takes more.
const BODY_LIMIT: usize = 32 << 20;

/// Takes connections until told to stop.
pub(crate) async fn run(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    tokio::spawn(connection(stream, Arc::clone(&shared), stop.clone()));
                }
            }
            _ = stop.changed() => return,
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let service = service_fn(move |request| respond(Arc::clone(&shared), request));
    let serve = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // An error is a client that went away, or a connection that was to be cut.
        _ = serve => {}
        _ = stop.changed() => {}
    }
}

async fn respond(shared: Arc<Shared>, request: Request<Stream>) -> io::Result<Response<Answer>> {
    let (head, body) = request.into_parts();
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let body = Limited::new(body, BODY_LIMIT).collect().await;
    let Ok(body) = body.map(|body| body.to_bytes().to_vec()) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let incoming = Incoming {
        verb: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: api::pairs(head.uri.query().unwrap_or_default()),
        authorization: header("authorization").map(str::to_owned),
        flavored: header("metadata-flavor") == Some("Google"),
        body,
    };
    // A task of its own: it goes on when this connection ends.
    let reply = tokio::spawn(service::answer(shared, incoming)).await;
    let reply = reply.map_err(|_| io::Error::from(io::ErrorKind::Other))?;
    match reply.delivery {
        Delivery::Never => std::future::pending().await,
        Delivery::Cut => Err(io::ErrorKind::ConnectionAborted.into()),
        Delivery::Whole | Delivery::Broken(_) => response(reply),
    }
}

fn response(reply: Reply) -> io::Result<Response<Answer>> {
    let mut response = Response::builder()
        .status(reply.status)
        .header("content-type", reply.content)
        .header("content-length", reply.body.len())
        .header("server", "ESF")
        .header("cache-control", "private");
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    let mut bytes = Bytes::from(reply.body);
    let broken = match reply.delivery {
        Delivery::Broken(at) => {
            bytes.truncate(at);
            true
        }
        _ => false,
    };
    let answer = Answer { bytes: Some(bytes), broken, turns: 0 };
    response.body(answer).map_err(io::Error::other)
}

/// A body that comes at once, or breaks off after what it has.
struct Answer {
    bytes: Option<Bytes>,
    broken: bool,
    turns: u8,
}

/// Turns between the last bytes and the break, so that these go out first.
const TURNS: u8 = 3;

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(bytes) = self.bytes.take().filter(|bytes| !bytes.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if !self.broken {
            return Poll::Ready(None);
        }
        if self.turns < TURNS {
            self.turns += 1;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())))
    }

    fn is_end_stream(&self) -> bool {
        !self.broken && self.bytes.as_ref().is_none_or(Bytes::is_empty)
    }
}
