//! A file server that can misbehave, one request a connection.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What the server sends for a path; 404 for any other.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    File(Bytes),
    Status(u16),
    Redirect(&'static str),
    /// Less than it announces.
    CutShort(Bytes),
    /// Nothing, ever.
    Silent,
}

#[derive(Clone, Debug)]
pub(crate) struct Origin {
    address: SocketAddr,
    replies: Arc<Mutex<HashMap<String, Reply>>>,
}

impl Origin {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = Self { address: listener.local_addr().unwrap(), replies: Arc::default() };
        let serving = origin.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        origin
    }

    /// Serves `reply` at `/name` from now on; its URL.
    pub(crate) fn put(&self, name: &str, reply: Reply) -> String {
        self.replies.lock().unwrap().insert(format!("/{name}"), reply);
        self.url(name)
    }

    pub(crate) fn file(&self, name: &str, content: impl Into<Bytes>) -> String {
        self.put(name, Reply::File(content.into()))
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        let head = String::from_utf8(head).unwrap();
        let target = head.split(' ').nth(1).unwrap();
        let path = target.split('?').next().unwrap();
        let reply = self.replies.lock().unwrap().get(path).cloned().unwrap_or(Reply::Status(404));
        let (status, more, body, length) = match reply {
            Reply::File(body) => (200, String::new(), body.clone(), body.len()),
            Reply::CutShort(body) => (200, String::new(), body.clone(), body.len() + 1),
            Reply::Status(status) => (status, String::new(), Bytes::new(), 0),
            Reply::Redirect(to) => (302, format!("Location: {to}\r\n"), Bytes::new(), 0),
            Reply::Silent => return std::future::pending().await,
        };
        let head = format!(
            "HTTP/1.1 {status} Whatever\r\nContent-Length: {length}\r\nConnection: close\r\n{more}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // The sandbox may hang up on a file that is too large.
        let _ = stream.write_all(&body).await;
        let _ = stream.shutdown().await;
    }
}
