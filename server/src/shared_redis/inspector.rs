//! Looks at a Redis for `doctor`: whether it can be used, by whom, and how it is set up. Leaves nothing behind.

use redis::{
    AsyncConnectionConfig, ErrorKind, ProtocolVersion, RedisError, Script, aio::MultiplexedConnection,
};

use super::{client, keyrings, link::REPLICA_LIFE, link::millis, seal::Seals};
use crate::config;

/// All commands that a replica uses, on a key that lives for a second at most.
const PROBE: &str = r"
local key = KEYS[1]
local calls = {
  {'TIME'}, {'SET', key, '1', 'NX', 'PX', '1000'}, {'GET', key}, {'EXISTS', key}, {'PTTL', key}, {'PEXPIRE', key, '1000'},
  {'PEXPIREAT', key, '9999999999999'}, {'DEL', key}, {'HSET', key, 'a', '1'}, {'PEXPIRE', key, '1000'}, {'HGET', key, 'a'},
  {'HMGET', key, 'a', 'b'}, {'HGETALL', key}, {'HDEL', key, 'a'}, {'ZADD', key, '1', 'a'}, {'PEXPIRE', key, '1000'},
  {'ZCARD', key}, {'ZCOUNT', key, '0', '1'}, {'ZSCORE', key, 'a'}, {'ZRANGEBYSCORE', key, '1', '2'}, {'ZREMRANGEBYSCORE', key, '2', '3'}, {'ZREM', key, 'a'},
  {'PUBLISH', ARGV[1], 'examined'},
}
for _, call in ipairs(calls) do
  local answer = redis.pcall(unpack(call))
  if type(answer) == 'table' and answer.err then return call[1] .. ': ' .. answer.err end
end
return ''
";

/// What was found.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Its version; none if its user may not ask.
    pub version: Option<String>,
    /// What it does when its memory is full; none if its user may not ask.
    pub policy: Option<String>,
    /// What its user may not do, or it cannot; none if it can do all that a replica needs.
    pub refuses: Option<String>,
    /// The names of the keys that replicas have, each; of those that live.
    pub keyrings: Vec<String>,
}

/// Why it cannot be looked at.
#[derive(Clone, Debug)]
pub enum Uninspected {
    /// It does not know the user, or the password.
    User(String),
    /// There is no connection, or it does not answer.
    Unreached(String),
}

/// Looks at the Redis of a configuration.
///
/// # Errors
/// If it cannot be looked at.
pub async fn inspect(config: &config::Shared) -> Result<Inspection, Uninspected> {
    let failed = |error: RedisError| match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS")) => {
            Uninspected::User(error.to_string())
        }
        _ => Uninspected::Unreached(error.to_string()),
    };
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(config.connect_time))
        .set_response_timeout(Some(config.response_time));
    let client = client::of(config, ProtocolVersion::RESP2);
    let mut connection =
        client.get_multiplexed_async_connection_with_config(&settings).await.map_err(failed)?;
    let _: String = redis::cmd("PING").query_async(&mut connection).await.map_err(failed)?;
    let info: Option<String> = redis::cmd("INFO").query_async(&mut connection).await.ok();
    let line = |name: &str| {
        let info = info.as_deref()?;
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(|text| text.trim().to_owned())
    };
    let (version, policy) = (line("redis_version"), line("maxmemory_policy"));
    let key = format!("{}examined:{:016x}", config.prefix, fastrand::u64(..));
    let probe = Script::new(PROBE);
    let mut probe = probe.key(key);
    let probed = probe.arg(format!("{}said", config.prefix)).invoke_async::<String>(&mut connection).await;
    let refuses = match probed {
        Ok(refused) => Some(refused).filter(|refused| !refused.is_empty()),
        Err(error) => Some(error.to_string()),
    };
    let keyrings = if refuses.is_none() { keyrings_of(config, &mut connection).await } else { Vec::new() };
    Ok(Inspection { version, policy, refuses, keyrings })
}

async fn keyrings_of(config: &config::Shared, connection: &mut MultiplexedConnection) -> Vec<String> {
    let script = Script::new(keyrings::TELL);
    let mut script = script.key(format!("{}keys", config.prefix));
    script.key(format!("{}replicas", config.prefix)).arg("").arg("").arg(millis(REPLICA_LIFE));
    let others = script.invoke_async(connection).await.unwrap_or_default();
    keyrings::opened(&Seals::new(&config.keys), others)
}
