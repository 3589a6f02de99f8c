//! Numbers, addresses, times and names as text, appended to a byte buffer.

use std::io::Write;
use std::net::IpAddr;

/// Names of IP protocols (IANA "Protocol Numbers"); the first five are spelled as goflow2 spells them.
const PROTOCOLS: &[(u8, &str)] = &[
    (1, "ICMP"),
    (6, "TCP"),
    (17, "UDP"),
    (58, "ICMPv6"),
    (132, "SCTP"),
    (2, "IGMP"),
    (4, "IPIP"),
    (41, "IPv6"),
    (46, "RSVP"),
    (47, "GRE"),
    (50, "ESP"),
    (51, "AH"),
    (88, "EIGRP"),
    (89, "OSPF"),
    (103, "PIM"),
    (112, "VRRP"),
    (115, "L2TP"),
    (136, "UDPLite"),
];

/// Appends a number in decimal.
pub(crate) fn number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends what `Display` gives.
pub(crate) fn display(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("writing to memory");
}

/// Appends an address; IPv4 by hand, because it is in every line several times.
pub(crate) fn addr(out: &mut Vec<u8>, addr: IpAddr) {
    match addr {
        IpAddr::V4(v4) => {
            for (position, octet) in v4.octets().into_iter().enumerate() {
                if position > 0 {
                    out.push(b'.');
                }
                number(out, u64::from(octet));
            }
        }
        IpAddr::V6(v6) => display(out, v6),
    }
}

/// Appends address and port, IPv6 in brackets (RFC 5952, section 6).
pub(crate) fn socket(out: &mut Vec<u8>, address: Option<IpAddr>, port: u64) {
    match address {
        Some(v6 @ IpAddr::V6(_)) => {
            out.push(b'[');
            addr(out, v6);
            out.push(b']');
        }
        Some(v4) => addr(out, v4),
        None => out.push(b'-'),
    }
    out.push(b':');
    number(out, port);
}

/// Appends a MAC address whose first octet is the most significant of the lower 48 bits.
pub(crate) fn mac(out: &mut Vec<u8>, value: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (position, octet) in value.to_be_bytes().into_iter().skip(2).enumerate() {
        if position > 0 {
            out.push(b':');
        }
        out.extend([DIGITS[usize::from(octet >> 4)], DIGITS[usize::from(octet & 15)]]);
    }
}

/// Name of an IP protocol, or `None` where its number says more.
pub(crate) fn protocol(proto: u64) -> Option<&'static str> {
    PROTOCOLS.iter().find(|(number, _)| u64::from(*number) == proto).map(|(_, name)| *name)
}

/// Number of the IP protocol that [`protocol`] calls so, in upper or lower case.
pub(crate) fn number_of_protocol(name: &str) -> Option<u64> {
    PROTOCOLS.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(number, _)| u64::from(*number))
}

/// Names of ethertypes as goflow2 writes them.
const ETHERTYPES: &[(u64, &str)] = &[(0x0800, "IPv4"), (0x86dd, "IPv6"), (0x0806, "ARP")];

/// Name of an ethertype as goflow2 writes it.
pub(crate) fn ethertype(etype: u64) -> Option<&'static str> {
    ETHERTYPES.iter().find(|(number, _)| *number == etype).map(|(_, name)| *name)
}

/// Number of the ethertype that goflow2 calls so, in upper or lower case.
pub(crate) fn number_of_ethertype(name: &str) -> Option<u64> {
    ETHERTYPES.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(number, _)| *number)
}

/// Appends text for a terminal: control characters, which could move the cursor or worse, are
/// written as escapes. Names and notes come from exporters and plugins.
pub(crate) fn shown(out: &mut Vec<u8>, text: &str) {
    for character in text.chars() {
        if character.is_control() {
            display(out, character.escape_default());
        } else {
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

/// Appends the time of day, `HH:MM:SS`, in UTC.
pub(crate) fn time_of_day(out: &mut Vec<u8>, ns: u64) {
    let second = ns / 1_000_000_000 % 86_400;
    write!(out, "{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60).expect("writing to memory");
}

/// Appends date and time in UTC with milliseconds (RFC 3339).
pub(crate) fn date_time(out: &mut Vec<u8>, ms: u64) {
    let (year, month, day) = civil(ms / 86_400_000);
    let second = ms / 1000 % 86_400;
    let (hour, minute) = (second / 3600, second / 60 % 60);
    write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{:03}Z", second % 60, ms % 1000)
        .expect("writing to memory");
}

/// Year, month and day of a number of days since 1970-01-01 (the era arithmetic of H. Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", for days that are not negative).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// Appends a rate with a decimal prefix, e.g. `1.2 Mbps`.
pub(crate) fn rate(out: &mut Vec<u8>, per_second: f64, unit: &str) {
    let mut value = per_second;
    let mut prefix = "";
    for larger in ["k", "M", "G", "T", "P"] {
        if value < 999.95 {
            break;
        }
        value /= 1000.0;
        prefix = larger;
    }
    let digits = usize::from(value < 99.95 && value.fract() != 0.0);
    write!(out, "{value:.digits$} {prefix}{unit}").expect("writing to memory");
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(write: impl Fn(&mut Vec<u8>), expected: Expect) {
        let mut out = Vec::new();
        write(&mut out);
        expected.assert_eq(&String::from_utf8(out).unwrap());
    }

    #[test]
    fn times_are_utc_and_leap_years_are_known() {
        check(|out| date_time(out, 0), expect!["1970-01-01T00:00:00.000Z"]);
        check(|out| date_time(out, 951_782_400_000), expect!["2000-02-29T00:00:00.000Z"]);
        check(|out| date_time(out, 1_795_259_158_042), expect!["2026-11-21T11:05:58.042Z"]);
        check(|out| date_time(out, u64::MAX), expect!["584556019-04-03T14:25:51.615Z"]);
        check(|out| time_of_day(out, 1_795_259_158_042_000_000), expect!["11:05:58"]);
    }

    #[test]
    fn rates_are_rounded_to_a_readable_number() {
        let all = |out: &mut Vec<u8>| {
            for value in [0.0, 0.25, 8.0, 999.0, 1200.0, 99_940.0, 123_456_789.0, 999_960.0, 2.5e18] {
                rate(out, value, "bps");
                out.push(b'|');
            }
        };
        check(all, expect!["0 bps|0.2 bps|8 bps|999 bps|1.2 kbps|99.9 kbps|123 Mbps|1.0 Mbps|2500 Pbps|"]);
    }

    #[test]
    fn control_characters_never_reach_a_terminal() {
        check(|out| shown(out, "a\x1b[2Jb\u{9b}ü"), expect![[r"a\u{1b}[2Jb\u{9b}ü"]]);
    }

    #[test]
    fn addresses_are_written_as_the_standard_library_does() {
        for text in ["0.0.0.0", "192.0.2.255", "2001:db8::1"] {
            let mut out = Vec::new();
            addr(&mut out, text.parse().unwrap());
            assert_eq!(out, text.as_bytes());
        }
        check(|out| mac(out, 0x0200_5e00_53ff), expect!["02:00:5e:00:53:ff"]);
        check(|out| socket(out, "2001:db8::1".parse().ok(), 443), expect!["[2001:db8::1]:443"]);
    }
}
