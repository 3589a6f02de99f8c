//! Addresses as two 64-bit halves, the form in which they live in columns.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Halves (high, low) of an address: IPv4 as the IPv4-mapped IPv6 address `::ffff:a.b.c.d`
/// (RFC 4291, section 2.5.5.2).
#[must_use]
pub fn halves_of(addr: IpAddr) -> (u64, u64) {
    let bits = match addr {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    ((bits >> 64) as u64, bits as u64)
}

/// The address of two halves, or `None` for `::`, which stands for "absent".
#[must_use]
pub fn addr_of(hi: u64, lo: u64) -> Option<IpAddr> {
    if hi == 0 && lo == 0 {
        return None;
    }
    if hi == 0 && lo >> 32 == 0xffff {
        return Some(IpAddr::V4(Ipv4Addr::from_bits(lo as u32)));
    }
    Some(IpAddr::V6(Ipv6Addr::from_bits((u128::from(hi) << 64) | u128::from(lo))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_its_halves() {
        for text in ["192.0.2.1", "2001:db8::1", "0.0.0.0", "::1"] {
            let addr: IpAddr = text.parse().unwrap();
            let (hi, lo) = halves_of(addr);
            assert_eq!(addr_of(hi, lo), Some(addr), "{text}");
        }
        assert_eq!(addr_of(0, 0), None);
    }
}
