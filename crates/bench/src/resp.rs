//! A RESP client on a plain socket: commands are queued, sent together, and answered in order. It waits in the
//! thread that asks, as a benchmark's client does.

use ringfort_protocol::front::resp::client::append_command;
use ringfort_protocol::front::resp::{Buffer, Decoder, Value};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A server that says nothing for this long is taken to hang.
const REPLY_TIME_MAX: Duration = Duration::from_secs(30);
const REPLY_BYTES_MAX: usize = 256 << 20;
const READ_BYTES: usize = 64 << 10;

/// A connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    decoder: Decoder,
    buffer: Buffer,
    queued: Vec<u8>,
}

impl Client {
    /// Connects to `address`.
    ///
    /// # Errors
    /// If nobody listens there.
    pub fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_TIME_MAX))?;
        stream.set_write_timeout(Some(REPLY_TIME_MAX))?;
        Ok(Self { stream, decoder: Decoder::new(REPLY_BYTES_MAX), buffer: Buffer::new(), queued: Vec::new() })
    }

    /// Queues a command.
    pub fn queue(&mut self, command: &[&[u8]]) {
        append_command(&mut self.queued, command);
    }

    /// Sends what is queued.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn send(&mut self) -> Result<()> {
        self.stream.write_all(&self.queued)?;
        self.queued.clear();
        Ok(())
    }

    /// The next reply, be it an error.
    ///
    /// # Errors
    /// Those of the socket, and of bytes that are no reply.
    pub fn reply(&mut self) -> Result<Value> {
        loop {
            let decoded = self.decoder.next(&mut self.buffer);
            if let Some(value) = decoded.map_err(|e| Error::new(ErrorKind::InvalidData, e))? {
                return Ok(value);
            }
            let n = self.stream.read(self.buffer.space(READ_BYTES))?;
            if n == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.buffer.commit(n);
        }
    }

    /// One command and its reply, be it an error.
    ///
    /// # Errors
    /// Those of the socket, and of bytes that are no reply.
    pub fn call(&mut self, command: &[&[u8]]) -> Result<Value> {
        self.queue(command);
        self.send()?;
        self.reply()
    }

    /// One command that must be answered by `OK`.
    ///
    /// # Errors
    /// Those of the socket, and any other reply.
    pub fn ok(&mut self, command: &[&[u8]]) -> Result<()> {
        let reply = self.call(command)?;
        if reply.is_ok() { Ok(()) } else { Err(Error::other(format!("answered by {reply:?}"))) }
    }
}
