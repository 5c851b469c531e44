//! Sandbox and broker whose time stands still, and what a test does with them.

use std::{
    env,
    future::Future,
    iter::Sum,
    str::FromStr,
    sync::{LazyLock, Mutex, Once},
    time::Duration,
};

use futures_util::FutureExt;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use tokio::task::JoinHandle;
use valet_clock::{ClockExt, ManualClock, SharedClock, SystemClock};
use valet_demo::{APP, Clocks, Remains, Stack, StackSettings};
use valet_sandbox::Operation;

use crate::{document, redis::Redis};

/// Lets a test ask as often as it likes while the time stands still.
pub(crate) const UNHURRIED: &str = "rate = { per_second = 1000000, burst = 1000000 }";

/// Lets several apps have direct tokens of one upstream.
pub(crate) const SHARED: &str = "shared_account = \"visible-to-all\"";

/// What should happen without the clock being advanced, but does not, fails after so long of real time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A second of the clock.
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// How many brokers a stage has whose test is not about one of them: `VALET_TEST_REPLICAS`, or one.
static BROKERS: LazyLock<usize> = LazyLock::new(|| match env::var("VALET_TEST_REPLICAS") {
    Ok(number) => number.parse().ok().filter(|number| *number > 0).expect("VALET_TEST_REPLICAS is a number"),
    Err(_) => 1,
});

/// Sandbox and broker, and the clock they go by. Of several brokers, each connection reaches the next.
pub(crate) struct Stage {
    pub(crate) stack: Stack,
    pub(crate) clock: ManualClock,
    http: Client,
    /// What the brokers share their state on, if there are several.
    pub(crate) redis: Option<Redis>,
}

/// An answer of the broker.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Stage {
    /// With an app that may ask as often as it likes.
    pub(crate) async fn new() -> Self {
        Self::with_app(UNHURRIED).await
    }

    /// With settings of the app.
    pub(crate) async fn with_app(app: &str) -> Self {
        Self::with(StackSettings { app: app.into(), ..StackSettings::default() }).await
    }

    /// With any settings; the clocks are this stage's. There are as many brokers as the tests are run with; what of
    /// them is asked is spread over them in turn.
    pub(crate) async fn with(settings: StackSettings) -> Self {
        match *BROKERS {
            1 => Self::of_one(settings).await,
            several => {
                let clock = ManualClock::new();
                let redis = Redis::start(&clock);
                Self::of_replicas(settings, several, clock, Some(redis)).await
            }
        }
    }

    /// With one broker, however many the tests are run with: for what is true of one process alone.
    pub(crate) async fn of_one(settings: StackSettings) -> Self {
        Self::of_replicas(settings, 1, ManualClock::new(), None).await
    }

    /// With so many brokers, which share their state.
    pub(crate) async fn of_replicas(
        settings: StackSettings,
        replicas: usize,
        clock: ManualClock,
        redis: Option<Redis>,
    ) -> Self {
        let brokers = vec![clock.handle("broker"); replicas];
        Self::of_brokers(settings, brokers, clock, redis, "").await
    }

    /// With a broker for each of these clocks, and more settings of how they share their state.
    pub(crate) async fn of_brokers(
        settings: StackSettings,
        mut brokers: Vec<SharedClock>,
        clock: ManualClock,
        redis: Option<Redis>,
        more: &str,
    ) -> Self {
        note_panics();
        let (replicas, follows) = (brokers.len(), settings.follow);
        let has_relay = settings.relay.is_some() || settings.playground.is_some();
        let has_relay = has_relay || settings.config.contains("[relay]");
        let config = match &redis {
            Some(redis) => format!("{}\n{}{more}", settings.config, redis.settings()),
            None => settings.config,
        };
        let further = brokers.split_off(1);
        let clocks = Clocks { broker: brokers.remove(0), ..Clocks::from(&clock) };
        let stack = Stack::start(StackSettings { clocks, further, config, ..settings }).await.unwrap();
        // The wait of the probes has begun: it is a minute from here. Each broker knows of all the others.
        let shares = usize::from(redis.is_some()) * (1 + usize::from(has_relay));
        let upkeep = 1 + usize::from(follows) + shares;
        promptly(clock.asleep("broker", upkeep * replicas)).await;
        // A connection for each request: none is lost to the idle deadline when the clock leaps.
        let http = Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
        Self { stack, clock, http, redis }
    }

    /// How many brokers there are.
    pub(crate) fn brokers(&self) -> usize {
        self.stack.replicas.len()
    }

    /// What all brokers do together, if each does it so often by itself.
    pub(crate) fn each(&self, count: u64) -> u64 {
        count * u64::try_from(self.brokers()).unwrap()
    }

    /// A request to the broker, without a credential.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.stack.broker_url))
    }

    /// A request to one broker of several, without a credential.
    pub(crate) fn request_of(&self, replica: usize, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.stack.replicas[replica]))
    }

    /// A request for a token at `/v1/tokens` of one broker of several, by the app's id and secret.
    pub(crate) fn v1_of(&self, replica: usize) -> RequestBuilder {
        let request = self.request_of(replica, Method::POST, "/v1/tokens");
        request.basic_auth(APP, Some(self.stack.secret.expose()))
    }

    /// Asks one broker of several for a token at `/v1/tokens`.
    pub(crate) async fn ask_of(&self, replica: usize) -> Answer {
        answered(self.v1_of(replica)).await
    }

    /// A request for a token at `/v1/tokens`, by the app's id and secret.
    pub(crate) fn v1(&self) -> RequestBuilder {
        self.request(Method::POST, "/v1/tokens").basic_auth(APP, Some(self.stack.secret.expose()))
    }

    /// A request for a token at `/api/v1/tokens`, by the app's secret as key.
    pub(crate) fn dashscope(&self, query: &str) -> RequestBuilder {
        let path = format!("/api/v1/tokens{query}");
        self.request(Method::POST, &path).bearer_auth(self.stack.secret.expose())
    }

    /// Asks for a token at `/v1/tokens`.
    pub(crate) async fn ask(&self) -> Answer {
        let answer = answered(self.v1()).await;
        self.told().await;
        answer
    }

    /// Asks each broker for a token at `/v1/tokens`.
    pub(crate) async fn ask_each(&self) -> Vec<Answer> {
        let mut answers = Vec::new();
        for replica in 0..self.brokers() {
            answers.push(self.ask_of(replica).await);
            self.told().await;
        }
        answers
    }

    /// Asks for a token at `/v1/tokens`, in JSON.
    pub(crate) async fn ask_for(&self, body: &Value) -> Answer {
        let answer = answered(self.v1().json(body)).await;
        self.told().await;
        answer
    }

    /// Waits until the brokers have been told of every mint that has ended: who minted answers before it tells, and
    /// a clock that leaps meanwhile would end its lease.
    pub(crate) async fn told(&self) {
        let Some(redis) = &self.redis else { return };
        let is_told = async || {
            let ended = self.metric("valet_mints_total").await;
            redis.count("valet:{*}:lease") <= self.mints().saturating_sub(ended)
        };
        promptly(async { while !is_told().await {} }).await;
        // All runs on one thread: once this exchange is over, who told has read that it was heard.
        self.metrics().await;
    }

    /// Waits until the brokers have done all that they may at this time: asked the Redis, been answered, and read what
    /// they told one another; and the sandbox, which works on recordings beside this thread.
    pub(crate) async fn settled(&self) {
        let calls = || self.redis.as_ref().and_then(Redis::calls);
        promptly(async {
            loop {
                let before = calls();
                for _ in 0..3 {
                    self.page("/healthz").await;
                }
                if self.stack.sandbox.wait_for_rest().now_or_never().is_none() {
                    self.stack.sandbox.wait_for_rest().await;
                    continue;
                }
                if calls() == before {
                    return;
                }
            }
        })
        .await;
    }

    /// Turns the time once the brokers are settled. A query that is drawn meanwhile is, by the Redis, of the time after
    /// and, by the broker that draws it, of the time before: that one expects another right away, and whoever asks it
    /// waits for that until the time is turned again.
    pub(crate) async fn turn(&self, duration: Duration) {
        self.settled().await;
        self.clock.advance(duration);
    }

    /// Asks in the background.
    pub(crate) fn asking(&self) -> JoinHandle<Answer> {
        tokio::spawn(answered(self.v1()))
    }

    /// Reads a page of the broker.
    pub(crate) async fn page(&self, path: &str) -> Answer {
        answered(self.request(Method::GET, path)).await
    }

    /// Reads the page of metrics; of several brokers, all their pages in a row.
    pub(crate) async fn metrics(&self) -> String {
        let mut pages = String::new();
        for address in &self.stack.metrics_addrs {
            let url = format!("http://{address}/metrics");
            pages.push_str(&answered_elsewhere(self.http.get(url)).await.text);
        }
        pages
    }

    /// A series, named as on the page of metrics; the sum over all brokers.
    pub(crate) async fn series<T: FromStr + Sum>(&self, name: &str) -> T {
        let page = self.metrics().await;
        page.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()).sum()
    }

    /// The sum of a metric over its labels and all brokers.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let page = self.metrics().await;
        let values = page.lines().filter_map(|line| {
            let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))?;
            rest.rsplit(' ').next()?.parse::<u64>().ok()
        });
        values.sum()
    }

    /// Lets time pass, and the brokers say in it that they live: over a leap they lose sight of one another.
    pub(crate) async fn pass(&self, seconds: u32) {
        if self.redis.is_none() {
            return self.clock.advance(SECOND * seconds);
        }
        let attended =
            async || self.series::<u64>("valet_shared_calls_total{kind=\"attend\",outcome=\"ok\"}").await;
        for _ in 0..seconds {
            let before = attended().await;
            self.clock.advance(SECOND);
            promptly(async { while attended().await < before + self.each(1) {} }).await;
        }
    }

    /// Waits until so many mints have reached the sandbox.
    pub(crate) async fn mints_begun(&self, count: u64) {
        promptly(self.stack.sandbox.wait_for(Operation::Mint, count)).await;
    }

    /// Waits until so many mints have ended, well or ill, and the broker knows.
    pub(crate) async fn mints_ended(&self, count: u64) {
        self.metric_is("valet_mints_total", count).await;
    }

    /// Waits until so many requests have waited for another's mint.
    pub(crate) async fn waiting(&self, count: u64) {
        self.metric_is("valet_coalesced_waits_total", count).await;
    }

    pub(crate) async fn metric_is(&self, name: &str, count: u64) {
        promptly(async { while self.metric(name).await < count {} }).await;
        assert_eq!(self.metric(name).await, count, "{name}");
    }

    /// How many mints have reached the sandbox.
    pub(crate) fn mints(&self) -> u64 {
        self.stack.sandbox.count(Operation::Mint)
    }

    /// Waits until the sandbox sleeps over a scripted delay.
    pub(crate) async fn upstream_asleep(&self) {
        promptly(self.clock.asleep("sandbox", 1)).await;
    }

    /// Stops everything. Fails if anything panicked on the way.
    pub(crate) async fn stop(self) -> Remains {
        let brokers = self.brokers();
        let mut remains = promptly(self.stack.stop()).await.unwrap();
        if brokers > 1 {
            // Each has a trail of its own, and the clock stands still: they are told in the order of the answers.
            let answered = ANSWERED.lock().unwrap();
            let place = |id: &Value| answered.iter().position(|answered| id == answered.as_str());
            remains.audit.sort_by_cached_key(|line| place(&line["request_id"]).unwrap_or(usize::MAX));
        }
        let panics = PANICS.lock().unwrap().clone();
        assert!(panics.is_empty(), "something panicked: {panics:?}");
        remains
    }
}

/// Sends a request to the broker and reads the whole answer, without the clock being advanced.
pub(crate) async fn answered(request: RequestBuilder) -> Answer {
    let sent = request.try_clone().unwrap().build().unwrap();
    let answer = answered_elsewhere(request).await;
    document::agrees(sent.method(), sent.url().path(), &answer);
    answer
}

/// The same to whom the broker's document does not speak of.
pub(crate) async fn answered_elsewhere(request: RequestBuilder) -> Answer {
    promptly(async {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        if let Some(id) = headers.get("x-request-id").and_then(|id| id.to_str().ok()) {
            ANSWERED.lock().unwrap().push(id.to_owned());
        }
        Answer { status, headers, text: response.text().await.unwrap() }
    })
    .await
}

/// The output of what must not need the clock to be advanced.
pub(crate) async fn promptly<F: Future + Send>(future: F) -> F::Output {
    SystemClock.timeout(PATIENCE, future).await.expect("this does not wait for the clock")
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    /// The token of a success.
    pub(crate) fn token(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.text);
        self.json()["token"].as_str().unwrap().to_owned()
    }

    /// The life that the token of a success has left, in seconds.
    pub(crate) fn expires_in(&self) -> u64 {
        assert_eq!(self.status, 200, "{}", self.text);
        self.json()["expires_in"].as_u64().unwrap()
    }

    /// The status and code of a refusal, and how many seconds to wait.
    pub(crate) fn refusal(&self) -> (u16, String, Option<u64>) {
        let wait = self.header("retry-after").map(|seconds| seconds.parse().unwrap());
        (self.status, self.json()["code"].as_str().unwrap_or_default().to_owned(), wait)
    }
}

/// The ids of all requests that were answered, in their order.
static ANSWERED: Mutex<Vec<String>> = Mutex::new(Vec::new());

static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Remembers every panic outside of the tests themselves: a server survives one in a connection, and a
/// test would not see it.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let place = panic.location().map_or_else(String::new, ToString::to_string);
            if !place.contains("end_to_end") && !place.contains("/insta-") {
                PANICS.lock().unwrap().push(place);
            }
            usual(panic);
        }));
    });
}
