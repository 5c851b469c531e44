//! The OpenAPI document says what is served: every answer of every test is held against it.

use std::{collections::BTreeSet, sync::LazyLock};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Stage, answered};

fn document(public_url: &str) -> Value {
    serde_json::from_slice(&valet_server::http::document(public_url)).unwrap()
}

/// Fails unless the document has such an answer, of this status, type and body, to such a request.
pub(crate) fn agrees(method: &Method, path: &str, answer: &Answer) {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| document(""));
    let document = &*DOCUMENT;
    let status = answer.status.to_string();
    let about = format!("{method} {path}: {status}: {}", answer.text);
    let documented = &document["paths"][template(document, path)];
    if documented.is_null() {
        return assert_eq!(status, "404", "{about}");
    }
    let operation = &documented[method.as_str().to_lowercase()];
    if operation.is_null() {
        let read = method == Method::HEAD && !documented["get"].is_null();
        return assert!(read || status == "405", "{about}");
    }
    let response = &operation["responses"][&status];
    assert!(response.is_object(), "not documented: {about}");
    for (name, _) in response["headers"].as_object().into_iter().flatten() {
        assert!(answer.header(name).is_some(), "{name} is missing: {about}");
    }
    let types = response["content"].as_object().unwrap();
    let content_type = answer.header("content-type").unwrap().split(';').next().unwrap();
    let content = types.get(content_type).unwrap_or_else(|| panic!("{content_type}: {about}"));
    if content_type.ends_with("json") {
        conforms(document, &content["schema"], &answer.json(), &about);
    }
}

/// The path of the document that `path` is one of.
fn template<'d>(document: &'d Value, path: &'d str) -> &'d str {
    let fits = |template: &&String| {
        let (mut parts, mut said) = (template.split('/'), path.split('/'));
        let same = |(part, said): (&str, &str)| part == said || (part.starts_with('{') && !said.is_empty());
        parts.by_ref().zip(said.by_ref()).all(same) && template.split('/').count() == path.split('/').count()
    };
    let mut paths = document["paths"].as_object().unwrap().keys();
    paths.find(fits).map_or(path, String::as_str)
}

/// Fails unless `value` is what a schema of the document says, and nothing more.
fn conforms(document: &Value, schema: &Value, value: &Value, about: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let named = document.pointer(name.trim_start_matches('#')).unwrap();
        return conforms(document, named, value, about);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed: Vec<_> = match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        several => several.as_array().unwrap().iter().filter_map(Value::as_str).collect(),
    };
    assert!(allowed.contains(&kind), "{value} is none of {allowed:?}: {about}");
    let (Value::Object(fields), Some(properties)) = (value, schema["properties"].as_object()) else { return };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        assert!(fields.contains_key(name), "{name} is missing: {about}");
    }
    for (name, field) in fields {
        let property = properties.get(name).unwrap_or_else(|| panic!("{name} is not documented: {about}"));
        conforms(document, property, field, &format!("{name} of {about}"));
    }
}

#[tokio::test]
async fn what_is_documented_is_served_and_nothing_else_is() {
    let stage = Stage::new().await;
    let paths = document("")["paths"].as_object().unwrap().clone();
    let methods = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    for (path, operations) in &paths {
        for method in &methods {
            let answer = answered(stage.request(method.clone(), path)).await;
            let is_documented = operations.get(method.as_str().to_lowercase()).is_some();
            let is_read = *method == Method::HEAD && operations.get("get").is_some();
            assert_eq!(answer.status != 405, is_documented || is_read, "{method} {path}");
            if answer.status == 405 {
                let allowed = answer.header("allow").unwrap_or_default().split(", ").map(str::to_lowercase);
                let allowed: BTreeSet<_> = allowed.filter(|method| method != "head").collect();
                assert_eq!(allowed, operations.as_object().unwrap().keys().cloned().collect(), "{path}");
            }
            // Of what is named in a path there may be none.
            assert!(answer.status != 404 || path.contains('{'), "{method} {path}");
        }
    }
    // Every path that the routes name, as they stand in the source.
    let source = include_str!("../../server/src/http/mod.rs");
    let literals = source.split('"').skip(1).step_by(2).filter(|text| text.starts_with('/'));
    let routed: BTreeSet<_> = literals.filter(|text| !text.ends_with('/')).collect();
    assert!(routed.len() >= 2 && routed.iter().all(|path| paths.contains_key(*path)), "{routed:?}");
    stage.stop().await;
}

#[tokio::test]
async fn the_fields_of_a_request_are_the_documented_ones() {
    let stage = Stage::new().await;
    let document = document("");
    let named = |schema: &Value| -> BTreeSet<String> {
        schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
    };
    let known = |refused: Value| -> BTreeSet<String> {
        let (_, known) = refused["detail"].as_str().unwrap().split_once("the fields are ").unwrap();
        known.split(", ").map(str::to_owned).collect()
    };
    let schemas = &document["components"]["schemas"];
    let in_json = named(&schemas["TokenRequest"]);
    assert_eq!(known(stage.ask_for(&json!({ "no_such_field": 1 })).await.json()), in_json);

    let with_form = stage.v1().header("content-type", "application/x-www-form-urlencoded");
    let refused = answered(with_form.body("no_such_field=1")).await.json();
    let parts = schemas["TokenRequestForm"]["allOf"].as_array().unwrap();
    let in_form = parts.iter().flat_map(named).chain(in_json).collect();
    assert_eq!(known(refused), in_form);
    stage.stop().await;
}

#[tokio::test]
async fn the_document_is_served_and_names_the_public_url() {
    let stage = Stage::new().await;
    assert_eq!(stage.page("/openapi.json").await.json(), document(""));
    let servers = document("https://valet.example.com")["servers"].clone();
    assert_eq!(servers, json!([{ "url": "https://valet.example.com" }]));
    stage.stop().await;
}
