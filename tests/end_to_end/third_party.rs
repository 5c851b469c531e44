//! The `oauth2` crate as a client of the third door.

use http::{Request, Response};
use oauth2::{
    AuthType, Client, ClientId, ClientSecret, ExtraTokenFields, Scope, StandardErrorResponse,
    StandardRevocableToken, StandardTokenIntrospectionResponse, StandardTokenResponse, TokenResponse,
    TokenUrl,
    basic::{BasicErrorResponseType, BasicRevocationErrorResponse, BasicTokenType},
};
use serde::{Deserialize, Serialize};
use valet_demo::APP;

use crate::harness::{Stage, answered_elsewhere};

/// What a Valet adds to a token response.
#[derive(Debug, Deserialize, Serialize)]
struct Whereabouts {
    base_url: String,
}

impl ExtraTokenFields for Whereabouts {}

type TokenBody = StandardTokenResponse<Whereabouts, BasicTokenType>;
type OAuth = Client<
    StandardErrorResponse<BasicErrorResponseType>,
    TokenBody,
    StandardTokenIntrospectionResponse<Whereabouts, BasicTokenType>,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
>;

async fn send(request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, reqwest::Error> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let answer = http.execute(request.try_into()?).await?;
    let mut response = Response::new(Vec::new());
    (*response.status_mut(), *response.headers_mut()) = (answer.status(), answer.headers().clone());
    *response.body_mut() = answer.bytes().await?.into();
    Ok(response)
}

#[tokio::test]
async fn the_oauth2_crate_gets_a_token_that_works() {
    let stage = Stage::new().await;
    let url = TokenUrl::new(format!("{}/oauth/token", stage.stack.broker_url)).unwrap();
    let client = |secret: &str, auth| {
        OAuth::new(ClientId::new(APP.into()))
            .set_client_secret(ClientSecret::new(secret.into()))
            .set_auth_type(auth)
            .set_token_uri(url.clone())
    };
    for auth in [AuthType::BasicAuth, AuthType::RequestBody] {
        let client = client(stage.stack.secret.expose(), auth);
        let token = client.exchange_client_credentials().add_scope(Scope::new("transcribe".into()));
        let token = token.request_async(&send).await.unwrap();
        assert_eq!(token.expires_in().unwrap().as_secs(), 60);
        let url = format!("{}/tasks/", token.extra_fields().base_url);
        let list = reqwest::Client::new().get(url).bearer_auth(token.access_token().secret());
        assert_eq!(answered_elsewhere(list).await.status, 200);
    }
    let wrong = client("vas_wrong", AuthType::BasicAuth);
    let refused = wrong.exchange_client_credentials().request_async(&send).await.unwrap_err();
    let oauth2::RequestTokenError::ServerResponse(refused) = refused else { panic!("{refused}") };
    assert_eq!(refused.error(), &BasicErrorResponseType::InvalidClient);
    stage.stop().await;
}
