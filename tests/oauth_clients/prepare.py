"""Makes what the OAuth clients need: a key of an app, a key of an identity provider, and the broker's
configuration with both. Usage: prepare.py FOLDER PORT SANDBOX_URL SECRETS"""

import json
import pathlib
import sys

from joserfc.jwk import ECKey, RSAKey

folder, port, sandbox, secrets = sys.argv[1:]
folder = pathlib.Path(folder)


def public(key):
    fields = {**key.as_dict(private=False), "use": "sig"}
    return "{ " + ", ".join(f"{name} = {json.dumps(value)}" for name, value in fields.items()) + " }"


app = ECKey.generate_key("P-256", {"kid": "app-1", "alg": "ES256"})
login = RSAKey.generate_key(2048, {"kid": "login-1", "alg": "RS256"})
for name, key in (("app", app), ("login", login)):
    (folder / f"{name}.json").write_text(json.dumps(key.as_dict(private=True)))

(folder / "valet.toml").write_text(f"""
listen = "127.0.0.1:{port}"
public_url = "http://127.0.0.1:{port}"

[audit]
path = "{folder}/audit.jsonl"

[upstreams.sandbox]
base_url = "{sandbox}"
keys = [{{ env = "KEY" }}]
shared_account = "visible-to-all"

[apps.secretive]
secrets = {secrets}

[apps.signing]
jwks = {{ keys = [{public(app)}] }}
assertion_audience = "issuer-or-token-endpoint"

[[apps.signing.subject_tokens]]
issuer = "https://login.example.com"
audience = "web"
claims = {{ hd = "example.com" }}
jwks = {{ keys = [{public(login)}] }}

[apps.phone]
kind = "native"
accept_account_wide = true

[[apps.phone.subject_tokens]]
issuer = "https://login.example.com"
audience = "phone"
single_tenant = true
jwks = {{ keys = [{public(login)}] }}
""")
