//! Frames over a socket: a length, then so many bytes; descriptors travel beside them, in order.
//!
//! Both ends gather what they have to say and write it at once, and read whatever has come at once: under load a
//! system call carries many messages.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg};
use serde::{Deserialize, Serialize};
use tokio::io::{Interest, Ready};
use tokio::net::UnixStream;

/// Bytes of a frame's length.
const LENGTH: usize = 4;
/// Read at once at most.
const READ: usize = 128 << 10;
/// What a buffer may keep for the next time.
const KEPT: usize = 1 << 20;
/// Descriptors that have come and were not asked for yet, at most.
const DESCRIPTORS_MAX: usize = 64;

/// One end.
pub(super) struct Link {
    socket: UnixStream,
    /// `taken` of it was taken already, up to `filled` has come, the rest is room.
    incoming: Vec<u8>,
    taken: usize,
    filled: usize,
    came: VecDeque<OwnedFd>,
    /// `written` of it was written already.
    outgoing: Vec<u8>,
    written: usize,
    /// With which byte of `outgoing` each of them goes.
    going: VecDeque<(usize, OwnedFd)>,
    /// Bytes of a frame that comes in, at most.
    pub frame_max: usize,
}

impl Link {
    /// `socket` must not block.
    pub fn new(socket: OwnedFd, frame_max: usize) -> io::Result<Self> {
        let socket = UnixStream::from_std(socket.into())?;
        let (incoming, outgoing) = (Vec::new(), Vec::new());
        Ok(Self { socket, incoming, taken: 0, filled: 0, came: VecDeque::new(), outgoing, written: 0, going: VecDeque::new(), frame_max })
    }

    /// Puts a message in the queue; `flush` sends it.
    pub fn put(&mut self, message: &impl Serialize) -> io::Result<()> {
        put(&mut self.outgoing, message)
    }

    pub fn put_with(&mut self, message: &impl Serialize, descriptor: OwnedFd) -> io::Result<()> {
        self.going.push_back((self.outgoing.len(), descriptor));
        self.put(message)
    }

    pub fn put_frames(&mut self, frames: &[u8]) {
        self.outgoing.extend_from_slice(frames);
    }

    /// Writes what is queued, as far as it goes at once.
    pub fn flush(&mut self) -> io::Result<()> {
        while self.written < self.outgoing.len() {
            match self.socket.try_io(Interest::WRITABLE, || self.write()) {
                Ok(n) => {
                    if self.going.front().is_some_and(|(at, _)| *at == self.written) {
                        self.going.pop_front();
                    }
                    self.written += n;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.outgoing.clear();
        self.outgoing.shrink_to(KEPT);
        self.written = 0;
        Ok(())
    }

    /// One system call: with the descriptor that belongs to the next byte, and up to the one after it.
    fn write(&self) -> io::Result<usize> {
        let mut going = self.going.iter().skip_while(|(at, _)| *at == self.written);
        let end = going.next().map_or(self.outgoing.len(), |(at, _)| *at);
        let bytes = &self.outgoing[self.written..end];
        let Some((_, descriptor)) = self.going.front().filter(|(at, _)| *at == self.written) else {
            return Ok(rustix::io::write(&self.socket, bytes)?);
        };
        let descriptors = [descriptor.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        beside.push(SendAncillaryMessage::ScmRights(&descriptors));
        Ok(sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut beside, SendFlags::NOSIGNAL)?)
    }

    /// Waits until the other end has said something, or, where something is queued, until more of it can be written.
    pub async fn readable_or_writable(&self) -> io::Result<Ready> {
        let queued = !self.outgoing.is_empty();
        let interest = if queued { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        self.socket.ready(interest).await
    }

    /// Reads what has come, if anything has; says whether the other end is still there.
    pub fn fill(&mut self) -> io::Result<bool> {
        self.incoming.copy_within(self.taken..self.filled, 0);
        self.filled -= self.taken;
        self.taken = 0;
        if self.filled == 0 && self.incoming.len() > KEPT {
            self.incoming = Vec::new();
        }
        if self.incoming.len() < self.filled + READ {
            self.incoming.resize(self.filled + READ, 0);
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let room = &mut self.incoming[self.filled..];
        let (most, came, mut bytes) = (room.len(), &mut self.came, 0);
        let received = self.socket.try_io(Interest::READABLE, || {
            bytes = recvmsg(&self.socket, &mut [IoSliceMut::new(room)], &mut beside, RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT)?.bytes;
            let before = came.len();
            for message in beside.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    came.extend(descriptors);
                }
            }
            // A read ends before its room does where nothing is left, or after a descriptor. What is said in the former case spares
            // a second read that would find just that.
            let is_all = 0 < bytes && bytes < most && came.len() == before;
            if is_all { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        self.filled += bytes;
        match received {
            _ if self.came.len() > DESCRIPTORS_MAX => Err(io::Error::other("too many descriptors came")),
            Ok(()) => Ok(bytes > 0),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(true),
            Err(e) => Err(e),
        }
    }

    /// The next message that has come whole.
    pub fn take<'a, M: Deserialize<'a>>(&'a mut self) -> io::Result<Option<M>> {
        let Some((length, rest)) = self.incoming[self.taken..self.filled].split_first_chunk::<LENGTH>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length > self.frame_max {
            return Err(io::Error::other(format!("a frame of {length} bytes came, at most {} are taken", self.frame_max)));
        }
        let Some(frame) = rest.get(..length) else { return Ok(None) };
        self.taken += LENGTH + length;
        postcard::from_bytes(frame).map(Some).map_err(io::Error::other)
    }

    /// The descriptor that came with a message.
    pub fn descriptor(&mut self) -> Option<OwnedFd> {
        self.came.pop_front()
    }
}

/// Appends a message's frame to `frames`.
pub(super) fn put(frames: &mut Vec<u8>, message: &impl Serialize) -> io::Result<()> {
    let start = frames.len();
    frames.extend([0; LENGTH]);
    let mut frame = postcard::to_extend(message, std::mem::take(frames)).map_err(io::Error::other)?;
    let length = u32::try_from(frame.len() - start - LENGTH).map_err(io::Error::other)?;
    frame[start..start + LENGTH].copy_from_slice(&length.to_le_bytes());
    *frames = frame;
    Ok(())
}

/// Whether something has come that nobody has read; false where the other end is gone. `WouldBlock` where nothing has.
pub(super) fn has_come(socket: impl AsFd) -> io::Result<bool> {
    let mut first = [0];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    // Descriptors that came with it stay where they are.
    Ok(recvmsg(socket, &mut [IoSliceMut::new(&mut first)], &mut RecvAncillaryBuffer::default(), flags)?.bytes > 0)
}

/// Two ends; each survives the process it is given to.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let ends = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    for end in [ends.0.as_fd(), ends.1.as_fd()] {
        // A batch should fit; where the machine's maximum is lower, that is what it gets.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(end, 1 << 20);
    }
    Ok(ends)
}
