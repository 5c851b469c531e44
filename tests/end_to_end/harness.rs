//! Sandbox and broker whose time stands still, and what a test does with them.

use std::{
    future::Future,
    sync::{Mutex, Once},
    time::Duration,
};

use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use tokio::task::JoinHandle;
use valet_clock::{ClockExt, ManualClock, SystemClock};
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

    /// With any settings; the clocks are this stage's.
    pub(crate) async fn with(settings: StackSettings) -> Self {
        Self::of_replicas(settings, 1, ManualClock::new(), None).await
    }

    /// With so many brokers, which share their state.
    pub(crate) async fn of_replicas(
        settings: StackSettings,
        replicas: usize,
        clock: ManualClock,
        redis: Option<Redis>,
    ) -> Self {
        Self::of_replicas_with(settings, replicas, clock, redis, "").await
    }

    /// The same, with more settings of how they share it.
    pub(crate) async fn of_replicas_with(
        settings: StackSettings,
        replicas: usize,
        clock: ManualClock,
        redis: Option<Redis>,
        more: &str,
    ) -> Self {
        note_panics();
        let follows = settings.follow;
        let config = match &redis {
            Some(redis) => format!("{}\n{}{more}", settings.config, redis.settings()),
            None => settings.config,
        };
        let (clocks, further) = (Clocks::from(&clock), replicas - 1);
        let stack = Stack::start(StackSettings { clocks, further, config, ..settings }).await.unwrap();
        // The wait of the probes has begun: it is a minute from here.
        let upkeep = 1 + usize::from(follows) + usize::from(redis.is_some());
        promptly(clock.asleep("broker", upkeep * replicas)).await;
        // A connection for each request: none is lost to the idle deadline when the clock leaps.
        let http = Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
        Self { stack, clock, http, redis }
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
        answered(self.v1()).await
    }

    /// Asks for a token at `/v1/tokens`, in JSON.
    pub(crate) async fn ask_for(&self, body: &Value) -> Answer {
        answered(self.v1().json(body)).await
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

    /// The sum of a metric over its labels.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let page = self.metrics().await;
        let values = page.lines().filter_map(|line| {
            let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))?;
            rest.rsplit(' ').next()?.parse::<u64>().ok()
        });
        values.sum()
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
        let remains = promptly(self.stack.stop()).await.unwrap();
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
