//! What an identity provider publishes, well or ill, and how often it was asked.

use std::{
    convert::Infallible,
    future::{pending, ready},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify};

use crate::{harness::promptly, jose::Signer};

/// How the page of keys answers.
#[derive(Clone)]
pub(crate) enum Page {
    /// With these keys, good for so many seconds if that is said.
    Keys(Value, Option<u32>),
    Status(u16),
    /// To another place.
    Redirect(String),
    Text(String),
    /// With these keys, once it is released.
    Late(Value, Arc<Notify>),
    /// With the beginning of these keys, and nothing after it.
    Broken(Value),
    Silent,
}

/// A server of keys.
#[derive(Clone)]
pub(crate) struct Issuer {
    /// Its own name.
    pub(crate) name: String,
    shared: Arc<Shared>,
}

struct Shared {
    page: Mutex<Page>,
    asked: AtomicU64,
    was_asked: Notify,
}

impl Issuer {
    /// One that publishes the keys of `signers`.
    pub(crate) async fn of(signers: &[&Signer]) -> Self {
        let page = Mutex::new(keys(signers));
        let shared = Arc::new(Shared { page, asked: AtomicU64::new(0), was_asked: Notify::new() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let name = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/jwks", get(serve)).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { name, shared }
    }

    /// Where its keys are.
    pub(crate) fn jwks_url(&self) -> String {
        format!("{}/jwks", self.name)
    }

    pub(crate) fn answers(&self, page: Page) {
        *self.shared.page.lock().unwrap() = page;
    }

    /// How often its keys were asked for.
    pub(crate) fn asked(&self) -> u64 {
        self.shared.asked.load(SeqCst)
    }

    /// Waits until its keys were asked for so often.
    pub(crate) async fn was_asked(&self, times: u64) {
        promptly(async {
            loop {
                let next = self.shared.was_asked.notified();
                if self.asked() >= times {
                    return;
                }
                next.await;
            }
        })
        .await;
    }
}

/// The keys of `signers`.
pub(crate) fn keys(signers: &[&Signer]) -> Page {
    Page::Keys(json!({ "keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>() }), None)
}

async fn serve(State(shared): State<Arc<Shared>>) -> Response {
    shared.asked.fetch_add(1, SeqCst);
    shared.was_asked.notify_waiters();
    let page = shared.page.lock().unwrap().clone();
    match page {
        Page::Keys(keys, life) => {
            let life = life.map(|life| [(header::CACHE_CONTROL, format!("public, max-age={life}"))]);
            (life, keys.to_string()).into_response()
        }
        Page::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Page::Redirect(place) => (StatusCode::FOUND, [(header::LOCATION, place)]).into_response(),
        Page::Text(text) => text.into_response(),
        Page::Late(keys, released) => {
            released.notified().await;
            keys.to_string().into_response()
        }
        Page::Broken(keys) => {
            let beginning = stream::once(ready(Ok::<_, Infallible>(keys.to_string()[..20].to_owned())));
            Body::from_stream(beginning.chain(stream::pending())).into_response()
        }
        Page::Silent => pending().await,
    }
}
