//! Valet's broker: keeps the long-lived DashScope key, knows its apps, and exchanges an app's own
//! credential for a token that expires in 60 seconds.
//!
//! The modules are the stages of a request's path, in its order: [`identity`], [`policy`],
//! [`admission`], [`token`]; [`issue`] calls them, [`http`] speaks to the outside, and [`broker`] puts
//! everything together.

pub mod admission;
pub mod audit;
pub mod broker;
pub mod config;
pub mod doctor;
pub mod http;
pub mod identity;
pub mod issue;
pub mod jwt;
pub mod keyring;
pub mod ledger;
pub mod lifecycle;
pub mod net;
pub mod policy;
pub mod relay;
pub mod relay_token;
pub mod reload;
pub mod request_id;
pub mod secret;
pub mod shared_redis;
pub mod site;
pub mod telemetry;
pub mod token;
