//! `GET /uploads?action=getPolicy`: the right to put a local file into the temporary storage (Model Studio, *Upload a
//! file for a temporary URL*).

use hyper::StatusCode;
use serde::Serialize;

use super::{
    Answer,
    call::{Call, json},
};
use crate::{
    contract::{Model, Refusal},
    core::Core,
    storage::{ACL, CAPACITY, FORBID_OVERWRITE, Owner, POLICY_LIFE},
};

#[derive(Debug, Serialize)]
struct Allowed<'a> {
    request_id: &'a str,
    data: Data<'a>,
}

#[derive(Debug, Serialize)]
struct Data<'a> {
    policy: String,
    signature: String,
    upload_dir: String,
    upload_host: &'a str,
    expire_in_seconds: u64,
    max_file_size_mb: u64,
    capacity_limit_mb: u64,
    oss_access_key_id: &'a str,
    x_oss_object_acl: &'a str,
    x_oss_forbid_overwrite: &'a str,
}

pub(super) fn answer(core: &Core, call: &Call) -> Answer {
    let now = core.clock.now();
    let caller = call.caller(core, now)?;
    let [action, model] = call.query(["action", "model"])?;
    if action.as_deref() != Some("getPolicy") {
        return Err(Refusal::parameter("action", "must be getPolicy"));
    }
    let model = model.filter(|model| !model.is_empty());
    let model =
        model.ok_or_else(|| Refusal::parameter("model", "name the model that is to read the file"))?;
    let model = Model::named(&model)
        .ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "ModelNotFound", "The model does not exist."))?;
    core.accounts.take_policy(&caller.account, model.name(), now)?;
    let owner = Owner { account: caller.account.name.clone(), model: model.name() };
    let policy = core.storage.allow(owner, now, core.clock.unix())?;
    let data = Data {
        policy: policy.policy,
        signature: policy.signature,
        upload_dir: policy.folder,
        upload_host: &core.storage_url,
        expire_in_seconds: POLICY_LIFE.as_secs(),
        max_file_size_mb: core.storage.file_max_mb,
        capacity_limit_mb: CAPACITY >> 20,
        oss_access_key_id: &core.storage.access_key_id,
        x_oss_object_acl: ACL,
        x_oss_forbid_overwrite: FORBID_OVERWRITE,
    };
    Ok(json(&Allowed { request_id: &call.request_id, data }))
}
