//! `[tls]`: the certificate that the broker serves with.

use std::{fmt, path::Path, sync::Arc};

use rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use super::fields::Fields;

/// A certificate with its chain and key, which belong together.
#[derive(Clone)]
pub struct Tls(Arc<CertifiedKey>);

impl Tls {
    /// What a connection is served with.
    #[must_use]
    pub fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.0
    }
}

/// Another key of the same certificate would be one of another certificate: comparing those is enough.
impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.0.cert == other.0.cert
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(…)")
    }
}

/// `None` only if a mistake was noted.
pub(super) fn read(mut fields: Fields<'_>) -> Option<Tls> {
    let chain = fields.parsed("certificate", chain);
    let key = fields.parsed("key", |path| {
        let key = PrivateKeyDer::from_pem_file(Path::new(path)).map_err(|error| format!("{path}: {error}"));
        key.map(|key| (key, path.to_owned()))
    });
    if let Some((_, path)) = &key {
        fields.secret_file("key", Path::new(path));
    }
    fields.require("certificate", "a file with the certificate and its chain, in PEM");
    fields.require("key", "a file with the certificate's private key, in PEM");
    let certified = chain.zip(key).and_then(|(chain, (key, _))| {
        let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
        certified
            .map_err(|error| fields.mistake("key", format!("does not fit the certificate: {error}")))
            .ok()
    });
    fields.finish();
    certified.map(|certified| Tls(Arc::new(certified)))
}

fn chain(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(Path::new(path)).and_then(Iterator::collect);
    let chain: Vec<_> = read.map_err(|error| format!("{path}: {error}"))?;
    if chain.is_empty() { Err(format!("{path}: holds no certificate in PEM")) } else { Ok(chain) }
}
