//! Export datagrams out of files: packet captures (pcap, pcapng) and raw datagrams, one a file.
//!
//! [`open`] takes a file or a directory and gives an iterator that reads as it goes: memory holds one
//! packet and a buffer, however long the capture is.

mod packet;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader};

use self::packet::udp_of;

/// Bytes of one packet, or block, of a capture that are read at most; a UDP datagram has up to 65535.
const MAX_BLOCK: usize = 1 << 18;

/// Bytes of a raw datagram at most (RFC 768: a length of 16 bits, less the header).
const MAX_RAW: u64 = 65_527;

/// Interfaces of a pcapng section at most; `mergecap` makes one a file.
const MAX_INTERFACES: usize = 4096;

/// Files of a directory at most.
const MAX_FILES: usize = 100_000;

/// Exporter of a raw datagram, of which nothing is known.
const RAW_EXPORTER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A datagram as an exporter sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Source address; `127.0.0.1` for a raw datagram.
    pub exporter: IpAddr,
    /// Destination port; 0 for a raw datagram.
    pub port: u16,
    /// When it was captured, in nanoseconds since the Unix epoch; 0 where the file does not say: raw
    /// datagrams and pcapng simple packets. The time stamps of files are not used, so that equal
    /// files give equal rows wherever they were copied to.
    pub at_ns: u64,
    /// What follows the UDP header.
    pub payload: Vec<u8>,
}

/// Why a capture could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The file could not be opened or read.
    #[error("{}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file ends within a packet: what came before it was handed out.
    #[error("{}: the capture ends within a packet, at byte {offset}", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Where the packet begins.
        offset: usize,
    },
    /// A packet that cannot be: what came before it was handed out.
    #[error("{}: the capture is malformed at byte {offset}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where the packet begins.
        offset: usize,
    },
    /// A file that is no capture and too large for a datagram.
    #[error("{}: neither a capture (pcap, pcapng) nor a datagram: {bytes} bytes", path.display())]
    NotACapture {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// A directory with more files than are read.
    #[error("{}: more than {MAX_FILES} files", path.display())]
    TooManyFiles {
        /// The directory.
        path: PathBuf,
    },
}

/// Why a packet of a capture is not a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Skip {
    /// A link type other than Ethernet, raw IP, Linux cooked, null and loop.
    LinkType,
    /// Not IP: ARP, LLDP ...
    NotIp,
    /// IP, but not UDP.
    NotUdp,
    /// A fragment: reassembly is not done.
    Fragment,
    /// The capture has only the beginning of the packet (`tcpdump -s`).
    CutShort,
    /// Headers that contradict themselves.
    Malformed,
    /// A datagram without content.
    Empty,
}

impl Skip {
    const REASONS: [&'static str; 7] =
        ["link_type", "not_ip", "not_udp", "fragment", "cut_short", "malformed", "empty"];
}

/// The datagrams of a file or a directory. An error ends the file it is about, not the iteration.
#[derive(Debug)]
pub struct Capture {
    files: VecDeque<PathBuf>,
    /// Files that there were at the beginning.
    total: usize,
    current: Option<Packets>,
    skipped: [u64; Skip::REASONS.len()],
}

/// A packet capture that is being read.
struct Packets {
    path: PathBuf,
    reader: Box<dyn PcapReaderIterator + Send>,
    /// Size of the file when it was opened.
    bytes: u64,
    /// Link type, and units a second of time stamps with their offset in seconds, by interface.
    interfaces: Vec<Interface>,
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link: Linktype,
    units_a_second: u64,
    offset_s: i64,
}

impl std::fmt::Debug for Packets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packets").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Opens a capture file, a file with one raw datagram (anything that is no capture), or a directory: its
/// files in the order of their names, without hidden ones and without what is in directories below.
///
/// # Errors
/// If `path` cannot be read. Later files of a directory are opened when their turn comes.
pub fn open(path: &Path) -> Result<Capture, CaptureError> {
    let io = |source| CaptureError::Io { path: path.to_owned(), source };
    let mut files = Vec::new();
    if fs::metadata(path).map_err(io)?.is_dir() {
        for entry in fs::read_dir(path).map_err(io)? {
            let entry = entry.map_err(io)?;
            let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
            if !is_hidden && fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_file()) {
                files.push(entry.path());
            }
            if files.len() > MAX_FILES {
                return Err(CaptureError::TooManyFiles { path: path.to_owned() });
            }
        }
        files.sort();
    } else {
        // So that a file that may not be read is an error here, not later.
        File::open(path).map_err(io)?;
        files.push(path.to_owned());
    }
    Ok(Capture { total: files.len(), files: files.into(), current: None, skipped: [0; Skip::REASONS.len()] })
}

impl Capture {
    /// Packets that were left out so far, by reason; reasons that did not occur are left out.
    pub fn skipped(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Skip::REASONS.into_iter().zip(self.skipped).filter(|(_, packets)| *packets > 0)
    }

    /// How much has been read: 0 nothing, 1 everything. Files count equally.
    #[must_use]
    pub fn progress(&self) -> f64 {
        let of_current = self
            .current
            .as_ref()
            .map_or(1.0, |packets| (packets.reader.consumed() as f64 / packets.bytes.max(1) as f64).min(1.0));
        let begun = self.total - self.files.len();
        if begun == 0 { 0.0 } else { (begun as f64 - 1.0 + of_current) / self.total as f64 }
    }

    /// Opens the next file: a raw datagram is returned at once, a capture becomes the current one.
    fn next_file(&mut self, path: PathBuf) -> Result<Option<Datagram>, CaptureError> {
        let io = |source| CaptureError::Io { path: path.clone(), source };
        let mut file = File::open(&path).map_err(io)?;
        let mut magic = Vec::with_capacity(4);
        io::Read::by_ref(&mut file).take(4).read_to_end(&mut magic).map_err(io)?;
        if is_capture(&magic) {
            file.rewind().map_err(io)?;
            let bytes = file.metadata().map_err(io)?.len();
            let reader = create_reader(MAX_BLOCK, file)
                .map_err(|_| CaptureError::Malformed { path: path.clone(), offset: 0 })?;
            self.current = Some(Packets { path, reader, bytes, interfaces: Vec::new() });
            return Ok(None);
        }
        let mut payload = magic;
        io::Read::by_ref(&mut file).take(MAX_RAW).read_to_end(&mut payload).map_err(io)?;
        if payload.len() as u64 > MAX_RAW {
            let bytes = file.metadata().map_or(payload.len() as u64, |metadata| metadata.len());
            return Err(CaptureError::NotACapture { path, bytes });
        }
        if payload.is_empty() {
            self.skip(Skip::Empty);
            return Ok(None);
        }
        Ok(Some(Datagram { exporter: RAW_EXPORTER, port: 0, at_ns: 0, payload }))
    }

    fn skip(&mut self, reason: Skip) {
        if let Some(count) = self.skipped.get_mut(reason as usize) {
            *count += 1;
        }
    }
}

impl Iterator for Capture {
    type Item = Result<Datagram, CaptureError>;

    fn next(&mut self) -> Option<Result<Datagram, CaptureError>> {
        loop {
            let Some(packets) = &mut self.current else {
                let path = self.files.pop_front()?;
                match self.next_file(path) {
                    Ok(None) => continue,
                    Ok(Some(datagram)) => return Some(Ok(datagram)),
                    Err(error) => return Some(Err(error)),
                }
            };
            match packets.next() {
                Ok(Some(Ok(datagram))) => return Some(Ok(datagram)),
                Ok(Some(Err(reason))) => self.skip(reason),
                Ok(None) => self.current = None,
                Err(error) => {
                    self.current = None;
                    return Some(Err(error));
                }
            }
        }
    }
}

/// Whether a file that begins like this is a pcap (either byte order, micro- or nanoseconds, or the
/// modified format) or a pcapng.
fn is_capture(magic: &[u8]) -> bool {
    const PCAP: [u32; 3] = [0xa1b2_c3d4, 0xa1b2_3c4d, 0xa1b2_cd34];
    const PCAPNG: u32 = 0x0a0d_0d0a;
    let Some(magic) = magic.first_chunk::<4>() else { return false };
    let magic = u32::from_be_bytes(*magic);
    magic == PCAPNG || PCAP.contains(&magic) || PCAP.contains(&magic.swap_bytes())
}

impl Packets {
    /// The next packet of the file: a datagram or why it is none; `None` at the end.
    fn next(&mut self) -> Result<Option<Result<Datagram, Skip>>, CaptureError> {
        loop {
            let offset = self.reader.consumed();
            let path = || self.path.clone();
            let (length, found) = match self.reader.next() {
                Ok((length, block)) => (length, block_of(&block, &mut self.interfaces)),
                Err(PcapError::Eof) => return Ok(None),
                Err(PcapError::Incomplete(_)) => {
                    match self.reader.refill() {
                        Ok(()) => continue,
                        Err(_) => {
                            let source = io::Error::other("reading failed");
                            return Err(CaptureError::Io { path: path(), source });
                        }
                    };
                }
                Err(PcapError::UnexpectedEof) => return Err(CaptureError::Truncated { path: path(), offset }),
                Err(_) => return Err(CaptureError::Malformed { path: path(), offset }),
            };
            self.reader.consume(length);
            match found {
                Found::Packet(datagram) => return Ok(Some(datagram)),
                Found::Other => {}
                Found::Bad => return Err(CaptureError::Malformed { path: path(), offset }),
            }
        }
    }
}

/// What a block of a capture holds.
enum Found {
    Packet(Result<Datagram, Skip>),
    /// Headers, interfaces, names, statistics.
    Other,
    /// A packet of an interface that was not described, or too many interfaces.
    Bad,
}

fn block_of(block: &PcapBlockOwned<'_>, interfaces: &mut Vec<Interface>) -> Found {
    match block {
        PcapBlockOwned::LegacyHeader(header) => {
            let units_a_second = if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 };
            interfaces.push(Interface { link: header.network, units_a_second, offset_s: 0 });
            Found::Other
        }
        PcapBlockOwned::Legacy(packet) => {
            let Some(interface) = interfaces.first() else { return Found::Bad };
            let fraction_ns = u64::from(packet.ts_usec).saturating_mul(1_000_000_000 / interface.units_a_second);
            let at_ns = u64::from(packet.ts_sec).saturating_mul(1_000_000_000).saturating_add(fraction_ns);
            let data = packet.data.get(..packet.caplen as usize).unwrap_or(packet.data);
            Found::Packet(datagram(interface.link, data, at_ns))
        }
        PcapBlockOwned::NG(Block::SectionHeader(_)) => {
            interfaces.clear();
            Found::Other
        }
        PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
            if interfaces.len() >= MAX_INTERFACES {
                return Found::Bad;
            }
            let units_a_second = interface.ts_resolution().unwrap_or(1_000_000);
            let offset_s = interface.ts_offset();
            interfaces.push(Interface { link: interface.linktype, units_a_second, offset_s });
            Found::Other
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
            let Some(interface) = interfaces.get(packet.if_id as usize) else { return Found::Bad };
            let units = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
            let data = packet.data.get(..packet.caplen as usize).unwrap_or(packet.data);
            Found::Packet(datagram(interface.link, data, time_ns(units, interface)))
        }
        PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
            let Some(interface) = interfaces.first() else { return Found::Bad };
            let data = packet.data.get(..packet.orig_len() as usize).unwrap_or(packet.data);
            Found::Packet(datagram(interface.link, data, 0))
        }
        PcapBlockOwned::NG(_) => Found::Other,
    }
}

/// Time stamp of a pcapng packet, in nanoseconds since the Unix epoch (pcapng, section 4.2, `if_tsresol`
/// and `if_tsoffset`).
fn time_ns(units: u64, interface: &Interface) -> u64 {
    let units_a_second = u128::from(interface.units_a_second.max(1));
    let ns = u128::from(units) * 1_000_000_000 / units_a_second;
    let offset_ns = i128::from(interface.offset_s) * 1_000_000_000;
    u64::try_from((ns as i128).saturating_add(offset_ns)).unwrap_or(0)
}

fn datagram(link: Linktype, data: &[u8], at_ns: u64) -> Result<Datagram, Skip> {
    let (exporter, port, payload) = udp_of(link, data)?;
    Ok(Datagram { exporter, port, at_ns, payload: payload.to_vec() })
}

#[cfg(test)]
mod tests;
