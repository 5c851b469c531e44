//! The connection to Redis: there, or away. Nothing waits for it but for the time that one answer may take;
//! while it is away, whatever is asked of it fails at once. Knows nothing of what is asked.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, FromRedisValue, ProtocolVersion, PushInfo, PushKind,
    RedisError, Script, ScriptInvocation, Value, aio::MultiplexedConnection,
};
use tokio::sync::{Notify, broadcast};

use super::{Away, Metrics, SETTLE, Said, client, prelude::script};
use crate::config;

/// A replica that has not told that it lives for so long is not counted any more.
pub(super) const REPLICA_LIFE: Duration = Duration::from_secs(5);
/// How long it is known when it last told.
const REPLICA_MEMORY: Duration = Duration::from_secs(60);

/// The number of the first connection that is tried.
const FIRST: u64 = 1;

/// Says that this replica lives, and learns of the others and of the epoch: a word that stands from the first replica's
/// coming until everything is lost, with the time when it was written. One that tells no such time is none.
///
/// It writes, so that a server that takes nothing any more is away like one that does not answer.
const ATTEND: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local epoch = redis.call('GET', of('string', KEYS[1]))
local since = tonumber(string.match(epoch or '', ':(%d+)$'))
if not since or since > now + 60000 then
  since = now
  epoch = ARGV[1] .. ':' .. string.format('%.0f', now)
  redis.call('SET', KEYS[1], epoch)
end
redis.call('ZADD', of('zset', KEYS[2]), now, ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[4])
local replicas = redis.call('ZCOUNT', KEYS[2], now - ARGV[3], '+inf')
return {epoch, replicas, now - since}
";

/// The connection, and what is known while there is none.
pub(super) struct Link {
    client: Client,
    settings: AsyncConnectionConfig,
    prefix: String,
    /// This process, among the replicas.
    instance: String,
    attend: Script,
    joined: ArcSwapOption<Joined>,
    /// Tells connections apart: the end of an earlier one says nothing of the one that there is.
    connections: AtomicU64,
    replicas: AtomicU32,
    said: broadcast::Sender<Said>,
    /// Told when the connection falls.
    pub(super) fallen: Notify,
    pub(super) metrics: Metrics,
}

/// A connection that answers.
struct Joined {
    number: u64,
    connection: MultiplexedConnection,
    epoch: String,
}

impl Link {
    pub(super) fn new(config: &config::Shared, instance: String, metrics: Metrics) -> Arc<Self> {
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(config.connect_time))
            .set_response_timeout(Some(config.response_time))
            // A herd's claims find room.
            .set_pipeline_buffer_size(1024);
        Arc::new(Self {
            client: client::of(config, ProtocolVersion::RESP3),
            settings,
            prefix: config.prefix.clone(),
            instance,
            attend: script(ATTEND),
            joined: ArcSwapOption::empty(),
            connections: AtomicU64::new(0),
            replicas: AtomicU32::new(1),
            said: broadcast::channel(1024).0,
            fallen: Notify::new(),
            metrics,
        })
    }

    /// The name of a key.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The channel on which the replicas tell one another something.
    pub(super) fn channel(&self) -> String {
        self.key("said")
    }

    /// The name of this process among the replicas.
    pub(super) fn instance(&self) -> &str {
        &self.instance
    }

    pub(super) fn is_there(&self) -> bool {
        self.joined.load().is_some()
    }

    pub(super) fn epoch(&self) -> Option<String> {
        self.joined.load().as_ref().map(|joined| joined.epoch.clone())
    }

    /// How many replicas there are, this one among them, as far as is known.
    pub(super) fn replicas(&self) -> u32 {
        self.replicas.load(Relaxed).max(1)
    }

    /// What is said from now on.
    pub(super) fn listen(&self) -> broadcast::Receiver<Said> {
        self.said.subscribe()
    }

    /// Runs a script; `kind` is its name in the metrics.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        kind: &'static str,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, Away> {
        let joined = self.joined.load_full().ok_or(Away)?;
        let answer = script.invoke_async(&mut joined.connection.clone()).await;
        self.metrics.called(kind, answer.is_ok());
        answer.map_err(|error| {
            if is_general(&error) {
                self.fall(joined.number, &error);
            } else {
                // Of this key alone, which somebody has meddled with; everything else goes on.
                tracing::debug!(kind, %error, "the shared state answers with an error");
            }
            Away
        })
    }

    /// Says something to all replicas, this one among them.
    pub(super) async fn say(&self, said: &Said) -> Result<(), Away> {
        let joined = self.joined.load_full().ok_or(Away)?;
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(self.channel()).arg(said.text());
        let answer = publish.query_async::<u64>(&mut joined.connection.clone()).await;
        self.metrics.called("say", answer.is_ok());
        answer.map(drop).map_err(|error| {
            self.fall(joined.number, &error);
            Away
        })
    }

    /// Says that this replica lives, or joins the others if it has no connection.
    pub(super) async fn attend(self: &Arc<Self>) {
        let before = self.joined.load_full();
        let (number, attended) = match &before {
            Some(joined) => (joined.number, self.attended(joined.number, joined.connection.clone()).await),
            None => {
                let number = self.connections.fetch_add(1, Relaxed) + 1;
                (number, self.connect(number).await)
            }
        };
        self.metrics.called("attend", attended.is_ok());
        let (joined, replicas) = match attended {
            Ok(attended) => attended,
            Err(error) if before.is_some() => return self.fall(number, &error),
            Err(error) if number == FIRST => {
                return tracing::warn!(
                    reason = %error,
                    "the shared state is away; this replica begins with what it knows itself"
                );
            }
            Err(error) => return tracing::debug!(%error, "the shared state is still away"),
        };
        self.replicas.store(replicas, Relaxed);
        self.metrics.replicas(replicas);
        let epoch = joined.epoch.clone();
        match before {
            Some(before) if before.epoch == epoch => {}
            Some(before) => {
                // Only over the connection that it was asked over: it may have fallen meanwhile.
                let swapped = self.joined.compare_and_swap(&before, Some(Arc::new(joined)));
                if swapped.as_ref().is_some_and(|there| Arc::ptr_eq(there, &before)) {
                    tracing::warn!("the shared state was lost; this replica adds what it knows itself");
                    self.tell(Said::Joined);
                }
            }
            None => {
                self.joined.store(Some(Arc::new(joined)));
                self.metrics.is_there(true);
                tracing::info!(replicas, "the shared state is there");
                self.tell(Said::Joined);
            }
        }
    }

    async fn connect(self: &Arc<Self>, number: u64) -> Result<(Joined, u32), RedisError> {
        let settings = self.settings.clone().set_push_sender(listener(Arc::downgrade(self), number));
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&settings).await?;
        connection.subscribe(self.channel()).await?;
        self.attended(number, connection).await
    }

    async fn attended(
        &self,
        number: u64,
        mut connection: MultiplexedConnection,
    ) -> Result<(Joined, u32), RedisError> {
        let mut script = self.attend.prepare_invoke();
        script.key(self.key("epoch")).key(self.key("replicas"));
        // Whoever finds no epoch writes one of its own making.
        let word = format!("{:016x}", fastrand::u64(..));
        script.arg(word).arg(&self.instance).arg(millis(REPLICA_LIFE)).arg(millis(REPLICA_MEMORY));
        let (epoch, replicas, age): (String, u32, i64) = script.invoke_async(&mut connection).await?;
        // After a loss the others have yet to say that they live: none of them takes all of a limit for itself.
        let is_settled = u64::try_from(age).is_ok_and(|age| age >= millis(SETTLE));
        let replicas = if is_settled { replicas } else { replicas.max(self.replicas()) };
        Ok((Joined { number, connection, epoch }, replicas))
    }

    /// The connection of that number is of no use any more.
    fn fall(&self, number: u64, why: &dyn std::fmt::Display) {
        let there = self.joined.load_full().filter(|joined| joined.number == number);
        let Some(there) = there else { return };
        let swapped = self.joined.compare_and_swap(&there, None);
        // Said once, by whoever came first.
        if swapped.as_ref().is_some_and(|was| Arc::ptr_eq(was, &there)) {
            self.metrics.is_there(false);
            tracing::warn!(reason = %why, "the shared state is away; this replica goes on with what it knows itself");
            self.tell(Said::Fell);
            self.fallen.notify_one();
        }
    }

    /// Has this replica alone hear something.
    pub(super) fn tell(&self, said: Said) {
        // Where nobody listens, nobody waits for it.
        let _ = self.said.send(said);
    }
}

/// Hears what the server says unasked on the connection of that number.
fn listener(
    link: Weak<Link>,
    number: u64,
) -> impl Fn(PushInfo) -> Result<(), redis::aio::SendError> + Send + Sync {
    move |push| {
        let Some(link) = link.upgrade() else { return Ok(()) };
        match (push.kind, push.data.last()) {
            (PushKind::Disconnection, _) => link.fall(number, &"the connection was closed"),
            (PushKind::Message, Some(Value::BulkString(text))) => {
                // What is no message of ours is not for us.
                if let Some(said) = Said::parse(text) {
                    link.tell(said);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether an error is of the server as a whole, rather than of the one key that was asked about.
fn is_general(error: &RedisError) -> bool {
    let of_a_key =
        matches!(error.code(), Some("WRONGTYPE" | "ERR")) || error.kind() == ErrorKind::UnexpectedReturnType;
    // Before version 7, what stops a script is told within an ERR.
    let within = error.to_string();
    !of_a_key || ["OOM", "READONLY", "MISCONF", "NOPERM"].iter().any(|word| within.contains(word))
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("is_there", &self.is_there()).finish_non_exhaustive()
    }
}
