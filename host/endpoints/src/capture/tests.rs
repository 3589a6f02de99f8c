use std::fmt::Write;
use std::sync::Arc;

use expect_test::{Expect, expect};

use super::*;

/// `NetFlow` would be too long to read: the payload of most packets here.
const PAYLOAD: &[u8] = b"flow";

const ETHERNET: u32 = 1;
const RAW: u32 = 101;

fn udp(payload: &[u8]) -> Vec<u8> {
    let mut udp = vec![0x30, 0x39, 0x08, 0x07];
    udp.extend_from_slice(&(8 + payload.len() as u16).to_be_bytes());
    udp.extend_from_slice(&[0, 0]);
    udp.extend_from_slice(payload);
    udp
}

/// An IPv4 packet from 192.0.2.1 with flags and fragment offset as given.
fn ipv4(proto: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut ip = vec![0x45, 0];
    ip.extend_from_slice(&(20 + payload.len() as u16).to_be_bytes());
    ip.extend_from_slice(&[0, 7]);
    ip.extend_from_slice(&fragment.to_be_bytes());
    ip.extend_from_slice(&[64, proto, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    ip.extend_from_slice(payload);
    ip
}

/// An IPv6 packet from 2001:db8::1.
fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut ip = vec![0x60, 0, 0, 0];
    ip.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    ip.extend_from_slice(&[next, 64]);
    for last in [1, 2] {
        ip.extend_from_slice(&[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    ip.extend_from_slice(payload);
    ip
}

fn ethernet(etype: &[u8], packet: &[u8]) -> Vec<u8> {
    [&[2; 12], etype, packet].concat()
}

/// A pcap, little endian: magic number, link type, packets with the fraction of their second.
fn pcap(magic: u32, link: u32, packets: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [magic, 0x0004_0002, 0, 0, 65_535, link] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    for (fraction, packet) in packets {
        for word in [1_700_000_000, *fraction, packet.len() as u32, packet.len() as u32] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        file.extend_from_slice(packet);
    }
    file
}

fn block(kind: u32, content: &[u8]) -> Vec<u8> {
    let content = [content, &vec![0; content.len().next_multiple_of(4) - content.len()]].concat();
    let length = (content.len() as u32 + 12).to_le_bytes();
    [&kind.to_le_bytes()[..], &length, &content, &length].concat()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A pcapng with one interface whose time stamps have `resolution` (10 to the power of minus that).
fn pcapng(link: u32, resolution: u8, units: u64, packet: &[u8]) -> Vec<u8> {
    let section = block(0x0a0d_0d0a, &words(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]));
    let mut interface = words(&[link, 65_535]);
    interface.extend_from_slice(&[9, 0, 1, 0, resolution, 0, 0, 0, 0, 0, 0, 0]);
    let length = packet.len() as u32;
    let mut enhanced = words(&[0, (units >> 32) as u32, units as u32, length, length]);
    enhanced.extend_from_slice(packet);
    [section, block(1, &interface), block(6, &enhanced)].concat()
}

/// Reads `files` (name, content) as a directory.
fn check(files: &[(&str, Vec<u8>)], expected: Expect) {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(directory.path().join(name), content).unwrap();
    }
    let mut capture = open(directory.path()).unwrap();
    let mut text = String::new();
    for datagram in capture.by_ref() {
        match datagram {
            Ok(Datagram { exporter, port, at_ns, payload }) => {
                let payload = String::from_utf8_lossy(&payload);
                writeln!(text, "{exporter} -> {port} at {at_ns}: {payload:.8}").unwrap();
            }
            Err(error) => {
                let error = error.to_string().replace(&directory.path().display().to_string(), "");
                writeln!(text, "error: {error}").unwrap();
            }
        }
    }
    for (reason, packets) in capture.skipped() {
        writeln!(text, "skipped {packets}: {reason}").unwrap();
    }
    expected.assert_eq(&text);
}

#[test]
fn a_pcap_has_micro_or_nanoseconds_and_either_byte_order() {
    let packet = || vec![(500, ipv4(17, 0, &udp(PAYLOAD)))];
    let mut big_endian = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0002_0004, 0, 0, 65_535, RAW, 1_700_000_000, 500, 32, 32] {
        big_endian.extend_from_slice(&word.to_be_bytes());
    }
    big_endian.extend_from_slice(&ipv4(17, 0, &udp(PAYLOAD)));
    check(
        &[
            ("1.pcap", pcap(0xa1b2_c3d4, RAW, &packet())),
            ("2.pcap", pcap(0xa1b2_3c4d, RAW, &packet())),
            ("3.pcap", big_endian),
        ],
        expect![[r#"
            192.0.2.1 -> 2055 at 1700000000000500000: flow
            192.0.2.1 -> 2055 at 1700000000000000500: flow
            192.0.2.1 -> 2055 at 1700000000000500000: flow
        "#]],
    );
}

#[test]
fn a_pcapng_has_the_time_resolution_of_its_interface() {
    let packet = ethernet(&[0x86, 0xdd], &ipv6(17, &udp(PAYLOAD)));
    check(
        &[
            ("1.pcapng", pcapng(ETHERNET, 6, 1_700_000_000_000_500, &packet)),
            ("2.pcapng", pcapng(ETHERNET, 9, 1_700_000_000_000_000_500, &packet)),
            ("3.pcapng", pcapng(ETHERNET, 3, 1_700_000_000_500, &packet)),
        ],
        expect![[r#"
            2001:db8::1 -> 2055 at 1700000000000500000: flow
            2001:db8::1 -> 2055 at 1700000000000000500: flow
            2001:db8::1 -> 2055 at 1700000000500000000: flow
        "#]],
    );
}

#[test]
fn every_link_type_leads_to_the_datagram() {
    let ip = ipv4(17, 0, &udp(PAYLOAD));
    let links = [
        ("ethernet", ETHERNET, ethernet(&[0x08, 0x00], &ip)),
        ("ipv4", 228, ip.clone()),
        ("loop", 108, [&[0, 0, 0, 2][..], &ip[..]].concat()),
        ("null", 0, [&[2, 0, 0, 0][..], &ip[..]].concat()),
        ("raw", RAW, ip.clone()),
        ("sll", 113, [&[0; 14][..], &[8, 0], &ip[..]].concat()),
        ("sll2", 276, [&[8, 0][..], &[0; 18], &ip[..]].concat()),
        ("vlan", ETHERNET, ethernet(&[0x81, 0x00, 0, 5, 0x08, 0x00], &ip)),
        ("x25", 9, ip.clone()),
    ];
    let files: Vec<_> =
        links.map(|(name, link, packet)| (name, pcap(0xa1b2_c3d4, link, &[(0, packet)]))).into_iter().collect();
    check(
        &files,
        expect![[r#"
            192.0.2.1 -> 2055 at 1700000000000000000: flow
            192.0.2.1 -> 2055 at 1700000000000000000: flow
            192.0.2.1 -> 2055 at 1700000000000000000: flow
            192.0.2.1 -> 2055 at 1700000000000000000: flow
            192.0.2.1 -> 2055 at 1700000000000000000: flow
            192.0.2.1 -> 2055 at 1700000000000000000: flow
            192.0.2.1 -> 2055 at 1700000000000000000: flow
            192.0.2.1 -> 2055 at 1700000000000000000: flow
            skipped 1: link_type
        "#]],
    );
}

#[test]
fn what_is_no_whole_datagram_is_skipped_with_its_reason() {
    let whole = ipv4(17, 0, &udp(PAYLOAD));
    let mut too_long = udp(PAYLOAD);
    too_long[5] = 200;
    let packets = [
        ethernet(&[0x08, 0x06], &[0; 28]),
        ethernet(&[0x08, 0x00], &ipv4(6, 0, &[0; 20])),
        ethernet(&[0x08, 0x00], &ipv4(17, 0x2000, &udp(PAYLOAD))),
        ethernet(&[0x08, 0x00], &ipv4(17, 0x0010, PAYLOAD)),
        ethernet(&[0x86, 0xdd], &ipv6(44, &[&[17, 0, 0, 1, 0, 0, 0, 1][..], &udp(PAYLOAD)[..]].concat())),
        ethernet(&[0x08, 0x00], &whole[..30]),
        ethernet(&[0x08, 0x00], &whole[..22]),
        ethernet(&[0x08, 0x00], &ipv4(17, 0, &too_long)),
        ethernet(&[0x08, 0x00], &ipv4(17, 0, &udp(b""))),
        ethernet(&[0x08, 0x00], &whole),
    ];
    check(
        &[("skip.pcap", pcap(0xa1b2_c3d4, ETHERNET, &packets.map(|packet| (0, packet))))],
        expect![[r#"
            192.0.2.1 -> 2055 at 1700000000000000000: flow
            skipped 1: not_ip
            skipped 1: not_udp
            skipped 3: fragment
            skipped 2: cut_short
            skipped 1: malformed
            skipped 1: empty
        "#]],
    );
}

#[test]
fn a_directory_is_read_by_name_and_a_bad_file_does_not_end_it() {
    let mut cut = pcap(0xa1b2_c3d4, RAW, &[(0, ipv4(17, 0, &udp(PAYLOAD))), (0, ipv4(17, 0, &udp(PAYLOAD)))]);
    cut.truncate(cut.len() - 5);
    let mut absurd = pcap(0xa1b2_c3d4, RAW, &[]);
    absurd.extend_from_slice(&words(&[0, 0, u32::MAX, u32::MAX, 0]));
    check(
        &[
            ("b.bin", b"second".to_vec()),
            ("a.bin", b"first".to_vec()),
            ("c.pcap", cut),
            ("d.pcap", absurd),
            ("e.pcap", 0xa1b2_c3d4_u32.to_le_bytes().to_vec()),
            ("f.bin", vec![0; 70_000]),
            ("g.bin", Vec::new()),
            ("h.bin", b"last".to_vec()),
            (".hidden", b"hidden".to_vec()),
        ],
        expect![[r#"
            127.0.0.1 -> 0 at 0: first
            127.0.0.1 -> 0 at 0: second
            192.0.2.1 -> 2055 at 1700000000000000000: flow
            error: /c.pcap: the capture ends within a packet, at byte 72
            error: /d.pcap: the capture is malformed at byte 24
            error: /e.pcap: the capture is malformed at byte 0
            error: /f.bin: neither a capture (pcap, pcapng) nor a datagram: 70000 bytes
            127.0.0.1 -> 0 at 0: last
            skipped 1: empty
        "#]],
    );
}

#[test]
fn a_file_that_is_not_there_is_an_error_at_once() {
    assert!(matches!(open(Path::new("/nowhere/at.all")), Err(CaptureError::Io { .. })));
}

#[test]
fn random_bytes_after_the_magic_number_neither_panic_nor_hang() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("random.pcap");
    let mut state = 7_u32;
    for magic in [0xa1b2_c3d4_u32, 0xa1b2_3c4d, 0xa1b2_cd34, 0x0a0d_0d0a] {
        for round in 0..200 {
            let mut file = pcapng(ETHERNET, 6, 0, &ethernet(&[8, 0], &ipv4(17, 0, &udp(PAYLOAD))));
            if magic != 0x0a0d_0d0a {
                file = pcap(magic, ETHERNET, &[(0, ethernet(&[8, 0], &ipv4(17, 0, &udp(PAYLOAD))))]);
            }
            for _ in 0..=round % 5 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = 4 + (state >> 8) as usize % (file.len() - 4);
                file[at] = state as u8;
            }
            fs::write(&path, &file).unwrap();
            assert!(open(&path).unwrap().count() <= 3);
        }
    }
}

#[test]
#[cfg_attr(not(captures), ignore = "needs the captures: set SLUICE_CAPTURES")]
fn captures_of_real_exporters_have_the_records_that_were_exported() {
    use sluice_flow::{BatchBuilder, ColumnSet, Pool, Schema};

    let directory = sluice_testkit::captures().unwrap().join("exporters");
    let mut text = String::new();
    for name in ["pmacct-nfprobe-v5", "pmacct-nfprobe-v9", "pmacct-nfprobe-v10", "softflowd-v5", "softflowd-ipfix"] {
        let schema = Arc::new(Schema::standard());
        let mut decoder =
            sluice_wire::Decoder::new(Arc::clone(&schema), ColumnSet::ALL, sluice_wire::Limits::default());
        let mut rows = BatchBuilder::new(schema, ColumnSet::ALL, Pool::default());
        let mut capture = open(&directory.join(name).with_extension("pcap")).unwrap();
        for datagram in capture.by_ref() {
            let Datagram { exporter, at_ns, payload, port } = datagram.unwrap();
            assert!(at_ns > 1_600_000_000_000_000_000 && port > 0 && exporter.is_ipv4());
            assert_eq!(decoder.decode(exporter, at_ns, &payload, &mut rows).error, None);
        }
        assert_eq!(capture.skipped().count(), 0);
        writeln!(text, "{name}: {}", rows.rows()).unwrap();
    }
    expect![[r#"
        pmacct-nfprobe-v5: 55
        pmacct-nfprobe-v9: 68
        pmacct-nfprobe-v10: 68
        softflowd-v5: 55
        softflowd-ipfix: 68
    "#]]
    .assert_eq(&text);
}
