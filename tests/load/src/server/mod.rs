//! The servers that are compared, each a process of its own on the server's core.

mod bare;
mod broker;
mod cluster;
mod peer;
mod redis;
mod relay;
mod sandbox;
mod upstream;

use std::net::SocketAddr;

pub(crate) use self::{
    bare::{Answer, Bare, serve as serve_bare},
    broker::{Broker, build as build_broker, config_of, environment, hash, line_count},
    cluster::Cluster,
    peer::Peer,
    redis::{Redis, Usage},
    relay::{Direct, Relay},
    sandbox::{Sandbox, serve as serve_sandbox},
    upstream::{KEY, Upstream},
};

/// A server that can be loaded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endpoint {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Its process.
    pub(crate) pid: u32,
}
