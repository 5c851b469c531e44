//! Configuration → a client of Redis: address, user, TLS.

use redis::{
    Client, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo,
    TlsCertificates,
};

use crate::config;

/// A client; connects when it is asked to.
///
/// # Panics
/// Never: the configuration has checked the address and the roots.
pub(super) fn of(config: &config::Shared, protocol: ProtocolVersion) -> Client {
    let url = &config.url;
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port().unwrap_or(6379);
    let is_tls = url.scheme() == "rediss";
    let address = if is_tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    };
    let mut settings = RedisConnectionInfo::default()
        .set_protocol(protocol)
        .set_db(url.path().trim_matches('/').parse().unwrap_or(0))
        // Nothing that its user would need another right for.
        .set_skip_set_lib_name();
    if let Some(username) = &config.username {
        settings = settings.set_username(username);
    }
    if let Some(password) = &config.password {
        settings = settings.set_password(password.expose());
    }
    let info = address.into_connection_info().expect("an address is one").set_redis_settings(settings);
    match &config.roots {
        Some(roots) if is_tls => {
            let certificates =
                TlsCertificates { client_tls: None::<ClientTlsConfig>, root_cert: Some(roots.to_vec()) };
            Client::build_with_tls(info, certificates)
        }
        _ => Client::open(info),
    }
    .expect("the configuration was checked")
}
