//! What a configuration must be, and that every mistake in it is reported at once.

use super::*;
use crate::secret::AppSecret;

const HASH: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn environment() -> Environment {
    [("KEY", "sk-one"), ("NOT_A_KEY", "password")].into_iter().collect()
}

fn read(text: &str) -> Result<Config, Invalid> {
    Config::read(text, &environment())
}

/// The paths and messages of the mistakes in `text`.
fn mistakes(text: &str) -> Vec<String> {
    read(text).expect_err("it has mistakes").0.iter().map(ToString::to_string).collect()
}

fn minimal(more: &str) -> String {
    format!(
        "{more}\n[upstreams.beijing]\nbase_url = \"https://dashscope.aliyuncs.com/api/v1/\"\n\
         keys = [{{ env = \"KEY\" }}]\n[apps.acme]\nmode = \"direct\"\nsecrets = [\"{HASH}\"]\n"
    )
}

#[test]
fn a_minimal_configuration_has_safe_defaults() {
    let config = read(&minimal("")).unwrap();
    assert!(config.listen.ip().is_loopback());
    assert_eq!(&*config.upstreams[0].base_url, "https://dashscope.aliyuncs.com/api/v1");
    assert_eq!(config.upstreams[0].queries_per_second, 20);
    let app = &config.apps[0];
    assert_eq!(app.lifetimes, [Lifetime::new(60).unwrap()]);
    assert_eq!((app.sharing, app.may_name_subject, app.enabled), (Sharing::App, false, true));
}

#[test]
fn every_mistake_is_reported_at_once_with_its_path() {
    let found = mistakes(
        r#"
        listen = "8080"
        colour = "blue"
        [bounds]
        connections = 0
        [upstreams.beijing]
        base_url = "http://dashscope.aliyuncs.com/api/v1"
        keys = [{ env = "UNSET" }, { env = "NOT_A_KEY" }, { value = "sk-inline" }]
        [apps.Acme]
        mode = "both"
        secrets = ["plain"]
        upstream = "shanghai"
        lifetime = 61
        [apps.Acme.rate]
        per_second = "many"
        "#,
    );
    for path in [
        "listen: ",
        "colour: is not a setting; known here: listen,",
        "bounds.connections: must be a whole number from 1",
        "upstreams.beijing.base_url: must begin with https://",
        "upstreams.beijing.keys[0].env: the environment variable UNSET is not set",
        "upstreams.beijing.keys[1].env: does not hold a DashScope API key",
        "upstreams.beijing.keys[2].value: a key in the configuration is a key in its backups",
        "apps.Acme: an app id has",
        "apps.Acme.mode: must be \"direct\"",
        "apps.Acme.secrets[0]: must be \"sha256:\"",
        "apps.Acme.upstream: no upstream is called \"shanghai\"",
        "apps.Acme.lifetime: must be one of tokens.lifetimes: 60, 300, 1800",
        "apps.Acme.rate.per_second: must be a whole number",
    ] {
        assert!(found.iter().any(|mistake| mistake.starts_with(path)), "{path} is not among {found:#?}");
    }
    assert!(!found.iter().any(|mistake| mistake.contains("sk-inline") || mistake.contains("password")));
}

#[test]
fn the_relays_folder_must_be_there() {
    let folder = tempfile::TempDir::new().unwrap();
    let with = |state: &std::path::Path| minimal(&format!("[relay]\nstate = {state:?}"));
    assert!(read(&with(folder.path())).is_ok(), "its keys are made at the first start");
    let missing = folder.path().join("missing");
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    for state in [missing, file] {
        let found = mistakes(&with(&state));
        assert!(
            found[0].starts_with("relay.state: ") && found[0].contains("is no folder: make it"),
            "{found:?}"
        );
    }
    std::fs::write(folder.path().join("keys.json"), "{").unwrap();
    assert!(mistakes(&with(folder.path()))[0].contains("keys.json cannot be read"));
}

#[test]
fn an_empty_configuration_says_what_it_needs() {
    let found = mistakes("");
    assert!(found.iter().any(|mistake| mistake.starts_with("upstreams: is missing")), "{found:?}");
    assert!(found.iter().any(|mistake| mistake.starts_with("apps: is missing")), "{found:?}");
}

#[test]
fn the_environment_overlays_the_file() {
    let environment: Environment = [
        ("KEY", "sk-one"),
        ("VALET_SERVER__LISTEN", "127.0.0.1:9000"),
        ("VALET_SERVER__BOUNDS__CONNECTIONS", "12"),
        ("VALET_SERVER__AUDIT__PATH", "/var/log/valet.jsonl"),
    ]
    .into_iter()
    .collect();
    let config = Config::read(&minimal("listen = \"127.0.0.1:1\""), &environment).unwrap();
    assert_eq!(config.listen.port(), 9000);
    assert_eq!(config.bounds.connections, 12);
    assert_eq!(config.audit.path, Some("/var/log/valet.jsonl".into()));
}

#[test]
fn a_variable_that_sets_nothing_known_is_a_mistake() {
    let environment: Environment = [("KEY", "sk-one"), ("VALET_SERVER__LISTN", "x")].into_iter().collect();
    let Invalid(found) = Config::read(&minimal(""), &environment).unwrap_err();
    assert_eq!(found[0].path, "listn");
}

#[test]
fn two_direct_apps_share_an_account_only_on_purpose() {
    let second = format!("[apps.other]\nsecrets = [\"{}\"]\n", AppSecret::generate().hash());
    let refused = mistakes(&(minimal("") + &second));
    assert!(refused[0].contains("shared_account = \"visible-to-all\""), "{refused:?}");
    let accepted = (minimal("") + &second).replace("keys =", "shared_account = \"visible-to-all\"\nkeys =");
    assert_eq!(read(&accepted).unwrap().apps.len(), 2);
    let disabled = minimal("") + &second + "enabled = false\n";
    assert_eq!(read(&disabled).unwrap().apps.len(), 2);
}

#[test]
fn a_key_stands_once_and_belongs_to_one_account() {
    let twice = minimal("").replace("{ env = \"KEY\" }", "{ env = \"KEY\" }, { env = \"KEY\" }");
    assert!(mistakes(&twice)[0].starts_with("upstreams.beijing.keys[1]: is listed already"));
    let other = "[upstreams.other]\nbase_url = \"https://example.com/api/v1\"\nkeys = [{ env = \"KEY\" }]\n";
    let two = minimal("").replace("mode =", "upstream = \"beijing\"\nmode =") + other;
    assert!(mistakes(&two)[0].contains("a key belongs to one account"));
    assert!(read(&(two + "account = \"beijing\"\n")).is_ok());
}

#[test]
fn a_secret_names_one_app_only() {
    let twice = minimal("") + &format!("[apps.other]\nenabled = false\nsecrets = [\"{HASH}\"]\n");
    assert!(mistakes(&twice)[0].contains("is listed already, by app acme"));
}

#[test]
fn a_key_is_read_from_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "sk-from-file\n").unwrap();
    let text = minimal("").replace("{ env = \"KEY\" }", &format!("{{ file = {:?} }}", file.path()));
    assert_eq!(read(&text).unwrap().upstreams[0].keys[0].expose(), "sk-from-file");
}

#[test]
fn a_first_try_needs_a_key_or_a_sandbox_and_stays_on_loopback() {
    let none = Environment::default();
    assert!(FirstTry::new(None, None, &none).is_err());
    let sandbox = FirstTry::new(Some("http://127.0.0.1:8090/api/v1"), None, &environment()).unwrap();
    assert_eq!(sandbox.config.upstreams[0].keys[0].expose(), "sk-sandbox");
    let real: Environment = [("DASHSCOPE_API_KEY", "sk-real")].into_iter().collect();
    let direct = FirstTry::new(None, None, &real).unwrap();
    assert_eq!(direct.config.upstreams[0].keys[0].expose(), "sk-real");
    let never = FirstTry::new(Some("http://127.0.0.1:8090/api/v1"), None, &real).unwrap();
    assert_eq!(never.config.upstreams[0].keys[0].expose(), "sk-sandbox", "a real key goes to no sandbox");
    assert!(FirstTry::new(None, Some("0.0.0.0:80".parse().unwrap()), &real).is_err());
    assert!(FirstTry::new(Some("http://sandbox.example.com/api/v1"), None, &none).is_err());
}

#[test]
fn no_debug_output_of_a_configuration_holds_a_key() {
    let shown = format!("{:?} {:?}", read(&minimal("")).unwrap(), environment());
    assert!(!shown.contains("sk-one") && !shown.contains("password"), "{shown}");
}

/// A configuration with `apps` in place of its one app.
fn apps(apps: &str) -> String {
    format!(
        "public_url = \"https://valet.example.com\"\n[upstreams.u]\n\
         base_url = \"https://dashscope.aliyuncs.com/api/v1\"\nkeys = [{{ env = \"KEY\" }}]\n\
         shared_account = \"visible-to-all\"\n{apps}"
    )
}

/// Rules of subject tokens of the app that stands before them.
fn users(app: &str, audience: &str, rest: &str) -> String {
    format!(
        "[[apps.{app}.subject_tokens]]\nissuer = \"https://login.example.com\"\naudience = \"{audience}\"\n{rest}\n"
    )
}

const KEYS: &str = "jwks_url = \"https://login.example.com/jwks\"";

#[test]
fn an_issuer_needs_a_rule_or_is_the_apps_own() {
    let with =
        |rest: &str| read(&apps(&format!("[apps.a]\n{}", users("a", "web", &format!("{KEYS}\n{rest}")))));
    assert!(with("single_tenant = true").is_ok());
    assert!(with("claims = { hd = \"example.com\", admin = true, level = [1, 2] }").is_ok());
    for bad in [
        "",
        "claims = {}",
        "claims = { hd = [] }",
        "claims = { hd = 1.5 }",
        "claims = { hd = {} }",
        "claims = { aud = \"web\" }",
        "claims = { iss = \"https://login.example.com\", hd = \"x\" }",
    ] {
        let found = with(bad).unwrap_err().to_string();
        assert!(found.contains("apps.a.subject_tokens[0].claims"), "{bad}: {found}");
    }
}

#[test]
fn one_token_is_for_one_app() {
    let two = |one: &str, other: &str| {
        let text = format!("[apps.a]\n{}[apps.b]\n{}", users("a", "web", one), users("b", "web", other));
        read(&apps(&text))
    };
    let rules = |rest: &str| format!("{KEYS}\n{rest}");
    let found =
        two(&rules("single_tenant = true"), &rules("claims = { hd = \"x\" }")).unwrap_err().to_string();
    assert!(found.contains("apps.b.subject_tokens[0]: one token could be for app a as well"), "{found}");
    let values = |values: &str| rules(&format!("claims = {{ hd = {values} }}"));
    assert!(two(&values("[\"x\", \"y\"]"), &values("\"y\"")).is_err());
    assert!(two(&values("[\"x\", \"y\"]"), &values("\"z\"")).is_ok(), "they differ by the claim");
    let access = rules("single_tenant = true\nkind = \"access\"");
    assert!(two(&rules("single_tenant = true"), &access).is_ok(), "no token is of both kinds");
}

#[test]
fn a_public_app_has_nothing_of_its_own() {
    let phone = |head: &str| mistakes(&apps(&format!("[apps.a]\n{head}")));
    let hash = format!("secrets = [\"{HASH}\"]");
    let tenant = users("a", "web", &format!("{KEYS}\nsingle_tenant = true"));
    let native = "kind = \"native\"\naccept_account_wide = true\n";
    assert!(read(&apps(&format!("[apps.a]\n{native}{tenant}"))).is_ok());
    for (text, path) in [
        (format!("{native}{hash}\n{tenant}"), "apps.a.secrets: is for confidential apps"),
        (format!("{native}{KEYS}\n{tenant}"), "apps.a.jwks: is for confidential apps"),
        (
            format!("{native}may_name_subject = true\n{tenant}"),
            "apps.a.may_name_subject: is for confidential",
        ),
        (native.to_owned(), "apps.a.subject_tokens: is missing"),
        (format!("kind = \"native\"\n{tenant}"), "apps.a.accept_account_wide: must be true"),
        (format!("kind = \"browser\"\n{tenant}"), "apps.a.kind: a page cannot use a direct token"),
        (String::new(), "apps.a.secrets: is missing or empty"),
    ] {
        let found = phone(&text);
        assert!(found.iter().any(|mistake| mistake.starts_with(path)), "{path}: {found:?}");
    }
}

#[test]
fn keys_are_behind_https_at_a_public_place_or_given() {
    let url = |rest: &str| read(&apps(&format!("[apps.a]\n{rest}")));
    for good in [
        "jwks_url = \"https://keys.example.com/jwks\"",
        "jwks_url = \"http://localhost:8080/jwks\"",
        "jwks_url = \"http://127.0.0.1:8080/jwks\"\njwks_allow_private = true",
        "jwks_url = \"https://10.1.2.3/jwks\"\njwks_allow_private = true",
    ] {
        assert!(url(good).is_ok(), "{good}: {:?}", url(good));
    }
    let secret = "jwks = { keys = [{ kty = \"oct\", k = \"c2VjcmV0\", alg = \"HS256\" }] }";
    let short =
        format!("jwks = {{ keys = [{{ kty = \"RSA\", e = \"AQAB\", n = \"{}\" }}] }}", "x".repeat(171));
    let private = "jwks = { keys = [{ kty = \"OKP\", crv = \"Ed25519\", kid = \"k\", \
                   x = \"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\", \
                   d = \"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A\" }] }";
    let key = "{ kty = \"OKP\", crv = \"Ed25519\", kid = \"k\", x = \"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\" }";
    let twice = &format!("jwks = {{ keys = [{key}, {key}] }}");
    let confused = &format!("jwks = {{ keys = [{}] }}", key.replace("kid = \"k\"", "alg = \"ES256\""));
    for (bad, said) in [
        ("jwks_url = \"http://keys.example.com/jwks\"", "must begin with https://"),
        ("jwks_url = \"file:///etc/passwd\"", "must have a host"),
        ("jwks_url = \"https://10.1.2.3/jwks\"", "is no public address"),
        ("jwks_url = \"https://[fd00::1]/jwks\"", "is no public address"),
        ("jwks_url = \"https://169.254.169.254/latest\"", "is no public address"),
        ("jwks_url = \"https://me@keys.example.com/jwks\"", "must be without user"),
        ("jwks = 7", "must be a table"),
        ("jwks = { keys = [] }", "has no public key"),
        (secret, "has no public key"),
        (&short, "less than 2048 bits"),
        (private, "has a private key"),
        (twice, "has two keys called"),
        (confused, "has no public key"),
    ] {
        let found = url(bad).unwrap_err().to_string();
        assert!(found.contains(said), "{bad}: {found}");
    }
    let unnamed = apps("[apps.a]\njwks_url = \"https://keys.example.com/jwks\"").replace("public_url", "#");
    assert!(read(&unnamed).unwrap_err().to_string().contains("public_url: is missing"));
}

#[test]
fn the_playground_signs_in_on_loopback_alone() {
    let state = tempfile::TempDir::new().unwrap();
    let relay = |top: &str, playground: &str| {
        let text =
            minimal(&format!("{top}\n[relay]\nstate = {:?}\n[playground]\n{playground}", state.path()));
        text.replace("mode = \"direct\"", "mode = \"relay\"")
    };
    let (near, open) = ("public_url = \"http://127.0.0.1:8080\"", "sign_in = [\"acme\"]");
    let config = read(&relay(near, open)).unwrap();
    assert!(config.signs_in("acme") && !config.signs_in("other"));
    assert_eq!(read(&relay(near, "enabled = false")).unwrap().playground, None);
    for top in [
        "public_url = \"https://valet.example.com\"",
        &format!("{near}\nlisten = \"0.0.0.0:8080\""),
        &format!("{near}\ntrusted_proxies = 1"),
        "public_url = \"http://127.0.0.1.example.com:8080\"",
    ] {
        let found = mistakes(&relay(top, open));
        assert!(
            found.iter().any(|mistake| mistake.starts_with("playground.sign_in: signs in whoever")),
            "{found:?}"
        );
        assert!(read(&relay(top, "")).is_ok(), "the page itself is for everyone: {top}");
    }
    let found = mistakes(&relay(near, "sign_in = [\"nobody\"]"));
    assert!(found[0].starts_with("playground.sign_in[0]: no app with mode"), "{found:?}");
    let found = mistakes(&minimal("[playground]"));
    assert!(found[0].starts_with("playground: is a page for apps at the relay"), "{found:?}");
}
