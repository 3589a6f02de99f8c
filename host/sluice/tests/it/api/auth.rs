//! Who may use the API.

use std::fs;

use serde_json::{Value, json};

use super::{Collector, KEY, OPERATOR, Signing, TENANT, ask, bearer, now, tokens, write_private};
use crate::tool::get;

#[test]
fn without_tokens_there_is_no_api_and_the_answer_says_how_to_get_one() {
    let config = super::CONFIG.replace("tokens = \"tokens.toml\"", "");
    let collector = Collector::with(&config);
    for path in ["/v1/pipeline", "/v1/whoami", "/v1/openapi.json", "/v1/nowhere", "/"] {
        let answer = collector.ask("GET", path, &bearer(OPERATOR));
        assert_eq!(answer.status, 404, "{path}");
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert!(body["error"].as_str().unwrap().contains("`[admin]` `tokens = \"tokens.toml\"`"), "{body}");
    }
    assert!(get(collector.admin, "/metrics").starts_with("HTTP/1.1 200"));
    assert!(get(collector.admin, "/healthz").ends_with("ok\n"));
    collector.stop();
}

#[test]
fn a_token_is_taken_and_whatever_else_is_sent_gets_one_and_the_same_answer() {
    let collector = Collector::start();
    assert_eq!(collector.get("/v1/whoami"), json!({ "name": "boss", "role": "operator", "tenant": null }));
    let wrong = [
        String::new(),
        bearer("sluice_for-operator"),
        bearer(""),
        "Authorization: Bearer\r\n".to_owned(),
        "Authorization: Basic Ym9zczpib3Nz\r\n".to_owned(),
        "Authorization: SLUICE-HMAC-SHA256\r\n".to_owned(),
        "Authorization: SLUICE-HMAC-SHA256 key=signer\r\n".to_owned(),
        format!("Authorization: SLUICE-HMAC-SHA256 {}\r\n", "key=signer, ".repeat(50)),
        // Two headers: a proxy and the collector could each believe another one.
        bearer(OPERATOR) + &bearer("x"),
        bearer(&"x".repeat(5000)),
    ];
    let answers: Vec<_> = wrong.iter().map(|headers| collector.ask("GET", "/v1/pipeline", headers)).collect();
    for (answer, headers) in answers.iter().zip(&wrong) {
        assert_eq!((answer.status, &answer.body), (401, &answers[0].body), "{headers}");
        assert!(answer.head.to_lowercase().contains("www-authenticate: bearer, sluice-hmac-sha256"), "{}", answer.head);
    }
    let metrics = get(collector.admin, "/metrics");
    let counted = format!("sluice_admin_refused_total{{reason=\"unauthenticated\"}} {}\n", wrong.len());
    assert!(metrics.contains(&counted), "{metrics}");
    collector.stop();
}

#[test]
fn a_signed_request_is_taken_once_within_a_minute_of_its_time() {
    let collector = Collector::start();
    let good = Signing {
        key_name: "signer",
        key: &KEY,
        method: "GET",
        target: "/v1/templates?limit=5",
        body: b"",
        timestamp: now(),
        nonce: "00112233445566778899aabbccddeeff",
    };
    let status = |signing: &Signing<'_>, path: &str| collector.ask("GET", path, &signing.header()).status;
    assert_eq!(status(&good, good.target), 200);
    assert_eq!(status(&good, good.target), 401, "replayed");
    let new = |nonce| Signing { nonce, ..good.clone() };
    assert_eq!(status(&new("0000000000000001"), good.target), 200);
    assert_eq!(status(&Signing { timestamp: now() - 70, ..new("0000000000000002") }, good.target), 401, "too old");
    assert_eq!(
        status(&Signing { timestamp: now() + 70, ..new("0000000000000003") }, good.target),
        401,
        "of the future"
    );
    assert_eq!(status(&Signing { key: &[7; 32], ..new("0000000000000004") }, good.target), 401, "another key");
    assert_eq!(status(&Signing { key_name: "boss", ..new("0000000000000005") }, good.target), 401, "not a key");
    assert_eq!(status(&Signing { key_name: "nobody", ..new("0000000000000006") }, good.target), 401, "unknown");
    assert_eq!(status(&new("0000000000000007"), "/v1/templates?limit=6"), 401, "signed for another query");
    assert_eq!(status(&new("0000000000000008"), "/v1/exporters?limit=5"), 401, "signed for another path");
    assert_eq!(status(&Signing { method: "POST", ..new("0000000000000009") }, good.target), 401, "another method");
    assert_eq!(status(&new("0123456789abcde"), good.target), 401, "nonce too short");
    assert_eq!(status(&new("not-hexadecimal-"), good.target), 401, "nonce not hexadecimal");
    // A nonce that was refused with its request is not used up.
    assert_eq!(status(&new("0000000000000004"), good.target), 200);

    let signing = Signing { method: "POST", target: "/v1/reload", body: b"hello", ..new("00000000000000aa") };
    let other = ask(collector.admin, "POST", "/v1/reload", &signing.header(), b"hellO");
    assert_eq!(other.status, 401, "another body");
    let same = ask(collector.admin, "POST", "/v1/reload", &signing.header(), b"hello");
    assert_eq!(same.status, 200);
    collector.stop();
}

#[test]
fn a_tenant_sees_who_it_is_and_nothing_that_is_the_operators() {
    let collector = Collector::start();
    let document = collector.get("/v1/openapi.json");
    let mut refused = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let answer = collector.ask(&method.to_uppercase(), &path.replace(['{', '}'], ""), &bearer(TENANT));
            if operation["responses"].get("403").is_some() {
                let body: Value = serde_json::from_slice(&answer.body).unwrap();
                assert_eq!((answer.status, body), (403, json!({ "error": "for operators only" })), "{path}");
                refused += 1;
            } else if path.starts_with("/v1/tenants/") || path.starts_with("/v1/tail/") {
                assert_eq!(answer.status, 404, "{path}: of others, there is nothing");
            } else {
                assert_eq!(answer.status, 200, "{path}");
            }
        }
    }
    assert!(refused > 8, "{refused}");
    let whoami = collector.ask("GET", "/v1/whoami", &bearer(TENANT));
    let whoami: Value = serde_json::from_slice(&whoami.body).unwrap();
    assert_eq!(whoami, json!({ "name": "acme-1", "role": "tenant", "tenant": "acme" }));
    let counted = format!("sluice_admin_refused_total{{reason=\"forbidden\"}} {refused}\n");
    assert!(get(collector.admin, "/metrics").contains(&counted));
    collector.stop();
}

#[test]
fn tokens_are_read_again_when_asked_and_a_mistake_leaves_them_in_force() {
    let mut collector = Collector::start();
    let file = collector.folder.path().join("tokens.toml");
    write_private(&file, &tokens().replace("acme-1", "acme-2").replace("\"acme\"", "\"acme gmbh\""));
    collector.run.signal("HUP");
    collector.run.wait_for("tokens read again");
    let whoami = collector.ask("GET", "/v1/whoami", &bearer(TENANT));
    let whoami: Value = serde_json::from_slice(&whoami.body).unwrap();
    assert_eq!(whoami, json!({ "name": "acme-2", "role": "tenant", "tenant": "acme gmbh" }));

    fs::write(&file, "[tokens.boss]\nrole = \"owner\"\n").unwrap();
    assert_eq!(collector.call("POST", "/v1/reload").0, 200);
    let said = collector.run.wait_for("tokens not read again");
    assert!(
        said["error"].as_str().unwrap().contains("tokens.toml:2:8: tokens.boss.role: unknown value `owner`"),
        "{said}"
    );
    assert_eq!(collector.ask("GET", "/v1/whoami", &bearer(OPERATOR)).status, 200);

    // A token that is taken out of the file is refused from then on.
    write_private(&file, tokens().split("[tokens.acme-1]").next().unwrap());
    assert_eq!(collector.call("POST", "/v1/reload").0, 200);
    collector.run.wait_for("tokens read again");
    assert_eq!(collector.ask("GET", "/v1/whoami", &bearer(TENANT)).status, 401);
    collector.stop();
}
