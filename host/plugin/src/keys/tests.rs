use std::io::Write;
use std::net::IpAddr;

use sluice_flow::{addr_of, halves_of};

use super::*;

const HEX: &str = "1522178d33a4cf80130a5b1649907d10d8988f837979652762574c2d2a842202";

fn key(text: &str) -> Result<Key, KeyError> {
    Key::load(&KeySpec::Literal { text: Zeroizing::new(text.to_owned()) })
}

fn replaced(addr: &str, how: impl Fn(u64, u64) -> (u64, u64)) -> String {
    let (hi, lo) = halves_of(addr.parse().unwrap());
    let (hi, lo) = how(hi, lo);
    addr_of(hi, lo).map_or("absent".to_owned(), |addr| addr.to_string())
}

#[test]
fn hexadecimal_base64_and_a_file_are_the_same_key() {
    let hex = HEX.to_owned();
    let base64 = "base64:FSIXjTOkz4ATClsWSZB9ENiYj4N5eWUnYldMLSqEIgI=";
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&(0..64).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect::<Vec<_>>())
        .unwrap();
    file.write_all(b"\n").unwrap();
    let of_file = Key::load(&KeySpec::File { path: file.path().to_owned() }).unwrap();
    for key in [key(&hex).unwrap(), key(base64).unwrap(), of_file] {
        assert_eq!(replaced("128.11.68.132", |hi, lo| key.prefix_preserving(hi, lo)), "135.242.180.132");
    }
}

#[test]
fn a_short_key_is_refused_and_no_message_shows_a_key() {
    assert_eq!(
        key("secret").unwrap_err().to_string(),
        "a key needs 32 bytes or more (e.g. `openssl rand -hex 32`), this one has 6"
    );
    let text = "a key that is long enough to be one";
    let spec = KeySpec::Literal { text: Zeroizing::new(text.to_owned()) };
    let keys = Keys::load([("k".to_owned(), spec.clone())]).unwrap();
    assert_eq!(format!("{spec:?} {keys:?}"), "Literal(..) Keys { entries: {\"k\": Key(..)} }");
    assert!(matches!(key("base64:!").unwrap_err(), KeyError::NotBase64));
}

#[test]
fn replaced_addresses_keep_their_family_and_absent_ones_stay_absent() {
    let key = Arc::new(key("a key that is long enough to be one").unwrap());
    for how in [Replace::PrefixPreserving, Replace::KeyedHash] {
        let addrs =
            ["192.0.2.1", "2001:db8::1", "::", "192.0.2.1", "0.0.0.0"].map(|addr| addr.parse::<IpAddr>().unwrap());
        let (mut hi, mut lo): (Vec<u64>, Vec<u64>) = addrs.iter().map(|addr| halves_of(*addr)).unzip();
        OpenKey::new(Arc::clone(&key)).replace(how, &mut hi, &mut lo);
        let found: Vec<_> = hi.iter().zip(&lo).map(|(hi, lo)| addr_of(*hi, *lo)).collect();
        assert!(found[0].unwrap().is_ipv4() && found[0] != Some(addrs[0]), "{how:?}");
        assert!(found[1].unwrap().is_ipv6() && found[1] != Some(addrs[1]), "{how:?}");
        assert_eq!(found[2], None);
        assert_eq!(found[3], found[0]);
        assert!(found[4].unwrap().is_ipv4());
    }
}

#[test]
fn the_cache_answers_what_the_key_answers() {
    let key = Arc::new(key("a key that is long enough to be one").unwrap());
    let mut open = OpenKey::new(Arc::clone(&key));
    // More addresses than places, twice.
    for _ in 0..2 {
        let mut hi: Vec<u64> = (0..CACHE as u64 + 100).map(|at| at << 40).collect();
        let mut lo: Vec<u64> = hi.iter().rev().copied().collect();
        let expected: Vec<_> = hi.iter().zip(&lo).map(|(hi, lo)| key.keyed_hash(*hi, *lo)).collect();
        open.replace(Replace::KeyedHash, &mut hi, &mut lo);
        assert_eq!(hi.into_iter().zip(lo).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn the_function_is_hmac_sha_256_cut_to_64_bits() {
    // RFC 4231, test case 1, has the key 20 times 0x0b; a key of 32 bytes is needed here, so the value
    // below was computed with `openssl dgst -sha256 -mac HMAC` over 15 zero bytes and a one.
    let key = key(&"0b".repeat(32)).unwrap();
    assert_eq!(format!("{:016x}", key.prf(0, 1)), "5d116b92201ec7c1");
}
