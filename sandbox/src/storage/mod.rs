//! The temporary storage for local files: who may put one there, and the files, each for 48 hours; knows no HTTP.
//!
//! Sources: Model Studio, *Upload a file for a temporary URL*; OSS, *PostObject*, and *How to handle common errors
//! when the PostObject operation is called*.

mod denial;
mod files;

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use aws_lc_rs::hmac;
use data_encoding::BASE64;
use serde_json::json;
use tempfile::NamedTempFile;

pub(crate) use self::{
    denial::Denial,
    files::{CAPACITY, Files, Owner},
};
use crate::{contract::Refusal, ids, stamp};

/// How long a policy may be used (the documented sample), and how long a file is kept.
pub(crate) const POLICY_LIFE: Duration = Duration::from_secs(300);
/// The one access control and rule that policies allow, as the documented sample has them.
pub(crate) const ACL: &str = "private";
pub(crate) const FORBID_OVERWRITE: &str = "true";
const MEBIBYTE: u64 = 1 << 20;
/// The longest name of a file (*PostObject*).
const KEY_MAX: usize = 1023;
/// A bound on memory, not a documented limit.
const GRANTS_MAX: usize = 100_000;

/// The storage of a sandbox.
#[derive(Debug)]
pub(crate) struct Storage {
    pub(crate) access_key_id: String,
    /// In mebibytes.
    pub(crate) file_max_mb: u64,
    secret: hmac::Key,
    /// By their policy.
    grants: Mutex<HashMap<String, Grant>>,
    pub(crate) files: Files,
}

/// What a policy allows: to put files into a folder.
#[derive(Clone, Debug)]
struct Grant {
    folder: String,
    owner: Owner,
    until: Instant,
}

/// A policy as it is handed out.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) policy: String,
    pub(crate) signature: String,
    pub(crate) folder: String,
}

/// What is put there, and by which right.
#[derive(Debug)]
pub(crate) struct Put {
    pub(crate) access_key_id: String,
    pub(crate) policy: String,
    pub(crate) signature: String,
    pub(crate) acl: String,
    pub(crate) forbid_overwrite: String,
    pub(crate) key: String,
    /// None if it is larger than a policy allows.
    pub(crate) file: Option<NamedTempFile>,
}

impl Storage {
    /// Storage for files of at least `bytes`; the limit is in whole mebibytes.
    pub(crate) fn new(bytes: u64) -> Self {
        Self {
            access_key_id: format!("LTAI{}", &ids::secret("")[..16]),
            file_max_mb: bytes.div_ceil(MEBIBYTE).max(1),
            secret: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, ids::secret("").as_bytes()),
            grants: Mutex::default(),
            files: Files::default(),
        }
    }

    /// The largest file that may be put there.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.file_max_mb.saturating_mul(MEBIBYTE)
    }

    /// Allows `owner` to put files into a folder of their own, until [`POLICY_LIFE`] from `now`, which is `unix` on
    /// the wall clock.
    ///
    /// # Errors
    /// 503 if the sandbox holds too many policies.
    pub(crate) fn allow(&self, owner: Owner, now: Instant, unix: Duration) -> Result<Policy, Refusal> {
        let date = &stamp::written(unix)[..10];
        let folder = format!("dashscope-instant/{}/{date}/{}", ids::fingerprint(&owner.account), ids::uuid());
        let policy = json!({
            "expiration": stamp::rfc3339(unix + POLICY_LIFE),
            "conditions": [
                ["content-length-range", 0, self.bytes_max()],
                ["starts-with", "$key", folder],
                { "x-oss-object-acl": ACL },
                { "x-oss-forbid-overwrite": FORBID_OVERWRITE },
            ],
        });
        let policy = BASE64.encode(policy.to_string().as_bytes());
        let signature = BASE64.encode(hmac::sign(&self.secret, policy.as_bytes()).as_ref());
        let mut grants = self.grants();
        grants.retain(|_, grant| now < grant.until);
        if grants.len() >= GRANTS_MAX {
            return Err(Refusal::exhausted("The sandbox holds too many policies."));
        }
        grants.insert(policy.clone(), Grant { folder: folder.clone(), owner, until: now + POLICY_LIFE });
        Ok(Policy { policy, signature, folder })
    }

    /// Keeps a file, if it may be put there.
    ///
    /// # Errors
    /// With OSS's own codes.
    pub(crate) fn put(&self, put: Put, now: Instant) -> Result<(), Denial> {
        if put.access_key_id != self.access_key_id {
            let message = "The OSS Access Key Id you provided does not exist in our records.";
            return Err(Denial::forbidden("InvalidAccessKeyId", message));
        }
        let signature = BASE64.decode(put.signature.as_bytes()).unwrap_or_default();
        hmac::verify(&self.secret, put.policy.as_bytes(), &signature).map_err(|_| {
            let message = "The request signature we calculated does not match the signature you provided.";
            Denial::forbidden("SignatureDoesNotMatch", message)
        })?;
        // A policy with that signature was handed out here: if it is not known, it is forgotten.
        let grant = self.grants().get(&put.policy).filter(|grant| now < grant.until).cloned();
        let grant = grant.ok_or_else(|| Denial::policy("Policy expired."))?;
        let failed = |condition| Denial::policy(&format!("Policy Condition failed: {condition}"));
        let name = put.key.strip_prefix(&grant.folder).and_then(|name| name.strip_prefix('/'));
        if name.is_none_or(str::is_empty) || put.key.len() > KEY_MAX {
            return Err(failed(json!(["starts-with", "$key", grant.folder])));
        }
        if put.acl != ACL {
            return Err(failed(json!(["eq", "$x-oss-object-acl", ACL])));
        }
        if put.forbid_overwrite != FORBID_OVERWRITE {
            return Err(failed(json!(["eq", "$x-oss-forbid-overwrite", FORBID_OVERWRITE])));
        }
        let file = put.file.ok_or_else(Denial::too_large)?;
        self.files.keep(put.key, file, grant.owner, now)
    }

    /// Changes are single insertions and removals, so a poisoned lock guards nothing broken.
    fn grants(&self) -> MutexGuard<'_, HashMap<String, Grant>> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
