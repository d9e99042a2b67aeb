//! # The admin endpoint: `/healthz` and `/metrics`
//!
//! A very small HTTP/1.1 responder over whatever stream it is handed: one GET per connection, a
//! bounded head, a bounded time, and no body is ever read. It changes nothing and shows no keys and
//! no values.

use crate::door;
use crate::server::Server;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest head of a request, bytes.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// A request must arrive and its answer be taken within this time.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);

/// Answers one request on `stream`.
pub async fn serve_admin<S: AsyncRead + AsyncWrite + Unpin>(
    server: &Server,
    mut stream: S,
) -> io::Result<()> {
    let answered = door::within(Some(REQUEST_TIME_MAX), async {
        let reply = match read_head(&mut stream).await? {
            Some(head) => answer(server, &head),
            None => {
                response("431 Request Header Fields Too Large", "text/plain", "the request is too long\n")
            }
        };
        stream.write_all(&reply).await?;
        stream.shutdown().await
    });
    answered.await.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
}

/// The head of the request up to the empty line; `None` if it is too long.
async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    let mut chunk = [0u8; 1024];
    loop {
        let n = stream.read(&mut chunk).await?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // The end may straddle two reads: look again from three bytes before.
        let from = head.len().saturating_sub(3);
        head.extend_from_slice(chunk.get(..n).unwrap_or_default());
        if head.get(from..).unwrap_or_default().windows(4).any(|w| w == b"\r\n\r\n") {
            return Ok(Some(head));
        }
        if head.len() > HEAD_BYTES_MAX {
            return Ok(None);
        }
    }
}

fn answer(server: &Server, head: &[u8]) -> Vec<u8> {
    let line = head.split(|&b| b == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&b| b == b' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let well_formed = version.is_some_and(|v| v.starts_with(b"HTTP/1.")) && words.next().is_none();
    let (Some(method), Some(target), true) = (method, target, well_formed) else {
        return response("400 Bad Request", "text/plain", "not an HTTP/1.1 request\n");
    };
    if method != b"GET" {
        return response("405 Method Not Allowed\r\nAllow: GET", "text/plain", "only GET\n");
    }
    match target.split(|&b| b == b'?').next().unwrap_or_default() {
        b"/healthz" => match server.health() {
            Ok(()) => response("200 OK", "text/plain", "ok\n"),
            Err(why) => response("503 Service Unavailable", "text/plain", &format!("{why}\n")),
        },
        b"/metrics" => {
            response("200 OK", "text/plain; version=0.0.4; charset=utf-8", &crate::metrics::render(server))
        }
        _ => response("404 Not Found", "text/plain", "there are /healthz and /metrics\n"),
    }
}

fn response(status: &str, content_type: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
