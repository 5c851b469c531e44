//! The fields of a body, from JSON or a form: taken one by one, and named when they are wrong.

use std::{borrow::Cow, fmt};

use http::{HeaderMap, header};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

use crate::issue::Unreadable;

const FORM: &str = "application/x-www-form-urlencoded";
/// The most fields of a body: each is compared with all before it.
const MOST: usize = 64;
/// What an exchange may name more than once (RFC 8693 §2.1).
const REPEATABLE: [&str; 2] = ["audience", "resource"];

/// The fields of a body that are not taken yet, read where they stand. No `Debug`: they may hold a secret.
pub(super) struct Fields<'b> {
    left: Vec<Field<'b>>,
    /// What was asked for while any were left.
    taken: Vec<&'static str>,
    is_form: bool,
}

type Field<'b> = (Cow<'b, str>, Value<'b>);

enum Value<'b> {
    Text(Cow<'b, str>),
    Number(u32),
    /// Nothing that a token request has: named by what it is.
    Other(&'static str),
}

impl<'b> Fields<'b> {
    fn of(left: Vec<Field<'b>>, is_form: bool) -> Self {
        Self { left, taken: Vec::new(), is_form }
    }

    /// Reads a body by its `Content-Type`; an empty one has no fields.
    pub(super) fn read(headers: &HeaderMap, body: &'b [u8]) -> Result<Self, Unreadable> {
        if body.is_empty() {
            return Ok(Self::of(Vec::new(), false));
        }
        let essence = essence(headers);
        let is_form = essence.eq_ignore_ascii_case(FORM);
        let left = if is_form {
            form(body)
        } else if essence.eq_ignore_ascii_case("application/json") {
            object(body)?
        } else {
            let accepted = "application/json or application/x-www-form-urlencoded, or send none";
            return Err(Unreadable::MediaType { accepted });
        };
        once_each(&left, &[])?;
        Ok(Self::of(left, is_form))
    }

    /// Reads a form as OAuth has it: what is empty is not there (RFC 6749 §3.2).
    pub(super) fn parameters(headers: &HeaderMap, body: &'b [u8]) -> Result<Self, Unreadable> {
        if !body.is_empty() && !essence(headers).eq_ignore_ascii_case(FORM) {
            return Err(Unreadable::MediaType { accepted: FORM });
        }
        let mut left = form(body);
        once_each(&left, &REPEATABLE)?;
        left.retain(|(_, value)| !matches!(value, Value::Text(text) if text.is_empty()));
        Ok(Self::of(left, true))
    }

    /// Whether the body is a form.
    pub(super) fn is_form(&self) -> bool {
        self.is_form
    }

    /// Takes a field that is text.
    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<Cow<'b, str>>, Unreadable> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::Number(_)) => Err(wrong(name, "must be text, not a number")),
            Some(Value::Other(kind)) => Err(wrong(name, &format!("must be text, not {kind}"))),
        }
    }

    /// Takes a field that is a whole number, in digits if it comes as text of a form.
    pub(super) fn number(&mut self, name: &'static str) -> Result<Option<u32>, Unreadable> {
        let number = match self.take(name) {
            None => return Ok(None),
            Some(Value::Number(number)) => Some(number),
            Some(Value::Text(text)) if self.is_form && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().ok()
            }
            Some(_) => None,
        };
        number.map(Some).ok_or_else(|| wrong(name, "must be a whole number"))
    }

    /// Ends the body: what was not taken is no field here.
    pub(super) fn finish(self) -> Result<(), Unreadable> {
        let Some((name, _)) = self.left.first() else { return Ok(()) };
        Err(wrong(name, &format!("is not a field here; the fields are {}", self.taken.join(", "))))
    }

    fn take(&mut self, name: &'static str) -> Option<Value<'b>> {
        if self.left.is_empty() {
            return None;
        }
        self.taken.push(name);
        let place = self.left.iter().position(|(left, _)| left == name)?;
        Some(self.left.swap_remove(place).1)
    }
}

/// The type of a body, without its parameters.
fn essence(headers: &HeaderMap) -> &str {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim()
}

/// The fields of a form; of more than there may be, one more.
fn form(body: &[u8]) -> Vec<Field<'_>> {
    form_urlencoded::parse(body).take(MOST + 1).map(|(name, value)| (name, Value::Text(value))).collect()
}

fn once_each(fields: &[Field<'_>], repeatable: &[&str]) -> Result<(), Unreadable> {
    if fields.len() > MOST {
        return Err(Unreadable::Body(format!("the body has more than {MOST} fields")));
    }
    for (place, (name, _)) in fields.iter().enumerate() {
        if !repeatable.contains(&&**name) && fields[..place].iter().any(|(before, _)| before == name) {
            return Err(wrong(name, "stands there twice"));
        }
    }
    Ok(())
}

/// What is wrong with a field; of a name that is not ours, the beginning is enough.
pub(super) fn wrong(name: &str, problem: &str) -> Unreadable {
    let field = name.chars().filter(|c| !c.is_control()).take(64).collect();
    Unreadable::Field { field, problem: problem.to_owned() }
}

/// The fields of a JSON object, in their order; one that is `null` is not there.
fn object(body: &[u8]) -> Result<Vec<Field<'static>>, Unreadable> {
    let unreadable =
        |problem: &dyn fmt::Display| Unreadable::Body(format!("the body is not JSON: {problem}"));
    // Anything else would be repeated in the parser's message, and may be a secret in the wrong place.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Unreadable::Body("the body must be a JSON object".into()));
    }
    serde_json::from_slice(body).map(|Object(fields)| fields).map_err(|error| unreadable(&error))
}

struct Object(Vec<Field<'static>>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InOrder)
    }
}

/// Keeps a field that stands there twice, which a map would not.
struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let mut fields = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, _>()? {
            let value = match value {
                serde_json::Value::Null => continue,
                serde_json::Value::String(text) => Value::Text(text.into()),
                serde_json::Value::Number(number) => {
                    let whole = number.as_u64().and_then(|number| number.try_into().ok());
                    whole.map_or(Value::Other("such a number"), Value::Number)
                }
                serde_json::Value::Bool(_) => Value::Other("a boolean"),
                serde_json::Value::Array(_) => Value::Other("a list"),
                serde_json::Value::Object(_) => Value::Other("an object"),
            };
            // The rest is still read, so that it is known to be JSON.
            if fields.len() <= MOST {
                fields.push((name.into(), value));
            }
        }
        Ok(Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const JSON: &str = "application/json; charset=utf-8";
    fn read(content_type: &'static str, body: &str) -> Result<(Option<u32>, Option<String>), Unreadable> {
        let value = HeaderValue::from_static(content_type);
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, value)]);
        let mut fields = Fields::read(&headers, body.as_bytes())?;
        let read = (fields.number("min_ttl")?, fields.text("subject")?.map(Cow::into_owned));
        fields.finish().map(|()| read)
    }

    #[test]
    fn json_and_form_say_the_same() {
        let json = read(JSON, r#"{"min_ttl": 30, "subject": "an na"}"#);
        let form = read(FORM, "min_ttl=30&subject=an+na");
        assert_eq!(json.unwrap(), form.unwrap());
        assert_eq!(read(JSON, r#"{"min_ttl": null}"#).unwrap(), (None, None));
    }

    #[test]
    fn a_wrong_field_is_named_in_plain_words() {
        let twice = "min_ttl: stands there twice";
        let number = "min_ttl: must be a whole number";
        let unknown = "ttl: is not a field here; the fields are min_ttl, subject";
        for (content_type, body, said) in [
            (JSON, r#"{"min_ttl": "soon"}"#, number),
            (JSON, r#"{"min_ttl": "30"}"#, number),
            (JSON, r#"{"min_ttl": -1}"#, number),
            (JSON, r#"{"min_ttl": 30.5}"#, number),
            (JSON, r#"{"min_ttl": 5000000000}"#, number),
            (JSON, r#"{"min_ttl": 1, "min_ttl": 1}"#, twice),
            (JSON, r#"{"subject": 7}"#, "subject: must be text, not a number"),
            (JSON, r#"{"subject": ["a"]}"#, "subject: must be text, not a list"),
            (JSON, r#"{"ttl": 30}"#, unknown),
            (FORM, "min_ttl=soon", number),
            (FORM, "min_ttl=%2B3", number),
            (FORM, "min_ttl=", number),
            (FORM, "min_ttl=1&min_ttl=1", twice),
            (FORM, "ttl=30", unknown),
        ] {
            assert_eq!(read(content_type, body).unwrap_err().to_string(), said, "{body}");
        }
    }

    #[test]
    fn what_is_no_single_object_is_refused() {
        for body in ["[]", "[30]", "null", "{", "{} {}", "{} x", "\"x\"", "\u{fffd}"] {
            assert!(matches!(read(JSON, body), Err(Unreadable::Body(_))), "{body}");
        }
        assert!(matches!(read("text/plain", "x").unwrap_err(), Unreadable::MediaType { .. }));
    }

    #[test]
    fn more_fields_than_anyone_has_are_not_compared() {
        let form = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join("&");
        let json = |count: usize| {
            let fields: Vec<_> = (0..count).map(|n| format!("\"{n}\":0")).collect();
            format!("{{{}}}", fields.join(","))
        };
        for (content_type, body) in
            [(FORM, form(65)), (FORM, form(4000)), (JSON, json(65)), (JSON, json(2000))]
        {
            let refused = read(content_type, &body).unwrap_err();
            assert_eq!(refused, Unreadable::Body("the body has more than 64 fields".into()));
        }
        assert!(matches!(read(FORM, &form(64)), Err(Unreadable::Field { .. })));
    }

    #[test]
    fn a_value_is_never_repeated() {
        for body in [
            r#"{"min_ttl": "canary"}"#,
            r#"{"subject": ["canary"]}"#,
            r#"{"subject": "canary"#,
            r#"{"other": "canary"}"#,
            r#""canary""#,
        ] {
            let error = read(JSON, body).unwrap_err();
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }
}
