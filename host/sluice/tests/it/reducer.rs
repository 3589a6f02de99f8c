//! The reducer as it is built in: what its component does to addresses, whose loops run in the host.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;

use crate::tool::sluice;

/// Addresses of both families and rows without one, mixed and in runs longer than what is worked on at a time.
fn addresses() -> Vec<Option<IpAddr>> {
    let mut number = 7_u32;
    let mut all = Vec::new();
    for run in 0..60 {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let address = match number >> 29 {
            0 => None,
            1 | 2 => Some(IpAddr::from([0x2001, 0x0db8, (number >> 8) as u16, number as u16, 1, 2, 3, number as u16])),
            _ => Some(IpAddr::from(number.to_be_bytes())),
        };
        all.extend(vec![address; if run % 7 == 0 { 19 } else { 1 }]);
    }
    all
}

/// The leading bits of an address, row by row.
fn truncated(address: IpAddr, v4_bits: u32, v6_bits: u32) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::from((v4.to_bits() & u32::MAX.checked_shl(32 - v4_bits).unwrap_or(0)).to_be_bytes()),
        IpAddr::V6(v6) => {
            IpAddr::from((v6.to_bits() & u128::MAX.checked_shl(128 - v6_bits).unwrap_or(0)).to_be_bytes())
        }
    }
}

/// A case with one source address a row, and what is left of it. Rows come with the record of an earlier reducer if there is one.
fn case(name: &str, config: &str, before: Option<(u8, u8)>, after: impl Fn(IpAddr) -> (IpAddr, u8, u8)) -> String {
    let (mut rows, mut expected) = (String::new(), String::new());
    for address in addresses() {
        let record = match before {
            Some((anon, preserved)) => format!(", src_addr_anon = {anon}, src_addr_preserved = {preserved}"),
            None => String::new(),
        };
        match address {
            Some(address) => {
                writeln!(rows, "  {{ bytes = 1, src_addr = \"{address}\"{record} }},").unwrap();
                let (left, anon, preserved) = after(address);
                let record = format!("src_addr_anon = {anon}, src_addr_preserved = {preserved}");
                writeln!(expected, "  {{ src_addr = \"{left}\", {record} }},").unwrap();
            }
            None => {
                writeln!(rows, "  {{ bytes = 1 }},").unwrap();
                writeln!(expected, "  {{ src_addr = \"::\", src_addr_anon = 0, src_addr_preserved = 0 }},").unwrap();
            }
        }
    }
    format!(
        "[[case]]\nname = \"{name}\"\nconfig = {config}\nrows = [\n{rows}]\n[case.expect]\nrows = [\n{expected}]\n\n"
    )
}

#[test]
fn the_component_leaves_of_each_address_what_a_loop_over_the_rows_would() {
    let length = |address: IpAddr, v4: u8, v6: u8| if address.is_ipv4() { v4 } else { v6 };
    let truncates =
        |v4: u8, v6: u8| move |address| (truncated(address, v4.into(), v6.into()), 2, length(address, v4, v6));
    let config =
        |v4: u8, v6: u8| format!("{{ mode = \"truncate\", fields = [\"src_addr\"], mask_v4 = {v4}, mask_v6 = {v6} }}");
    let cases = [
        case("both families", &config(24, 48), None, truncates(24, 48)),
        case("beyond the high half", &config(8, 100), None, truncates(8, 100)),
        case("one family", &config(32, 32), None, truncates(32, 32)),
        case("every bit", &config(32, 128), None, truncates(32, 128)),
        case("after Crypto-PAn", &config(16, 48), Some((1, 0)), |address| {
            (truncated(address, 16, 48), 3, length(address, 16, 48))
        }),
    ];
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("tests")).unwrap();
    fs::write(folder.path().join("tests/reducer.toml"), cases.concat()).unwrap();
    let output =
        sluice().current_dir(folder.path()).args(["--log=error", "plugin", "test", "reducer"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for name in ["both families", "beyond the high half", "one family", "every bit", "after Crypto-PAn"] {
        assert!(said.contains(name), "{said}");
    }
}
