//! Jobs that an orchestrator or CI vouches for, with the configurations of `docs/identity.md`.

use reqwest::Method;
use serde_json::{Value, json};
use valet_clock::Clock;
use valet_demo::StackSettings;
use valet_server::config::{Config, Environment};

use crate::{
    harness::{SHARED, Stage, UNHURRIED, answered},
    issuer::Issuer,
    jose::{Signer, with},
};

const PAGE: &str = include_str!("../../docs/identity.md");

/// The configurations on the page, in its order.
fn configurations() -> Vec<&'static str> {
    PAGE.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// The configuration on the page that has the app.
fn configuration(app: &str) -> &'static str {
    let stanza = format!("[apps.{app}]");
    configurations().into_iter().find(|text| text.contains(&stanza)).unwrap()
}

#[test]
fn every_configuration_on_the_page_is_one() {
    let environment: Environment = [("KEY", "sk-1")].into_iter().collect();
    let found = configurations();
    assert!(found.len() >= 5, "{}", found.len());
    let state = tempfile::tempdir().unwrap();
    for text in found {
        let relay = if text.contains("mode = \"relay\"") {
            format!("relay.state = {:?}\n", state.path())
        } else {
            String::new()
        };
        let whole = format!(
            "public_url = \"https://valet.example.com\"\n{relay}[upstreams.u]\n\
             base_url = \"https://dashscope.aliyuncs.com/api/v1\"\nkeys = [{{ env = \"KEY\" }}]\n{text}"
        );
        assert!(
            Config::read(&whole, &environment).is_ok(),
            "{text}: {:?}",
            Config::read(&whole, &environment)
        );
    }
}

/// A stage with the page's configuration of an app, but for where its issuer's keys are.
async fn stage(app: &str, keys_at: &str, issuer: &Issuer) -> Stage {
    let text = configuration(app);
    assert!(text.contains(keys_at));
    let keys = format!("jwks_url = \"{}\"\njwks_allow_private = true", issuer.jwks_url());
    let text = text.replace(&format!("jwks_url = \"{keys_at}\""), &keys);
    let app = format!("{UNHURRIED}\n{text}");
    Stage::with(StackSettings { app, upstream: SHARED.into(), ..StackSettings::default() }).await
}

/// The statuses of a token as it should be, and of the same with each of `changes`.
async fn statuses(stage: &Stage, signer: &Signer, claims: &Value, changes: &[Value]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for change in [&json!({})].into_iter().chain(changes) {
        let token = signer.sign_as(
            // Kubernetes leaves `typ` out.
            &json!({ "alg": "RS256", "kid": signer.id }),
            &with(claims, change.clone()),
        );
        let ask = stage.request(Method::POST, "/v1/tokens").bearer_auth(token);
        statuses.push(answered(ask).await.status);
    }
    statuses
}

#[tokio::test]
async fn a_service_account_of_kubernetes() {
    let signer = Signer::rs256("cluster");
    let issuer = Issuer::of(&[&signer]).await;
    let stage = stage("transcriber", "https://oidc.cluster.example.com/openid/v1/jwks", &issuer).await;
    let now = stage.clock.unix().as_secs();
    // As documented: Kubernetes, *Managing Service Accounts*, "Schema for service account private claims".
    let claims = json!({
        "aud": ["valet"],
        "exp": now + 600,
        "iat": now,
        "iss": "https://oidc.cluster.example.com",
        "jti": "ed9e1ea8-3a4e-4f9d-8f5a-0b1f2d6a0c11",
        "kubernetes.io": {
            "namespace": "media",
            "node": { "name": "node-1", "uid": "646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1" },
            "pod": { "name": "transcriber-0", "uid": "4c1dcd4f-4d62-4d3b-9a4f-7a8d2b7f1a77" },
            "serviceaccount": { "name": "transcriber", "uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798" },
        },
        "nbf": now,
        "sub": "system:serviceaccount:media:transcriber",
    });
    let others = [
        json!({ "sub": "system:serviceaccount:media:default" }),
        json!({ "sub": "system:serviceaccount:other:transcriber" }),
        json!({ "aud": ["https://kubernetes.default.svc"] }),
        json!({ "iss": "https://oidc.other.example.com" }),
    ];
    assert_eq!(statuses(&stage, &signer, &claims, &others).await, [200, 401, 401, 401, 401]);
    stage.stop().await;
}

#[tokio::test]
async fn a_workflow_of_github() {
    let signer = Signer::rs256("github");
    let issuer = Issuer::of(&[&signer]).await;
    let keys_at = "https://token.actions.githubusercontent.com/.well-known/jwks";
    let stage = stage("subtitles", keys_at, &issuer).await;
    let now = stage.clock.unix().as_secs();
    // As documented: GitHub, *OpenID Connect reference*, "Standard claims" and "Custom claims".
    let claims = json!({
        "jti": "0d6d9f5b-6a3d-4c0b-9b2f-2f1b8c0e7a55",
        "sub": "repo:example/media:ref:refs/heads/main",
        "aud": "https://valet.example.com",
        "ref": "refs/heads/main",
        "repository": "example/media",
        "repository_owner": "example",
        "repository_visibility": "private",
        "workflow": "subtitles",
        "job_workflow_ref": "example/media/.github/workflows/subtitles.yml@refs/heads/main",
        "iss": "https://token.actions.githubusercontent.com",
        "nbf": now, "iat": now, "exp": now + 300,
    });
    let others = [
        // Anyone can have a token for our audience: it is then of his own repository.
        json!({ "repository": "evil/media", "sub": "repo:evil/media:ref:refs/heads/main" }),
        json!({ "ref": "refs/pull/1/merge" }),
        json!({ "repository": "example/media-evil" }),
        json!({ "repository": null }),
    ];
    assert_eq!(statuses(&stage, &signer, &claims, &others).await, [200, 401, 401, 401, 401]);
    stage.stop().await;
}
