//! TLS with the certificate of the site, whichever is in force when a connection begins.

use std::{fmt, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;

use crate::issue::Issue;

/// Accepts TLS connections to `issue`, whose site has a certificate.
#[must_use]
pub fn acceptor(issue: &Arc<Issue>) -> TlsAcceptor {
    let builder = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into());
    let builder = builder.with_safe_default_protocol_versions().expect("the provider has what they need");
    let mut config =
        builder.with_no_client_auth().with_cert_resolver(Arc::new(CertificateInForce(issue.clone())));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

struct CertificateInForce(Arc<Issue>);

impl ResolvesServerCert for CertificateInForce {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.site.load().tls.as_ref().map(|tls| tls.certified_key().clone())
    }
}

impl fmt::Debug for CertificateInForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertificateInForce")
    }
}
