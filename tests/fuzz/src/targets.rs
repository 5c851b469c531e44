//! The targets, each with the laws that hold whatever it is given.

use std::sync::LazyLock;

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;
use valet_client::{Task, Transcript};
use valet_server::{
    config::{Config, Environment},
    http::fuzzing as http,
    jwt::{self, KeySet},
    relay::fuzzing as relay,
    token::fuzzing as token_stage,
};

/// A refusal has a few lines, however much it refuses.
const LONGEST_REFUSAL: usize = 1000;
/// A secret that no text may repeat.
const CANARY: &str = "sk-canary-0123456789";

/// A configuration file.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let environment: Environment = [("KEY", CANARY)].into_iter().collect();
    match Config::read(text, &environment) {
        Ok(config) => {
            assert!(!config.apps.is_empty() && !config.upstreams.is_empty());
            assert!(!config.issuer().ends_with('/'));
            assert!(!format!("{config:?}").contains(CANARY));
        }
        Err(invalid) => {
            assert!(!invalid.0.is_empty());
            assert!(!invalid.to_string().contains(CANARY));
        }
    }
}

/// The body of a token request; its first byte says as what it is read.
pub fn body(data: &[u8]) {
    let Some((kind, body)) = data.split_first() else { return };
    let refused = match kind {
        b'j' => http::fields("application/json", body),
        b'f' => http::fields("application/x-www-form-urlencoded", body),
        _ => http::parameters(body),
    };
    if let Err(refused) = refused {
        assert!(refused.len() < LONGEST_REFUSAL, "{refused}");
        assert!(!refused.chars().any(char::is_control), "{refused:?}");
    }
}

/// An `Authorization` header.
pub fn authorization(data: &[u8]) {
    for refused in [http::authorization(data), http::client(data)].into_iter().filter_map(Result::err) {
        assert!(refused.len() < LONGEST_REFUSAL, "{refused}");
    }
}

/// A token: none is signed by a key that nobody has.
pub fn token(data: &[u8]) {
    // The public key of RFC 8037, appendix A.2, and the one of RFC 7517, appendix A.1.
    static KEYS: LazyLock<KeySet> = LazyLock::new(|| {
        let keys = br#"{"keys":[
            {"kty":"OKP","crv":"Ed25519","kid":"ed","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
            {"kty":"EC","crv":"P-256","kid":"ec","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
             "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#;
        KeySet::parse(keys).expect("these are keys")
    });
    let Ok(text) = std::str::from_utf8(data) else { return };
    assert!(KEYS.verify(text).is_err(), "signed by nobody: {text}");
    if let Ok(jwt::Unverified { claims, .. }) = jwt::unverified(text) {
        assert!(text.len() <= jwt::LONGEST);
        let _ = (claims.text("iss"), claims.time("exp"), claims.audiences());
    }
}

/// A page of keys.
pub fn jwks(data: &[u8]) {
    match KeySet::parse(data) {
        Ok(keys) => {
            for algorithm in jwt::ALGORITHMS {
                let header = BASE64URL_NOPAD.encode(format!("{{\"alg\":\"{algorithm}\"}}").as_bytes());
                let token = format!("{header}.e30.{}", "A".repeat(86));
                assert!(keys.verify(&token).is_err(), "signed by nobody: {token}");
            }
            assert!(KeySet::published(data).is_ok(), "what is good by itself is good when published");
        }
        Err(problem) => assert!(problem.len() < LONGEST_REFUSAL, "{problem}"),
    }
}

/// The upstream's answer to a mint; the first byte is a hundredth of its status.
pub fn mint(data: &[u8]) {
    let Some((status, body)) = data.split_first() else { return };
    match token_stage::mint(u16::from(status % 10) * 100, body) {
        Ok(token) => assert!(token.starts_with("st-") && token.bytes().all(|byte| byte.is_ascii_graphic())),
        Err(code) => {
            assert!(
                code.is_none_or(|code| code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_graphic()))
            );
        }
    }
}

/// The body of a submit at the relay: what goes upstream of it says nothing else, and names public hosts alone.
pub fn submit(data: &[u8]) {
    match relay::submit(data) {
        Ok((body, hosts)) => {
            let again = relay::submit(body.to_string().as_bytes());
            assert_eq!(again, Ok((body.clone(), hosts.clone())), "what is built is what was read");
            let urls = body["input"]["file_urls"].as_array().expect("its recordings");
            assert_eq!((urls.len(), body.as_object().map(serde_json::Map::len)), (hosts.len(), Some(3)));
            for (url, host) in urls.iter().zip(&hosts) {
                let url = url.as_str().expect("a URL").to_ascii_lowercase();
                let behind = url.split_once("://").expect("a scheme").1;
                assert!(behind.starts_with(host.as_str()), "{url} is of {host}");
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
                assert!(host.contains('.') && host.bytes().all(plain), "{host}");
                assert!(host.parse::<std::net::IpAddr>().is_err(), "{host}");
            }
        }
        Err(refused) => {
            assert!(refused.len() < LONGEST_REFUSAL, "{refused}");
            assert!(!refused.chars().any(char::is_control), "{refused:?}");
        }
    }
}

/// What the upstream says of a task, as the relay tells it: no place of a result is in it.
pub fn told(data: &[u8]) {
    fn places(document: &Value, found: &mut Vec<Value>) {
        match document {
            Value::Object(fields) => {
                found.extend(fields.get("transcription_url").cloned());
                fields.values().for_each(|value| places(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| places(item, found)),
            _ => {}
        }
    }
    let Ok(document) = serde_json::from_slice::<Value>(data) else { return };
    let mut found = Vec::new();
    places(&relay::told(document, "sealed"), &mut found);
    assert!(found.iter().all(|place| place.is_null() || place == "sealed"), "{found:?}");
}

/// Tasks and transcripts as the upstream tells them to the client: what was read is written again.
pub fn documents(data: &[u8]) {
    if let Ok(transcript) = serde_json::from_slice::<Transcript>(data) {
        let written = serde_json::to_vec(&transcript).expect("a transcript can be written");
        let again: Transcript = serde_json::from_slice(&written).expect("what was written can be read");
        assert_eq!(transcript, again);
        let _ = transcript.text();
    }
    if let Ok(task) = serde_json::from_slice::<Task>(data) {
        let written = serde_json::to_value(&task).expect("a task can be written");
        let again: Task = serde_json::from_value(written.clone()).expect("what was written can be read");
        assert_eq!(written, serde_json::to_value(&again).unwrap_or(Value::Null));
    }
}
