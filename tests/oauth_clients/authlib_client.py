"""Authlib against the broker: each grant and each way to prove oneself; the token works upstream.
Usage: authlib_client.py FOLDER ISSUER SECRET"""

import json
import pathlib
import sys
import time

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import AssertionSession, OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

folder, issuer, secret = sys.argv[1:]
metadata = requests.get(f"{issuer}/.well-known/oauth-authorization-server", timeout=10).json()
endpoint = metadata["token_endpoint"]
app_key = ECKey.import_key(json.loads(pathlib.Path(folder, "app.json").read_text()))
login_key = RSAKey.import_key(json.loads(pathlib.Path(folder, "login.json").read_text()))


def works(token):
    assert token["token_type"] == "Bearer" and 0 < token["expires_in"] <= 60, token
    listed = requests.get(
        f"{token['base_url']}/tasks/",
        headers={"Authorization": f"Bearer {token['access_token']}"},
        timeout=10,
    )
    assert listed.status_code == 200, listed.text


def refused(code, call):
    try:
        call()
    except OAuthError as error:
        assert error.error == code, error
        return
    raise AssertionError(f"{code} was expected")


def id_token(audience, **more):
    now = int(time.time())
    claims = {"iss": "https://login.example.com", "aud": audience, "sub": "alice", "iat": now, "exp": now + 60}
    header = {"alg": "RS256", "typ": "JWT", "kid": "login-1"}
    return jwt.encode(header, {**claims, **more}, login_key)


for method in ("client_secret_basic", "client_secret_post"):
    session = OAuth2Session("secretive", secret, scope="transcribe", token_endpoint_auth_method=method)
    works(session.fetch_token(endpoint, grant_type="client_credentials"))
    wrong = OAuth2Session("secretive", "vas_wrong", token_endpoint_auth_method=method)
    refused("invalid_client", lambda: wrong.fetch_token(endpoint, grant_type="client_credentials"))



def signing(**claims):
    session = OAuth2Session("signing", app_key, token_endpoint_auth_method="private_key_jwt")
    method = PrivateKeyJWT(endpoint, claims=claims, headers={"kid": "app-1"}, alg="ES256")
    session.register_client_auth_method(method)
    return session


# Authlib's own assertions live an hour; here they live five minutes at most.
refused("invalid_client", lambda: signing().fetch_token(endpoint, grant_type="client_credentials"))
for _ in range(2):
    session = signing(exp=int(time.time()) + 60)
    works(session.fetch_token(endpoint, grant_type="client_credentials"))

session = OAuth2Session("secretive", secret, scope="everything")
refused("invalid_scope", lambda: session.fetch_token(endpoint, grant_type="client_credentials"))

exchange = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
}
phone = OAuth2Session("phone", token_endpoint_auth_method="none")
token = phone.fetch_token(endpoint, subject_token=id_token("phone"), **exchange)
assert token["issued_token_type"] == "urn:ietf:params:oauth:token-type:access_token", token
works(token)
refused(
    "invalid_request",
    lambda: phone.fetch_token(endpoint, subject_token=id_token("other"), **exchange),
)
session = signing(exp=int(time.time()) + 60)
works(session.fetch_token(endpoint, subject_token=id_token("web", hd="example.com"), **exchange))

# A JWT bearer grant: a token that the issuer of the configuration signs.
with AssertionSession(
    token_endpoint=endpoint,
    issuer="https://login.example.com",
    subject="alice",
    audience="phone",
    key=login_key,
    header={"alg": "RS256", "kid": "login-1"},
) as granted:
    granted.refresh_token()
    works(granted.token)

print("Authlib: secrets by header and form, a signed assertion, an exchange, a JWT grant")
