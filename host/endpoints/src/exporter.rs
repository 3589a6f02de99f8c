//! Sending datagrams as exporters do: for the demo, for `sluice generate` and for benchmarks.
//!
//! What the datagrams say is the caller's; encoders are in `sluice_wire::export`.

use std::io::{self, ErrorKind};
use std::mem;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// `UDP_SEGMENT` (linux/udp.h); libc does not have it for every target.
const UDP_SEGMENT: libc::c_int = 103;
/// Datagrams of one train: what every kernel with UDP_SEGMENT takes.
const MOST_IN_A_TRAIN: usize = 64;
/// Bytes of one train: the most that a UDP datagram can carry over IPv4.
const MOST_TRAIN_BYTES: usize = 65_507;
/// Most exporters, each of which has a socket.
pub const MOST_EXPORTERS: usize = 4096;
/// Bytes that a socket may hold until the network has taken them.
const SEND_BUFFER_BYTES: usize = 4 << 20;

/// Exporters that send to one collector, each from a socket, and on loopback an address, of its own.
#[derive(Debug)]
pub struct Exporters {
    sockets: Vec<(Socket, IpAddr)>,
    /// Whether the kernel takes trains of datagrams; until it refuses one.
    has_trains: bool,
}

/// What became of datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Datagrams that the network took.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Datagrams that were not sent because the collector's host answered that nobody listens there.
    pub refused: u64,
}

impl std::ops::AddAssign for Sent {
    fn add_assign(&mut self, other: Sent) {
        self.datagrams += other.datagrams;
        self.bytes += other.bytes;
        self.refused += other.refused;
    }
}

impl Exporters {
    /// Opens `count` exporters (1 to [`MOST_EXPORTERS`]) that send to `collector`.
    ///
    /// If the collector is on the IPv4 loopback, exporter `n` sends from `127.0.0.1` plus `n` places,
    /// so that the collector can tell them apart; else all have this host's address and differ by port.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(collector: SocketAddr, count: usize) -> io::Result<Exporters> {
        let sockets = (0..count.clamp(1, MOST_EXPORTERS)).map(|number| {
            let socket = Socket::new(Domain::for_address(collector), Type::DGRAM, Some(Protocol::UDP))?;
            socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
            if matches!(collector.ip(), IpAddr::V4(ip) if ip.is_loopback()) {
                socket.bind(&SocketAddr::from((nth_loopback(number), 0)).into())?;
            }
            socket.connect(&collector.into())?;
            let local = socket.local_addr()?.as_socket().ok_or(ErrorKind::AddrNotAvailable)?;
            Ok((socket, local.ip()))
        });
        Ok(Exporters { sockets: sockets.collect::<io::Result<_>>()?, has_trains: true })
    }

    /// Number of exporters.
    #[must_use]
    pub fn count(&self) -> usize {
        self.sockets.len()
    }

    /// The address that the collector sees of exporter `number` (modulo their count).
    #[must_use]
    pub fn address(&self, number: usize) -> IpAddr {
        self.socket(number).1
    }

    fn socket(&self, number: usize) -> &(Socket, IpAddr) {
        self.sockets.get(number % self.sockets.len()).expect("at least one exporter was opened")
    }

    /// Sends `datagrams` from exporter `number` (modulo their count), in order.
    ///
    /// Runs of equal size go to the kernel as one train (`UDP_SEGMENT`), five times as fast as one by
    /// one; the collector sees ordinary datagrams. Waits while the socket's buffer is full.
    ///
    /// # Errors
    /// What the system says, other than that nobody listens, which is counted. What was sent before
    /// the error is not known to the caller.
    pub fn send<D: AsRef<[u8]>>(&mut self, number: usize, datagrams: &[D]) -> io::Result<Sent> {
        let mut sent = Sent::default();
        let mut rest = datagrams;
        while let Some(first) = rest.first() {
            let length = if self.has_trains { train(rest) } else { 1 };
            let (now, later) = rest.split_at(length);
            let socket = &self.socket(number).0;
            let answer =
                if length > 1 { send_train(socket, now, first.as_ref().len()) } else { socket.send(first.as_ref()) };
            match answer {
                Ok(bytes) => {
                    sent.datagrams += length as u64;
                    sent.bytes += bytes as u64;
                    rest = later;
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    // An answer to an earlier datagram, told at this one, which was not sent.
                    ErrorKind::ConnectionRefused => {
                        sent.refused += length as u64;
                        rest = later;
                    }
                    // No UDP_SEGMENT, or not on this interface or for datagrams of this size.
                    _ if length > 1 => self.has_trains = false,
                    _ => return Err(error),
                },
            }
        }
        Ok(sent)
    }
}

/// `127.0.0.1` plus `number` places, leaving out addresses that end in 0 and 255.
fn nth_loopback(number: usize) -> Ipv4Addr {
    let (block, last) = ((number / 254) as u32, (number % 254) as u32);
    Ipv4Addr::from_bits(0x7f00_0001 + (block << 8) + last)
}

/// How many datagrams from the first on are of one size and fit a train.
fn train<D: AsRef<[u8]>>(datagrams: &[D]) -> usize {
    let Some(size) = datagrams.first().map(|first| first.as_ref().len()) else { return 0 };
    let room = (MOST_TRAIN_BYTES / size.max(1)).clamp(1, MOST_IN_A_TRAIN);
    let equal = datagrams.iter().take(room).take_while(|datagram| datagram.as_ref().len() == size).count();
    if size == 0 { 1 } else { equal }
}

/// Sends at most [`MOST_IN_A_TRAIN`] datagrams of `size` bytes each with one call.
fn send_train<D: AsRef<[u8]>>(socket: &Socket, datagrams: &[D], size: usize) -> io::Result<usize> {
    let mut vectors = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; MOST_IN_A_TRAIN];
    for (vector, datagram) in vectors.iter_mut().zip(datagrams) {
        let datagram = datagram.as_ref();
        *vector = libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: datagram.len() };
    }
    let mut control = [0_u64; 4];
    // SAFETY: `msghdr` is plain numbers and pointers, for which all zeros is a value.
    #[allow(unsafe_code, reason = "libc's structure has private padding, so no literal can be written")]
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = vectors.as_mut_ptr();
    header.msg_iovlen = datagrams.len().min(MOST_IN_A_TRAIN) as _;
    header.msg_control = control.as_mut_ptr().cast();
    // SAFETY: computes a size, and touches nothing.
    #[allow(unsafe_code, reason = "libc says so for every CMSG function")]
    let (control_len, message_len) = unsafe { (libc::CMSG_SPACE(2), libc::CMSG_LEN(2)) };
    header.msg_controllen = (control_len as usize).min(size_of_val(&control)) as _;
    // SAFETY: the control area is 32 bytes of `u64`, so aligned and long enough for one control message
    // of two bytes (24 bytes in all), which is written inside it. The kernel only reads the datagrams,
    // which outlive the call, as do the vectors, whose number is at most that of the array.
    #[allow(unsafe_code, reason = "neither rustix nor socket2 has UDP_SEGMENT")]
    let answer = unsafe {
        let message = libc::CMSG_FIRSTHDR(&raw const header);
        (*message).cmsg_level = libc::SOL_UDP;
        (*message).cmsg_type = UDP_SEGMENT;
        (*message).cmsg_len = message_len as _;
        libc::CMSG_DATA(message).cast::<u16>().write_unaligned(size as u16);
        libc::sendmsg(socket.as_raw_fd(), &raw const header, 0)
    };
    usize::try_from(answer).map_err(|_| io::Error::last_os_error())
}

/// Keeps to a rate: what should have been sent by now is known from the time since the start alone, so
/// a delay is made up for and no error adds up.
#[derive(Clone, Copy, Debug)]
pub struct Pacer {
    per_second: f64,
}

impl Pacer {
    /// Datagrams (or whatever is counted) a second; a rate that is not above 0 means no limit.
    #[must_use]
    pub fn new(per_second: f64) -> Pacer {
        let is_limit = per_second > 0.0;
        Pacer { per_second: if is_limit { per_second } else { f64::INFINITY } }
    }

    /// How long to wait before more is sent, when `sent` went out in the `elapsed` time since the start.
    #[must_use]
    pub fn delay(&self, sent: u64, elapsed: Duration) -> Duration {
        Duration::try_from_secs_f64(sent as f64 / self.per_second).unwrap_or(Duration::MAX).saturating_sub(elapsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_train_is_a_run_of_equal_datagrams_that_fits_the_kernel() {
        let sizes = |sizes: &[usize]| train(&sizes.iter().map(|size| vec![0; *size]).collect::<Vec<_>>());
        assert_eq!(sizes(&[]), 0);
        assert_eq!(sizes(&[0, 0]), 1);
        assert_eq!(sizes(&[9, 9, 8]), 2);
        assert_eq!(sizes(&[9; 100]), 64);
        assert_eq!(sizes(&[1464; 100]), 44);
        assert_eq!(sizes(&[65_000; 2]), 1);
    }

    #[test]
    fn a_delay_is_made_up_for() {
        let pacer = Pacer::new(1000.0);
        assert_eq!(pacer.delay(500, Duration::from_millis(200)), Duration::from_millis(300));
        assert_eq!(pacer.delay(500, Duration::from_millis(700)), Duration::ZERO);
        assert_eq!(Pacer::new(0.0).delay(u64::MAX, Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn exporters_on_loopback_have_addresses_of_their_own() {
        assert_eq!(nth_loopback(0), Ipv4Addr::new(127, 0, 0, 1));
        assert_eq!(nth_loopback(253), Ipv4Addr::new(127, 0, 0, 254));
        assert_eq!(nth_loopback(254), Ipv4Addr::new(127, 0, 1, 1));
    }
}
