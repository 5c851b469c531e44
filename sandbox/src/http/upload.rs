//! `POST` of a form to the storage: a local file (OSS, *PostObject*, with the fields that Model Studio documents in
//! *Upload a file for a temporary URL*).

use std::collections::HashMap;

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, Limited};
use hyper::{
    HeaderMap, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use multer::{Constraints, Field, Multipart, SizeLimit};
use tempfile::NamedTempFile;
use tokio::{fs::File, io::AsyncWriteExt};

use super::{
    Answer,
    call::{Call, typed},
};
use crate::{
    core::Core,
    storage::{Denial, Put},
};

/// The fields of the form; `x-oss-content-type` is the vendor's SDKs'.
const FIELDS: [&str; 8] = [
    "OSSAccessKeyId",
    "Signature",
    "policy",
    "x-oss-object-acl",
    "x-oss-forbid-overwrite",
    "key",
    "success_action_status",
    "x-oss-content-type",
];
/// Bounds a field, and all that is not the file.
const FIELD_MAX: u64 = 16 << 10;
const REST_MAX: u64 = 1 << 20;

/// A form that was read whole.
#[derive(Debug)]
pub(super) struct Form {
    put: Put,
    status: StatusCode,
}

type Fields = HashMap<&'static str, String>;

/// Reads the form of an upload, whose file may have `most` bytes. What stands behind the file is not read.
pub(super) async fn receive(headers: &HeaderMap, body: Incoming, most: u64) -> Result<Form, Denial> {
    if !headers.contains_key(CONTENT_LENGTH) {
        let message = "You must provide the Content-Length HTTP header.";
        return Err(Denial::new(StatusCode::LENGTH_REQUIRED, "MissingContentLength", message));
    }
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(content_type).map_err(|_| Denial::malformed())?;
    let longest = usize::try_from(most.saturating_add(REST_MAX)).unwrap_or(usize::MAX);
    let mut body = Limited::new(body, longest).into_data_stream();
    let limit = SizeLimit::new().per_field(FIELD_MAX).for_field("file", u64::MAX);
    let form = Multipart::with_constraints(&mut body, boundary, Constraints::new().size_limit(limit));
    let outcome = form_of(form, most).await;
    // A peer that is still sending would not see the answer.
    while matches!(body.next().await, Some(Ok(_))) {}
    outcome
}

async fn form_of(mut form: Multipart<'_>, most: u64) -> Result<Form, Denial> {
    let mut fields = Fields::new();
    while let Some(field) = form.next_field().await.map_err(|_| Denial::malformed())? {
        let name = field.name().unwrap_or_default().to_owned();
        if name == "file" {
            return form_with(fields, stored(field, most).await?);
        }
        let Some(known) = FIELDS.into_iter().find(|known| *known == name) else {
            let name: String = name.chars().take(64).collect();
            return Err(Denial::argument(format!("{name} is no documented field.")));
        };
        let value = field.text().await.map_err(|_| Denial::malformed())?;
        if fields.insert(known, value).is_some() {
            return Err(Denial::argument(format!("{known} stands there more than once.")));
        }
    }
    Err(missing("file"))
}

/// The file; none if it is longer than `most`.
async fn stored(mut field: Field<'_>, most: u64) -> Result<Option<NamedTempFile>, Denial> {
    let no_space = |_| Denial::exhausted("The sandbox cannot keep the file.");
    let (file, path) = NamedTempFile::new().map_err(no_space)?.into_parts();
    let mut file = File::from_std(file);
    let mut length = 0;
    while let Some(chunk) = field.chunk().await.map_err(|error| match error {
        multer::Error::StreamReadFailed(_) => Denial::too_large(),
        _ => Denial::malformed(),
    })? {
        length += chunk.len() as u64;
        if length > most {
            return Ok(None);
        }
        file.write_all(&chunk).await.map_err(no_space)?;
    }
    file.flush().await.map_err(no_space)?;
    Ok(Some(NamedTempFile::from_parts(file.into_std().await, path)))
}

fn form_with(mut fields: Fields, file: Option<NamedTempFile>) -> Result<Form, Denial> {
    let mut take = |name: &'static str| fields.remove(name).ok_or_else(|| missing(name));
    let put = Put {
        access_key_id: take("OSSAccessKeyId")?,
        policy: take("policy")?,
        signature: take("Signature")?,
        acl: take("x-oss-object-acl")?,
        forbid_overwrite: take("x-oss-forbid-overwrite")?,
        key: take("key")?,
        file,
    };
    // 204 unless another one is asked for (*PostObject*).
    let status = match fields.get("success_action_status").map(String::as_str) {
        Some("200") => StatusCode::OK,
        None => StatusCode::NO_CONTENT,
        Some(_) => {
            return Err(Denial::argument("success_action_status: the documented value is 200.".into()));
        }
    };
    Ok(Form { put, status })
}

fn missing(field: &str) -> Denial {
    let message = format!(
        "Bucket POST must contain a field named '{field}'. If it is specified, check the order of the fields."
    );
    Denial::argument(message)
}

pub(super) fn answer(core: &Core, call: &Call) -> Answer {
    let form = call.form.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    let form = form.unwrap_or_else(|| Err(Denial::malformed()));
    let kept = form.and_then(|form| core.storage.put(form.put, core.clock.now()).map(|()| form.status));
    Ok(match kept {
        Ok(status) => typed(status, "application/xml", Bytes::new()),
        Err(denial) => denied(&denial, &call.request_id),
    })
}

/// OSS's error body.
fn denied(denial: &Denial, request_id: &str) -> Response<Bytes> {
    let escaped = denial.message.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>\n  <Code>{}</Code>\n  <Message>{escaped}</Message>\n  \
         <RequestId>{request_id}</RequestId>\n</Error>\n",
        denial.code
    );
    typed(denial.status, "application/xml", body)
}
