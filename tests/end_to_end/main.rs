//! Real broker, client and sandbox in one process, over real sockets. Time is one clock that only the
//! tests advance; what reached the upstream is read from the sandbox's journal.
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

/// Exchanges written down, to be compared with those on file.
mod exchange;
/// Sandbox and broker whose time stands still.
mod harness;
/// An identity provider, as far as the broker sees it.
mod issuer;
/// Keys that sign tokens.
mod jose;
/// What replicas share their state on.
mod redis;
/// A stage whose app is at the relay.
mod relayed;
/// Connections without a client.
mod wire;

/// Apps that sign who they are.
mod assertions;
/// One line a decision.
mod audit;
/// What hostile peers send, and how slowly.
mod bounds;
/// What a success says.
mod contract;
/// What `valet-server doctor` finds.
mod doctor;
/// The OpenAPI document, held against every answer.
mod document;
/// Never handed out dying, never promised longer than it lives.
mod expiry;
/// The samples of the vendor's documentation.
mod fixtures;
/// Hostile apps and users at the relay.
mod hostile_apps;
/// What callers write that would like to be a line of its own.
mod injection;
/// Whose tasks and results: callers at random against a model.
mod isolation;
/// The keys that issuers publish.
mod issuer_keys;
/// Upstream keys: quarantine, probes, throttling, the next one.
mod keys;
/// What the relay remembers beyond its process, and what of it counts against quotas.
mod ledger;
/// How much apps, subjects and addresses may ask for.
mod limits;
/// What is counted.
mod metrics;
/// The third door: what OAuth has to say, and how.
mod oauth;
/// Web pages: who may read what, and the playground.
mod pages;
/// The guide for phone apps.
mod phones;
/// Refresh ahead, and stale rather than down.
mod refresh;
/// Every refusal that a caller can bring about.
mod refusals;
/// The relay: tasks of one's own.
mod relay;
/// Relay tokens, and what ends them.
mod relay_tokens;
/// A changed configuration.
mod reload;
/// Several brokers that share their state on a Redis, and what becomes of them without it.
mod replicas;
/// Results through the relay.
mod results;
/// Canaries: no secret is written down anywhere.
mod secrets;
/// The two stages of a stop.
mod shutdown;
/// One mint at a time.
mod single_flight;
/// Users for whom an identity provider vouches.
mod subjects;
/// The client's whole loop.
mod tasks;
/// The `oauth2` crate as a client; `tests/oauth_clients` has those of other languages.
mod third_party;
/// TLS in the binary.
mod tls;
/// Spans, as a collector gets them.
#[cfg(feature = "otel")]
mod traces;
/// Faults while many ask at once.
mod under_load;
/// What callers are told of the upstream's faults.
mod upstream_faults;
/// More than one upstream.
mod upstreams;
/// Waiting at the relay.
mod waiting;
/// Least lives, refused tokens, tokens of one's own.
mod wishes;
/// Jobs of orchestrators and CI.
mod workloads;
