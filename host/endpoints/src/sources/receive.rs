//! Receiving many datagrams with one system call: `recvmmsg`, with `UDP_GRO` and `SO_RXQ_OVFL` where the
//! kernel has them. The only file of the sources with `unsafe` in it.

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, RawFd};

use socket2::Socket;

/// Messages a call may bring. With UDP_GRO each can hold several datagrams.
pub(crate) const MESSAGES: usize = 64;
/// Bytes of one message's buffer: the most that IP can carry, so nothing is ever cut. Memory that was
/// never written to costs nothing, so small datagrams keep this small.
pub(crate) const MESSAGE_BYTES: usize = 1 << 16;
/// From one buffer to the next. At a power of two all datagrams would want the same lines of a cache: few would be left
/// there when they are decoded.
const STRIDE: usize = MESSAGE_BYTES + 1536;

/// Room for the control messages of one message: the segment size, the drops, and some more.
const CONTROL_WORDS: usize = 16;

/// `UDP_GRO` (linux/udp.h); libc does not have it for every target.
const UDP_GRO: libc::c_int = 104;
/// Place of the number of dropped datagrams in what `SO_MEMINFO` gives (linux/sock_diag.h).
const SK_MEMINFO_DROPS: usize = 8;
/// Numbers in what `SO_MEMINFO` gives.
const SK_MEMINFO_VARS: usize = 9;

/// One datagram of the last call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received<'a> {
    pub(crate) exporter: IpAddr,
    pub(crate) payload: &'a [u8],
    /// The datagram was longer than the buffer.
    pub(crate) is_cut: bool,
}

/// Buffers for receiving, and what the last call brought.
pub(crate) struct Receiver {
    buffers: Box<[u8]>,
    controls: Box<[[u64; CONTROL_WORDS]]>,
    names: Box<[libc::sockaddr_storage]>,
    lengths: [usize; MESSAGES],
    messages: usize,
    /// Per message: bytes a datagram, 0 if the message is one datagram.
    segments: [usize; MESSAGES],
    cut: [bool; MESSAGES],
    /// What the kernel last said about drops, in total.
    dropped: Option<u32>,
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("messages", &self.messages).finish_non_exhaustive()
    }
}

impl Receiver {
    pub(crate) fn new() -> Receiver {
        // SAFETY: `sockaddr_storage` is plain numbers, for which all zeros is a value.
        #[allow(unsafe_code, reason = "libc's structure has no safe constructor")]
        let name: libc::sockaddr_storage = unsafe { mem::zeroed() };
        Receiver {
            buffers: vec![0; MESSAGES * STRIDE].into_boxed_slice(),
            controls: vec![[0; CONTROL_WORDS]; MESSAGES].into_boxed_slice(),
            names: vec![name; MESSAGES].into_boxed_slice(),
            lengths: [0; MESSAGES],
            messages: 0,
            segments: [0; MESSAGES],
            cut: [false; MESSAGES],
            dropped: None,
        }
    }

    /// Waits for a datagram, for the socket's receive timeout at most, and takes what else is there.
    /// Returns whether there was any.
    ///
    /// # Errors
    /// What the system says, other than that there was nothing in time or that a signal came.
    pub(crate) fn receive(&mut self, socket: &Socket) -> io::Result<bool> {
        self.messages = 0;
        let mut vectors: [libc::iovec; MESSAGES] =
            [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; MESSAGES];
        for (vector, buffer) in vectors.iter_mut().zip(self.buffers.chunks_exact_mut(STRIDE)) {
            *vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: MESSAGE_BYTES };
        }
        // SAFETY: `mmsghdr` is plain numbers and pointers, for which all zeros is a value.
        #[allow(unsafe_code, reason = "libc's structure has private padding, so no literal can be written")]
        let mut headers: [libc::mmsghdr; MESSAGES] = unsafe { mem::zeroed() };
        let parts = headers.iter_mut().zip(&mut vectors).zip(&mut self.names).zip(&mut self.controls);
        for (((header, vector), name), control) in parts {
            header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = size_of_val(control);
        }
        // SAFETY: every header points to a name, a vector, a buffer and a control area that are ours
        // alone, of the lengths given, and that outlive the call; the count is that of the headers.
        #[allow(unsafe_code, reason = "neither rustix nor socket2 has recvmmsg")]
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                MESSAGES as libc::c_uint,
                libc::MSG_WAITFORONE,
                std::ptr::null_mut(),
            )
        };
        if count < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => Ok(false),
                _ => Err(error),
            };
        }
        self.messages = usize::try_from(count).unwrap_or(0).min(MESSAGES);
        let places = self.lengths.iter_mut().zip(&mut self.segments).zip(&mut self.cut);
        for (header, ((length, segment), cut)) in headers.iter().take(self.messages).zip(places) {
            *length = (header.msg_len as usize).min(MESSAGE_BYTES);
            *cut = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            *segment = 0;
            for (level, kind, value) in control_messages(&header.msg_hdr) {
                match (level, kind) {
                    (libc::SOL_UDP, UDP_GRO) => *segment = value as usize,
                    (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => self.dropped = Some(value),
                    _ => {}
                }
            }
        }
        Ok(self.messages > 0)
    }

    /// The datagrams of the last call, in the order in which they came.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = Received<'_>> {
        let messages = self.buffers.chunks_exact(STRIDE).zip(&self.names).take(self.messages);
        let sizes = self.lengths.iter().zip(&self.segments).zip(&self.cut);
        messages.zip(sizes).flat_map(|((buffer, name), ((length, segment), cut))| {
            let whole = buffer.get(..*length).unwrap_or_default();
            let exporter = address(name);
            let is_split = *segment > 0 && *segment < whole.len();
            let step = if is_split { *segment } else { whole.len().max(1) };
            // An empty datagram has no chunk, and is a datagram all the same.
            let empty = whole.is_empty().then_some(whole);
            empty.into_iter().chain(whole.chunks(step)).map(move |payload| Received { exporter, payload, is_cut: *cut })
        })
    }

    /// Whether the last call brought as much as it can, so that more may be there.
    pub(crate) fn is_full(&self) -> bool {
        self.messages == MESSAGES
    }

    /// Datagrams that the kernel dropped for want of buffer since the socket was made, as it said with
    /// the last datagrams. Wraps around.
    pub(crate) fn dropped(&self) -> Option<u32> {
        self.dropped
    }
}

/// Level, type and first 32 bits of each control message that is long enough to have them.
fn control_messages(header: &libc::msghdr) -> impl Iterator<Item = (libc::c_int, libc::c_int, u32)> {
    // SAFETY: `header` was filled by the kernel and its control area is alive: it belongs to the
    // `Receiver` whose call this is. The macros' functions stay inside `msg_controllen`.
    #[allow(unsafe_code, reason = "control messages can only be walked with libc's CMSG functions")]
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    std::iter::from_fn(move || {
        if next.is_null() {
            return None;
        }
        // SAFETY: not null, so it points to a control message inside the area; the area is of `u64` and
        // so aligned. The data is read only if its length says that there are four bytes.
        #[allow(unsafe_code, reason = "see above")]
        let found = unsafe {
            let message = &*next;
            let has_value = message.cmsg_len >= libc::CMSG_LEN(4) as usize;
            let value = if has_value { libc::CMSG_DATA(next).cast::<u32>().read_unaligned() } else { 0 };
            (message.cmsg_level, message.cmsg_type, value)
        };
        // SAFETY: as above; it gives null after the last one.
        #[allow(unsafe_code, reason = "see above")]
        let after = unsafe { libc::CMSG_NXTHDR(header, next) };
        next = after;
        Some(found)
    })
}

/// Address of a sender; an IPv4-mapped address is the IPv4 address that it stands for.
fn address(name: &libc::sockaddr_storage) -> IpAddr {
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the storage holds a `sockaddr_in`; storage is larger and aligned.
            #[allow(unsafe_code, reason = "a socket address is told apart by its family")]
            let name = unsafe { &*std::ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            IpAddr::V4(Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr)))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that the storage holds a `sockaddr_in6`; storage is larger and aligned.
            #[allow(unsafe_code, reason = "a socket address is told apart by its family")]
            let name = unsafe { &*std::ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            Ipv6Addr::from(name.sin6_addr.s6_addr).to_canonical()
        }
        _ => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// Asks for the count of dropped datagrams beside each datagram.
pub(crate) fn ask_for_drops(socket: &Socket) -> io::Result<()> {
    set_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)
}

/// Asks the kernel to hand over trains of equal datagrams of one sender as one message.
pub(crate) fn ask_for_trains(socket: &Socket) -> io::Result<()> {
    set_option(socket.as_raw_fd(), libc::SOL_UDP, UDP_GRO, 1)
}

fn set_option(socket: RawFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the option takes an int, and is given the address and size of one that outlives the call.
    #[allow(unsafe_code, reason = "neither rustix nor socket2 has this option")]
    let answer = unsafe {
        libc::setsockopt(
            socket,
            level,
            option,
            std::ptr::from_ref(&value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Datagrams that the socket dropped since it was made: exact, where what comes beside a datagram
/// says only what was lost before it. `None` if the kernel does not tell. Wraps around.
pub(crate) fn drops_of(socket: &Socket) -> Option<u32> {
    let mut values = [0_u32; SK_MEMINFO_VARS];
    let mut length = size_of_val(&values) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of `values`, and the length that it wrote.
    #[allow(unsafe_code, reason = "neither rustix nor socket2 has this option")]
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            values.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let told = length as usize / size_of::<u32>();
    if answer == 0 && told > SK_MEMINFO_DROPS { values.get(SK_MEMINFO_DROPS).copied() } else { None }
}
