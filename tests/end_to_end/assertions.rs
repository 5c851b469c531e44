//! `private_key_jwt` (RFC 7523): what proves an app, and every way in which it does not.

use reqwest::Method;
use serde_json::{Value, json};
use valet_clock::Clock;
use valet_demo::StackSettings;

use crate::{
    harness::{Answer, SECOND, SHARED, Stage, answered, promptly},
    issuer::Issuer,
    jose::{Signer, encode, unsigned, with},
    reload::reload,
};

const ISSUER: &str = "https://valet.example.com";
const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A stage with two apps that sign: one for the issuer alone, one for the token endpoint too.
struct Signed {
    stage: Stage,
    signer: Signer,
    wide: Signer,
}

impl Signed {
    async fn new() -> Self {
        let (signer, wide) = (Signer::es256("one"), Signer::eddsa("two"));
        let app = format!(
            "[apps.signs]\njwks = {{ keys = [{}] }}\n[apps.wide]\njwks = {{ keys = [{}] }}\n\
             assertion_audience = \"issuer-or-token-endpoint\"",
            signer.toml(),
            wide.toml()
        );
        let config = format!("public_url = \"{ISSUER}/\"");
        let stage =
            Stage::with(StackSettings { app, config, upstream: SHARED.into(), ..StackSettings::default() })
                .await;
        Self { stage, signer, wide }
    }

    /// What an assertion says that is as it should be; `id` is its own.
    fn claims(&self, app: &str, id: &str) -> Value {
        let now = self.stage.clock.unix().as_secs();
        json!({ "iss": app, "sub": app, "aud": ISSUER, "jti": id, "iat": now, "exp": now + 60 })
    }

    async fn ask(&self, assertion: &str) -> Answer {
        self.ask_with(assertion, &[]).await
    }

    async fn ask_with(&self, assertion: &str, more: &[(&str, &str)]) -> Answer {
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_assertion_type", TYPE),
            ("client_assertion", assertion),
        ];
        let fields = [&fields[..], more].concat();
        answered(self.stage.request(Method::POST, "/oauth/token").form(&fields)).await
    }

    /// Fails unless an assertion is refused as no client's, for a reason with these words.
    async fn refuses(&self, what: &str, assertion: &str, reason: &str) {
        let answer = self.ask(assertion).await;
        assert_eq!((answer.status, &answer.json()["error"]), (401, &json!("invalid_client")), "{what}");
        assert!(answer.header("www-authenticate").is_some(), "{what}");
        let said = answer.json()["error_description"].as_str().unwrap().to_owned();
        assert!(said.contains(reason), "{what}: {said}");
    }
}

#[tokio::test]
async fn an_assertion_proves_its_app_once() {
    let signed = Signed::new().await;
    let assertion = signed.signer.sign(&signed.claims("signs", "1"));
    assert_eq!(signed.ask(&assertion).await.status, 200);
    signed.refuses("shown again", &assertion, "jti: it was used before").await;
    // Each app has ids of its own, and a new id is a new assertion.
    let other = signed.wide.sign(&signed.claims("wide", "1"));
    assert_eq!(signed.ask_with(&other, &[("client_id", "wide")]).await.status, 200);
    assert_eq!(signed.ask(&signed.signer.sign(&signed.claims("signs", "2"))).await.status, 200);
    signed.stage.stop().await;
}

#[tokio::test]
async fn an_assertion_is_used_up_even_by_a_reload() {
    let signer = Signer::es256("one");
    let app = format!("[apps.signs]\njwks = {{ keys = [{}] }}", signer.toml());
    let config = format!("public_url = \"{ISSUER}\"");
    let settings =
        StackSettings { app, config, upstream: SHARED.into(), follow: true, ..StackSettings::default() };
    let stage = Stage::with(settings).await;
    let signed = Signed { stage, signer, wide: Signer::eddsa("none") };
    let assertion = signed.signer.sign(&signed.claims("signs", "1"));
    assert_eq!(signed.ask(&assertion).await.status, 200);
    let config = signed.stage.stack.config.replace("[apps.signs]", "[apps.signs]\nlifetime = 60");
    reload(&signed.stage, &config).await;
    signed.refuses("shown to the next site", &assertion, "jti: it was used before").await;
    signed.stage.stop().await;
}

#[tokio::test]
async fn the_endpoint_is_an_audience_only_where_the_app_says_so() {
    let signed = Signed::new().await;
    let endpoint = json!({ "aud": format!("{ISSUER}/oauth/token") });
    let narrow = signed.signer.sign(&with(&signed.claims("signs", "1"), endpoint.clone()));
    signed.refuses("the endpoint", &narrow, "aud: ").await;
    let wide = signed.wide.sign(&with(&signed.claims("wide", "1"), endpoint));
    assert_eq!(signed.ask(&wide).await.status, 200);
    signed.stage.stop().await;
}

#[tokio::test]
async fn nothing_else_proves_an_app() {
    let signed = Signed::new().await;
    let Signed { signer, wide, stage } = &signed;
    let now = stage.clock.unix().as_secs();
    let good = signed.claims("signs", "never used up");
    let header = |alg: &str| json!({ "alg": alg, "typ": "JWT", "kid": "one" });
    let none = format!("{}.", unsigned(&header("none"), &good));
    let altered = {
        let token = signer.sign(&good);
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (head, _) = signed.split_once('.').unwrap();
        let claims = encode(with(&good, json!({ "exp": now + 100 })).to_string().as_bytes());
        format!("{head}.{claims}.{signature}")
    };
    let jwk = json!({ "alg": "EdDSA", "typ": "JWT", "jwk": wide.jwk() });
    for (what, token, reason) in [
        ("no token", "x".to_owned(), "no signed JSON Web Token"),
        ("algorithm none", none, "no signed JSON Web Token"),
        ("another algorithm than the key's", signer.sign_as(&header("ES384"), &good), "another algorithm"),
        (
            "a key that is not known",
            signer.sign_as(&json!({ "alg": "ES256", "kid": "9" }), &good),
            "not known",
        ),
        ("another's key under its name", wide.sign_as(&header("EdDSA"), &good), "another algorithm"),
        ("a key of its own", wide.sign_as(&jwk, &good), "not known"),
        (
            "an extension",
            signer.sign_as(&with(&header("ES256"), json!({ "crit": ["x"] })), &good),
            "no signed",
        ),
        ("altered claims", altered, "wrong signature"),
        ("an ID token", signer.sign_as(&with(&header("ES256"), json!({ "typ": "id+jwt" })), &good), "typ: "),
        (
            "an access token",
            signer.sign_as(&with(&header("ES256"), json!({ "typ": "at+jwt" })), &good),
            "typ: ",
        ),
    ] {
        signed.refuses(what, &token, reason).await;
    }
    // The public key as the secret of an HMAC, were there such a thing as an HMAC here.
    for token in signer.confused(&header("HS256"), &good) {
        signed.refuses("algorithm confusion", &token, "another algorithm").await;
    }
    for (what, change, reason) in [
        ("another subject", json!({ "sub": "wide" }), "iss, sub: "),
        ("no subject", json!({ "sub": null }), "iss, sub: "),
        ("another broker's audience", json!({ "aud": "https://other.example.com" }), "aud: "),
        ("a longer audience", json!({ "aud": format!("{ISSUER}.evil.example") }), "aud: "),
        ("an audience with a slash", json!({ "aud": format!("{ISSUER}/") }), "aud: "),
        ("no audience", json!({ "aud": null }), "aud: "),
        ("two audiences", json!({ "aud": [ISSUER, "https://other.example.com"] }), "aud: "),
        ("an audience that is none", json!({ "aud": { "x": ISSUER } }), "aud: "),
        ("no end", json!({ "exp": null }), "exp: "),
        ("an end in words", json!({ "exp": "soon" }), "exp: "),
        ("an end in digits", json!({ "exp": (now + 60).to_string() }), "exp: "),
        ("a negative end", json!({ "exp": -1 }), "exp: "),
        ("an end long past", json!({ "exp": now - 5 }), "exp: it has expired"),
        ("an end far away", json!({ "exp": now + 306 }), "at most 300 seconds"),
        ("a beginning in the future", json!({ "iat": now + 11 }), "iat: "),
        ("a beginning that is no time", json!({ "iat": "now" }), "iat, nbf: "),
        ("not valid yet", json!({ "nbf": now + 11 }), "nbf: "),
        ("no id", json!({ "jti": null }), "jti: "),
        ("an empty id", json!({ "jti": "" }), "jti: "),
        ("an id that is a number", json!({ "jti": 7 }), "jti: "),
        ("an id of a kilobyte", json!({ "jti": "x".repeat(1024) }), "jti: "),
    ] {
        signed.refuses(what, &signer.sign(&with(&good, change)), reason).await;
    }
    for app in ["nobody", "demo"] {
        let token = signer.sign(&signed.claims(app, "1"));
        signed.refuses("an app without such a key", &token, "the app id or secret is wrong").await;
    }
    let long =
        format!("{}.{}", unsigned(&header("ES256"), &with(&good, json!({ "x": "y".repeat(9000) }))), "c2ln");
    signed.refuses("an endless token", &long, "no signed JSON Web Token").await;
    let answer = signed.ask_with(&signer.sign(&good), &[("client_id", "wide")]).await;
    assert_eq!(answer.status, 401, "the form names another app");
    // Its id was not used up by all that.
    assert_eq!(signed.ask(&signer.sign(&good)).await.status, 200);
    signed.stage.stop().await;
}

#[tokio::test]
async fn a_header_points_to_no_key() {
    let signed = Signed::new().await;
    let evil = Signer::es256("one");
    let elsewhere = Issuer::of(&[&evil]).await;
    let good = signed.claims("signs", "never used up");
    for (name, value) in [
        ("jwk", evil.jwk()),
        ("jku", json!(elsewhere.jwks_url())),
        ("x5u", json!(elsewhere.jwks_url())),
        ("x5c", json!(["AAAA"])),
    ] {
        let header = with(&json!({ "alg": "ES256", "typ": "JWT", "kid": "one" }), json!({ name: value }));
        signed.refuses(name, &evil.sign_as(&header, &good), "wrong signature").await;
        // What is not understood is ignored (RFC 7515 §4): of the app's own key it is no fault.
        let own = signed.signer.sign_as(&header, &with(&good, json!({ "jti": name })));
        assert_eq!(signed.ask(&own).await.status, 200, "{name}");
    }
    assert_eq!(elsewhere.asked(), 0);
    signed.stage.stop().await;
}

#[tokio::test]
async fn nothing_stands_there_twice() {
    let signed = Signed::new().await;
    let good = signed.claims("signs", "never used up").to_string();
    let header = r#"{"alg":"ES256","typ":"JWT","kid":"one"}"#;
    for (what, header, claims) in [
        ("two algorithms", r#"{"alg":"none","alg":"ES256","kid":"one"}"#, &*good),
        ("two keys", r#"{"alg":"ES256","kid":"two","kid":"one"}"#, &good),
        ("two ends", header, &good.replacen('{', r#"{"exp":1,"#, 1)),
        ("two ids", header, &good.replacen('{', r#"{"jti":"another","#, 1)),
        ("two claims of no meaning", header, &good.replacen('{', r#"{"x":1,"x":2,"#, 1)),
        ("an extension that is none", r#"{"alg":"ES256","kid":"one","crit":[]}"#, &good),
        ("an extension in words", r#"{"alg":"ES256","kid":"one","crit":"exp"}"#, &good),
        ("no claims", header, "[]"),
        ("claims in words", header, r#""claims""#),
    ] {
        let token = signed.signer.sign_text(header, claims);
        signed.refuses(what, &token, "is no signed JSON Web Token").await;
    }
    assert_eq!(signed.ask(&signed.signer.sign_text(header, &good)).await.status, 200);
    signed.stage.stop().await;
}

#[tokio::test]
async fn a_key_without_an_algorithm_has_the_usual_one_of_its_type() {
    let rsa = Signer::rs256("rsa");
    let key = rsa.toml().replace("alg = \"RS256\", ", "");
    assert!(!key.contains("alg"), "{key}");
    let app = format!("[apps.signs]\njwks = {{ keys = [{key}] }}");
    let config = format!("public_url = \"{ISSUER}\"");
    let settings = StackSettings { app, config, upstream: SHARED.into(), ..StackSettings::default() };
    let signed = Signed { stage: Stage::with(settings).await, signer: rsa, wide: Signer::eddsa("none") };
    let good = signed.claims("signs", "1");
    for algorithm in ["RS384", "RS512", "PS256", "ES256", "EdDSA"] {
        let token = signed.signer.sign_as(&json!({ "alg": algorithm, "kid": "rsa" }), &good);
        signed.refuses(algorithm, &token, "another algorithm").await;
    }
    for token in signed.signer.confused(&json!({ "alg": "HS256", "kid": "rsa" }), &good) {
        signed.refuses("HS256", &token, "another algorithm").await;
    }
    assert_eq!(signed.ask(&signed.signer.sign(&good)).await.status, 200);
    signed.stage.stop().await;
}

#[tokio::test]
async fn of_many_at_once_an_assertion_proves_one() {
    let signed = Signed::new().await;
    let assertion = signed.signer.sign(&signed.claims("signs", "1"));
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let fields = [
                ("grant_type", "client_credentials"),
                ("client_assertion_type", TYPE),
                ("client_assertion", &*assertion),
            ];
            tokio::spawn(answered(signed.stage.request(Method::POST, "/oauth/token").form(&fields)))
        })
        .collect();
    let mut proved = 0;
    for asked in asking {
        proved += u32::from(promptly(asked).await.unwrap().status == 200);
    }
    assert_eq!(proved, 1);
    signed.stage.stop().await;
}

#[tokio::test]
async fn clocks_may_differ_by_seconds() {
    let signed = Signed::new().await;
    let now = signed.stage.clock.unix().as_secs();
    for (id, change) in [
        ("1", json!({ "exp": now - 4 })),
        ("2", json!({ "iat": now + 10, "nbf": now + 10 })),
        ("3", json!({ "exp": now + 305 })),
        ("4", json!({ "iat": null })),
        ("5", json!({ "exp": now as f64 + 0.5 })),
    ] {
        let token = signed.signer.sign(&with(&signed.claims("signs", id), change));
        assert_eq!(signed.ask(&token).await.status, 200, "{id}");
    }
    // For as long as one is accepted, it is remembered.
    let token = signed.signer.sign(&signed.claims("signs", "6"));
    assert_eq!(signed.ask(&token).await.status, 200);
    signed.stage.clock.advance(SECOND * 64);
    signed.refuses("in its last second", &token, "jti: it was used before").await;
    signed.stage.clock.advance(SECOND);
    signed.refuses("after its end", &token, "exp: it has expired").await;
    signed.stage.stop().await;
}
