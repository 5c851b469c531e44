//! One keep-alive connection with at most one request in flight.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::{AsFd, BorrowedFd},
    time::Instant,
};

use super::expected::{Checker, Received};

/// Far more than a token response has.
const ROOM: usize = 8 << 10;

pub(super) struct Connection {
    stream: TcpStream,
    buffer: Box<[u8]>,
    filled: usize,
    /// When the request in flight was due.
    due: Instant,
}

impl Connection {
    pub(super) fn open(address: SocketAddr, now: Instant) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, buffer: vec![0; ROOM].into(), filled: 0, due: now })
    }

    /// Sends the request that was due then.
    pub(super) fn send(&mut self, request: &[u8], due: Instant) -> Result<(), String> {
        self.due = due;
        self.filled = 0;
        match self.stream.write(request) {
            Ok(written) if written == request.len() => Ok(()),
            Ok(_) => Err("a request did not fit into an empty socket".into()),
            Err(error) => Err(format!("a request could not be sent: {error}")),
        }
    }

    /// When the request in flight was due.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Reads what is there, and says what it is.
    pub(super) fn receive(&mut self, checker: &mut Checker) -> Result<Received, String> {
        match self.stream.read(&mut self.buffer[self.filled..]) {
            Ok(0) => return Err("the server closed a connection, or sent more than a token response".into()),
            Ok(read) => self.filled += read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Received::Part),
            Err(error) => return Err(format!("a response could not be read: {error}")),
        }
        checker.check(&self.buffer[..self.filled])
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
