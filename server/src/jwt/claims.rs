//! What a token says: claims, read by name and type.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error, MapAccess, Visitor},
};
use serde_json::{Map, Value};

/// The latest time that is one, in Unix seconds: the end of the year 9999. What is later was meant in
/// milliseconds, or in bad faith.
const LATEST: f64 = 253_402_300_799.0;

/// The claims of a token, read by name and type.
#[derive(Debug)]
pub struct Claims(Map<String, Value>);

/// A claim that should be a time is none.
#[derive(Clone, Copy, Debug)]
pub struct NoTime;

impl Claims {
    /// All of them, as `T` has them.
    #[must_use]
    pub fn typed<T: DeserializeOwned>(self) -> Option<T> {
        serde_json::from_value(Value::Object(self.0)).ok()
    }

    /// Whether there is such a claim, of any type.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A claim that is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// A claim that is a time, in Unix seconds (RFC 7519, *NumericDate*).
    ///
    /// # Errors
    /// If it is there and no time, or one beyond the year 9999.
    pub fn time(&self, name: &str) -> Result<Option<f64>, NoTime> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        value.as_f64().filter(|time| (0.0..=LATEST).contains(time)).map(Some).ok_or(NoTime)
    }

    /// Whether a claim is one of `values`, or a list with one of them.
    #[must_use]
    pub fn is_any(&self, name: &str, values: &[String]) -> bool {
        let fits = |value: &Value| match value {
            Value::String(text) => values.contains(text),
            Value::Bool(truth) => values.contains(&truth.to_string()),
            Value::Number(number) => values.contains(&number.to_string()),
            _ => false,
        };
        match self.0.get(name) {
            Some(Value::Array(items)) => items.iter().any(fits),
            Some(value) => fits(value),
            None => false,
        }
    }

    /// The audiences (RFC 7519 §4.1.3): text, or a list of it; `None` if it is something else.
    #[must_use]
    pub fn audiences(&self) -> Option<Vec<&str>> {
        match self.0.get("aud")? {
            Value::String(one) => Some(vec![one]),
            Value::Array(several) => several.iter().map(Value::as_str).collect(),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OnceEach)
    }
}

/// Refuses a claim that stands there twice (RFC 7519 §4): others might read the other one.
struct OnceEach;

impl<'de> Visitor<'de> for OnceEach {
    type Value = Claims;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claims, A::Error> {
        let mut claims = Map::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            if claims.insert(name, value).is_some() {
                return Err(A::Error::custom("a claim stands there twice"));
            }
        }
        Ok(Claims(claims))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_stands_there_once() {
        let read = |text: &str| serde_json::from_str::<Claims>(text);
        assert_eq!(read(r#"{"sub":"a","hd":"b"}"#).unwrap().text("hd"), Some("b"));
        for twice in [r#"{"sub":"a","sub":"b"}"#, r#"{"x":1,"\u0078":1}"#] {
            assert!(read(twice).is_err(), "{twice}");
        }
    }

    #[test]
    fn a_time_is_a_number_that_time_can_be() {
        let time = |text: &str| {
            let claims: Claims = serde_json::from_str(&format!("{{\"exp\":{text}}}")).unwrap();
            claims.time("exp").ok().flatten()
        };
        assert_eq!((time("0"), time("1.5"), time("253402300799")), (Some(0.0), Some(1.5), Some(LATEST)));
        for none in ["-1", "1e300", "1800000000000", "\"1\"", "true", "[1]", "null"] {
            assert_eq!(time(none), None, "{none}");
        }
    }
}
