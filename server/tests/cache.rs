//! The cache's rules that need an upstream: what is handed out is checked at hand-out and before it is
//! stored.
#![expect(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{Router, extract::State, routing::post};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::{net::TcpListener, sync::Semaphore};
use valet_clock::{Clock, ManualClock, SystemClock};
use valet_server::{
    admission::{self, Limits, Now, Subjects},
    config::{self, Config},
    identity::{Apps, Credential, Look, Reach},
    policy::{Editions, Granted, Policy, TokenRequest, UpstreamUse},
    secret::SecretHash,
    token::{AppTokens, Cache, Kind, Metrics, Share, Source, Upstream},
};

const SECRET: &[u8] = b"vas_test";

/// An upstream that mints when the test permits it.
#[derive(Clone)]
struct Mint {
    minted: Arc<AtomicU32>,
    permits: Arc<Semaphore>,
}

async fn mint(State(mint): State<Mint>) -> String {
    let number = mint.minted.fetch_add(1, SeqCst) + 1;
    mint.permits.acquire().await.expect("it is never closed").forget();
    // By the same clock as the `Date` that the server writes.
    let expires_at = (SystemClock.unix() + Duration::from_secs(60)).as_secs();
    json!({ "token": format!("st-{number}"), "expires_at": expires_at }).to_string()
}

/// Everything from the caller's secret to the cache, without the doors.
struct Bench {
    clock: ManualClock,
    mint: Mint,
    apps: Apps,
    app: config::App,
    policy: RefCell<Arc<Policy>>,
    editions: Editions,
    limits: Limits,
    tokens: AppTokens,
    upstream: Arc<Upstream>,
    cache: Cache,
}

impl Bench {
    async fn new() -> Self {
        let clock = ManualClock::new();
        let (minted, permits) = (Arc::default(), Arc::new(Semaphore::new(0)));
        let mint = Mint { minted, permits };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/api/v1/tokens", post(self::mint)).with_state(mint.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });

        let text = format!(
            "[upstreams.u]\nbase_url = \"http://{address}/api/v1\"\nkeys = [{{ env = \"K\" }}]\n\
             [apps.acme]\nsecrets = [\"{}\"]\n",
            SecretHash::of(SECRET)
        );
        let config = Config::read(&text, &[("K", "sk-1")].into_iter().collect()).unwrap();
        let (now, broker) = (clock.now(), clock.handle("broker"));
        let metrics = Arc::new(Metrics::register(&mut Registry::default()));
        let editions = Editions::default();
        let policy = Policy::new(&config.apps[0], editions.current());
        let share = Arc::new(Share::new(now));
        let upstream = Upstream::new(&config.upstreams[0], share, &broker, &metrics, None);
        Self {
            apps: Apps::new(&config, &broker, None).unwrap(),
            limits: Limits::new("acme", None, None, now),
            tokens: AppTokens::new("acme".into(), policy.classes(), [0; 32], now),
            upstream: Arc::new(upstream.unwrap()),
            cache: Cache::new(100, broker, metrics),
            policy: RefCell::new(policy.into()),
            app: config.apps[0].clone(),
            editions,
            mint,
            clock,
        }
    }

    fn source(&self) -> Source<'_> {
        Source { tokens: &self.tokens, upstream: &self.upstream, is_direct: true }
    }

    /// The path of a request, as far as the cache.
    async fn upstream_use(&self) -> UpstreamUse {
        let look = Look { now: self.clock.unix(), reach: Reach::InHand, is_first: true, is_recorded: false };
        let caller = self.apps.identify(&Credential::secret(SECRET), look).unwrap();
        let policy = self.policy.borrow().clone();
        let grant = policy.decide(caller, &TokenRequest::default(), self.clock.unix()).unwrap();
        let now = Now { instant: self.clock.now(), unix: self.clock.unix() };
        match admission::admit(&grant, &self.limits, &Subjects::new(None), now).await.unwrap().granted() {
            Granted::Direct(upstream_use) => upstream_use.clone(),
            Granted::Relay(_) => unreachable!("the app is a direct one"),
        }
    }

    /// What a reload does to an app whose policy changed.
    fn change_policy(&self) {
        let next = self.editions.next();
        self.policy.replace(Policy::new(&self.app, next.clone()).into());
        next.take_force();
    }

    fn permit(&self, mints: usize) {
        self.mint.permits.add_permits(mints);
    }

    fn minted(&self) -> u32 {
        self.mint.minted.load(SeqCst)
    }
}

#[tokio::test]
async fn a_cached_token_of_a_changed_policy_is_not_handed_out() {
    let bench = Bench::new().await;
    bench.permit(2);
    bench.cache.obtain(bench.source(), bench.upstream_use().await).await.unwrap();
    let now = bench.clock.now();
    assert!(bench.cache.peek(bench.source(), &bench.upstream_use().await, now).is_some());
    bench.change_policy();
    assert!(bench.cache.peek(bench.source(), &bench.upstream_use().await, now).is_none());
    let anew = bench.cache.obtain(bench.source(), bench.upstream_use().await).await.unwrap();
    assert_eq!((anew.bearer().expose(), bench.minted()), ("st-2", 2));
}

#[tokio::test]
async fn a_mint_in_flight_for_a_changed_policy_is_dropped_and_not_stored() {
    let bench = Bench::new().await;
    let upstream_use = bench.upstream_use().await;
    let (waiting, ()) = tokio::join!(bench.cache.obtain(bench.source(), upstream_use), async {
        while bench.minted() == 0 {
            tokio::task::yield_now().await;
        }
        bench.change_policy();
        bench.permit(1);
    });
    assert_eq!(waiting.unwrap_err().kind, Kind::Superseded);
    let now = bench.clock.now();
    assert!(bench.cache.peek(bench.source(), &bench.upstream_use().await, now).is_none());
}

#[tokio::test]
async fn a_use_granted_under_the_old_policy_gets_nothing_of_the_new_one() {
    let bench = Bench::new().await;
    bench.permit(2);
    let old = bench.upstream_use().await;
    bench.change_policy();
    bench.cache.obtain(bench.source(), bench.upstream_use().await).await.unwrap();
    let now = bench.clock.now();
    assert!(bench.cache.peek(bench.source(), &old, now).is_none());
    assert_eq!(bench.cache.obtain(bench.source(), old).await.unwrap_err().kind, Kind::Superseded);
    assert!(
        bench.cache.peek(bench.source(), &bench.upstream_use().await, now).is_some(),
        "the new token stays"
    );
}

#[tokio::test]
async fn a_cache_of_another_size_keeps_what_is_in_hand() {
    let bench = Bench::new().await;
    bench.permit(1);
    let first = bench.cache.obtain(bench.source(), bench.upstream_use().await).await.unwrap();
    for size in [1000, 1] {
        bench.cache.resize(size);
        let now = bench.clock.now();
        assert!(
            bench
                .cache
                .peek(bench.source(), &bench.upstream_use().await, now)
                .is_some_and(|token| token.is(&first))
        );
        assert_eq!((bench.cache.len(), bench.minted()), (1, 1));
    }
}

#[tokio::test]
async fn a_sweep_drops_what_may_not_be_handed_out_any_more_and_nothing_else() {
    let bench = Bench::new().await;
    bench.permit(2);
    bench.cache.obtain(bench.source(), bench.upstream_use().await).await.unwrap();
    bench.cache.sweep();
    assert_eq!(bench.cache.len(), 1);
    bench.change_policy();
    bench.cache.sweep();
    assert_eq!(bench.cache.len(), 0);
    bench.cache.obtain(bench.source(), bench.upstream_use().await).await.unwrap();
    bench.upstream.retire(None);
    bench.cache.sweep();
    assert_eq!(bench.cache.len(), 0, "its key was removed");
}
