//! Headers of a message, which say why its rows are dead letters; as bytes, so that they can wait on disk.

use rdkafka::message::{Header, OwnedHeaders};
use sluice_flow::DeadLetter;

/// The headers of rows that a stage could not process.
pub(crate) fn of_dead_letter(why: &DeadLetter) -> Vec<u8> {
    let backtrace = why.backtrace.join("\n");
    let headers = [
        ("sluice-stage", &*why.stage),
        ("sluice-reason", why.reason),
        ("sluice-error", &why.error),
        ("sluice-backtrace", &backtrace),
        ("sluice-plugin", &why.plugin),
        ("sluice-version", &why.version),
        ("sluice-digest", &why.digest),
    ];
    let mut bytes = Vec::new();
    for (name, value) in headers.into_iter().filter(|(_, value)| !value.is_empty()) {
        for text in [name, value] {
            bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes
}

/// What [`of_dead_letter`] wrote, name by name, up to where it is damaged.
fn each(mut left: &[u8]) -> impl Iterator<Item = (&str, &[u8])> {
    let mut next = move || {
        let (length, rest) = left.split_first_chunk()?;
        let (bytes, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        left = rest;
        Some(bytes)
    };
    std::iter::from_fn(move || Some((std::str::from_utf8(next()?).ok()?, next()?)))
}

/// The headers as librdkafka takes them; none if there are none.
pub(crate) fn for_message(bytes: &[u8]) -> Option<OwnedHeaders> {
    if bytes.is_empty() {
        return None;
    }
    let add = |headers: OwnedHeaders, (key, value)| headers.insert(Header { key, value: Some(value) });
    Some(each(bytes).fold(OwnedHeaders::new(), add))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_as_they_were_and_damage_ends_them() {
        let why = DeadLetter {
            stage: "tag".into(),
            reason: "trap",
            error: "unreachable".to_owned(),
            backtrace: vec!["tag::rate".to_owned(), "tag::process".to_owned()],
            plugin: "tag".to_owned(),
            version: "1.0.0".to_owned(),
            digest: "00ff".to_owned(),
        };
        let bytes = of_dead_letter(&why);
        let read: Vec<String> =
            each(&bytes).map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value))).collect();
        expect_test::expect![[r#"
            [
                "sluice-stage=tag",
                "sluice-reason=trap",
                "sluice-error=unreachable",
                "sluice-backtrace=tag::rate\ntag::process",
                "sluice-plugin=tag",
                "sluice-version=1.0.0",
                "sluice-digest=00ff",
            ]
        "#]]
        .assert_debug_eq(&read);
        assert_eq!(each(&of_dead_letter(&DeadLetter { backtrace: Vec::new(), ..why })).count(), 6);
        for length in 0..bytes.len() {
            assert!(each(&bytes[..length]).count() < 7);
        }
        assert!(for_message(&[]).is_none());
    }
}
