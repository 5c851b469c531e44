//! A connection to the broker on which a test writes what it likes, whole or not.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::promptly;

/// A connection without a client.
pub(crate) struct Wire(TcpStream);

impl Wire {
    pub(crate) async fn to(address: SocketAddr) -> Self {
        Self(promptly(TcpStream::connect(address)).await.unwrap())
    }

    /// Writes as much as the other side takes.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]> + Send) {
        // A peer that has refused may have closed already; what it said is read below.
        let _ = promptly(self.0.write_all(bytes.as_ref())).await;
    }

    /// Says that no more will come.
    pub(crate) async fn end(&mut self) {
        // The other side may have closed already.
        let _ = promptly(self.0.shutdown()).await;
    }

    /// The next line, without its end.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(promptly(self.0.read_u8()).await.unwrap());
        }
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }

    /// What comes until the other side closes.
    pub(crate) async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let mut chunk = [0; 4096];
        // A reset ends it as well.
        while let Ok(read @ 1..) = promptly(self.0.read(&mut chunk)).await {
            bytes.extend_from_slice(&chunk[..read]);
        }
        String::from_utf8(bytes).unwrap()
    }

    /// The next answer on a connection that may go on; it has a `content-length`.
    pub(crate) async fn answer(&mut self) -> String {
        let mut bytes = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&bytes);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() >= length.unwrap().parse().unwrap() {
                    return text.into_owned();
                }
            }
            let byte = promptly(self.0.read_u8()).await.unwrap();
            bytes.push(byte);
        }
    }

    /// Whether nothing has come so far.
    pub(crate) fn is_silent(&self) -> bool {
        self.0.try_read(&mut [0; 1]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }
}
