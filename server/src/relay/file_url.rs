//! The URLs of recordings. The upstream fetches them, and nothing here resolves them: what could lead it, or
//! anyone behind it, astray is refused by syntax.

use url::{Host, Url};

/// Names that are of no public host (IANA, *Special-Use Domain Names*; RFC 6762, 8375, 9476), and those that private
/// networks use without asking.
const SPECIAL: [&str; 18] = [
    "alt",
    "arpa",
    "corp",
    "example",
    "home",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "mail",
    "onion",
    "private",
    "svc",
    "test",
    "workgroup",
];

/// Checks the URL of a recording, and gives its host, in lower case.
///
/// # Errors
/// What is wrong with it, in words that do not repeat it.
pub(super) fn host(text: &str, private: bool) -> Result<String, &'static str> {
    // As the upstream wants it (*Fun-ASR recording*): spaces and Chinese characters must be encoded.
    if text.len() > 2048 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("must be a percent-encoded URL of at most 2048 characters");
    }
    let url: Url = text.parse().map_err(|_| "is no URL")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must begin with http:// or https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must be without user and password");
    }
    if text.contains('\\') || url.fragment().is_some() {
        return Err("must be without backslash and fragment");
    }
    // Whoever fetches it may read it by other rules (RFC 3986, not WHATWG's): what is read as another host than the
    // one that stands there is refused.
    if !url.host_str().is_some_and(|host| is_written(text, host)) {
        return Err("must have its host as it is, behind ://, with a port or none");
    }
    let name = match url.host() {
        Some(Host::Domain(name)) => name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase(),
        Some(address) if private => return Ok(address.to_string()),
        _ => return Err("must name a host, not an address"),
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    if !private && (!name.contains('.') || SPECIAL.contains(&last)) {
        return Err("must name a host of the public Internet");
    }
    if !name.split('.').all(is_label) {
        return Err("must name a host by letters, digits and hyphens");
    }
    Ok(name)
}

/// Whether `host` stands in a URL as its authority, but for case and a port.
fn is_written(text: &str, host: &str) -> bool {
    let Some((_, rest)) = text.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let Some((written, after)) = authority.split_at_checked(host.len()) else { return false };
    let port = |after: &str| {
        after.strip_prefix(':').is_some_and(|port| {
            (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    written.eq_ignore_ascii_case(host) && (after.is_empty() || port(after))
}

/// Whether it can be a part of a host's name (RFC 1123 §2.1; the underscore is in use).
fn is_label(label: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=63).contains(&label.len())
        && label.bytes().all(plain)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_the_public_internet_are_accepted() {
        for (url, named) in [
            ("https://files.example.com/a%20b.wav?x=1", "files.example.com"),
            ("http://FILES.Example.com:8080/a.mp3", "files.example.com"),
            ("https://files.example.com./a.mp3", "files.example.com"),
        ] {
            assert_eq!(host(url, false).as_deref(), Ok(named));
        }
        assert_eq!(
            host("https://xn--fiq228c.example.com/a", false).as_deref(),
            Ok("xn--fiq228c.example.com")
        );
        assert_eq!(host("http://127.0.0.1:1/a.wav", true).as_deref(), Ok("127.0.0.1"));
    }

    #[test]
    fn everything_else_is_refused_by_syntax() {
        for url in [
            "",
            "files.example.com/a.wav",
            "ftp://files.example.com/a.wav",
            "file:///etc/passwd",
            "oss://bucket/key",
            "data:audio/wav;base64,AAAA",
            "https://",
            "https://user@files.example.com/a",
            "https://user:pass@files.example.com/a",
            "https://127.0.0.1/a",
            "https://2130706433/a",
            "https://0x7f.1/a",
            "https://0177.0.0.1/a",
            "https://[::1]/a",
            "https://[::ffff:10.0.0.1]/a",
            "https://localhost/a",
            "https://intranet/a",
            "https://printer.local/a",
            "https://x.internal/a",
            "https://db.localhost/a",
            "https://x.test/a",
            "https://files.example.com/a b",
            "https://files.example.com/\u{4e2d}.wav",
            "https://files.example.com\\@evil.com/a",
            "https://files.example.com/a#b",
            "https://files.example.com\n/a",
            "https:files.example.com/a",
            "https:/files.example.com/a",
            "https:///files.example.com/a",
            "https:\\\\files.example.com/a",
            "https://files%2eexample.com/a",
            "https://files.example%E3%80%82com/a",
            "https://%31%32%37.0.0.1/a",
            "https://evil.com%2f.files.example.com/a",
            "https://evil.com%00.files.example.com/a",
            "https://files.example.com%40evil.com/a",
            "https://files.example.com:443@evil.com/a",
            "https://@files.example.com/a",
            "https://:@files.example.com/a",
            "https://files.example.com:/a",
            "https://files.example.com:0x1bb/a",
            "https://files.example.com:99999/a",
            "https://files.example.com../a",
            "https://files..example.com/a",
            "https://.example.com/a",
            "https://*.example.com/a",
            "https://a$b.example.com/a",
            "https://-a.example.com/a",
            "https://127.1/a",
            "https://127.0.0.1./a",
            "https://127.0.0.1.:80/a",
            "https://0x7f000001/a",
            "https://017700000001/a",
            "https://[::]/a",
            "https://[64:ff9b::7f00:1]/a",
            "https://[fe80::1%25eth0]/a",
            "https://localhost./a",
            "https://LOCALHOST/a",
            "https://ip6-localhost/a",
            "https://host.localdomain/a",
            "https://metadata.google.internal/a",
            "https://kubernetes.default.svc/a",
            "https://router.home.arpa/a",
            "https://a.onion/a",
            "https://nas.home/a",
            "https://xn--.example.com/a",
        ] {
            assert!(host(url, false).is_err(), "{url:?}");
        }
        assert!(host(&format!("https://files.example.com/{}", "x".repeat(2048)), false).is_err());
    }
}
