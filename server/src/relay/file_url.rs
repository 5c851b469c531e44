//! The URLs of recordings. The upstream fetches them, and nothing here resolves them: what could lead it, or
//! anyone behind it, astray is refused by syntax.

use url::{Host, Url};

/// Names that are of no public host (IANA, *Special-Use Domain Names*; RFC 6762, 8375, 9476).
const SPECIAL: [&str; 10] =
    ["alt", "arpa", "example", "internal", "invalid", "lan", "local", "localhost", "onion", "test"];

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
    let name = match url.host() {
        Some(Host::Domain(name)) => name.trim_end_matches('.').to_ascii_lowercase(),
        Some(address) if private => return Ok(address.to_string()),
        _ => return Err("must name a host, not an address"),
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    if !private && (!name.contains('.') || SPECIAL.contains(&last)) {
        return Err("must name a host of the public Internet");
    }
    Ok(name)
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
        ] {
            assert!(host(url, false).is_err(), "{url:?}");
        }
        assert!(host(&format!("https://files.example.com/{}", "x".repeat(2048)), false).is_err());
    }
}
