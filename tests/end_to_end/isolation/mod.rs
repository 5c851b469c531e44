//! Who sees what at the relay, held against a model: apps, subjects that they name, users of two issuers who have the
//! same name, and everything that any of them may try with what is another's.

mod world;

use std::{collections::BTreeSet, time::Duration};

use data_encoding::BASE64URL_NOPAD;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use valet_sandbox::Operation;

use self::world::{OTHER, Owned, OwnedResult, World, ids, masked};
use crate::{
    harness::{SECOND, answered, promptly},
    relayed::{code, status},
};

/// A handle that nobody ever had.
const NEVER: &str =
    "AQ3oV2kq3cfQr6LtbC_Ia0FwS2LRaZS89GmRj62Q9WE1wIsPr2HV9JgVqoELGFkeGDwH1NcBqPe7fGb6K2Faidl7RYjjPgY4u8A25A";
const DAY: Duration = Duration::from_secs(24 * 3600);
const RESULT_LIFE: Duration = Duration::from_secs(600);
const WALKS: u64 = 12;
const STEPS: usize = 40;

impl World {
    async fn submit(&mut self, owner: usize) {
        let (is_slow, key) = (self.random.bool(), self.random.bool().then(|| self.random.u8(..3)));
        let sandbox = &self.relayed.stage.stack.sandbox;
        let pending = if is_slow { DAY * 100 } else { Duration::ZERO };
        sandbox.set_task_time(pending, Duration::ZERO);
        let body = self.relayed.submission(&[&self.relayed.recordings.url("market.wav")]);
        let request = self.request(Method::POST, "/services/audio/asr/transcription", owner).await;
        let mut request = request.header("x-dashscope-async", "enable").json(&body);
        if let Some(key) = key {
            request = request.header("idempotency-key", format!("key-{key}"));
        }
        let before = self.relayed.stage.stack.sandbox.count(Operation::Submit);
        let answer = answered(request).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let handle = answer.json()["output"]["task_id"].as_str().unwrap().to_owned();
        let submitted = self.relayed.stage.stack.sandbox.count(Operation::Submit) - before;
        let now = Duration::from_secs(self.now().as_secs());
        let known = |task: &&Owned| {
            task.owner == owner && key.is_some() && task.key == key && now < task.submitted + DAY
        };
        if let Some(known) = self.tasks.iter().find(known) {
            assert_eq!((submitted, &handle), (0, &known.handle), "the owner's own key");
            return;
        }
        assert_eq!(submitted, 1, "a key of another owner's is another key");
        assert!(self.tasks.iter().all(|task| task.handle != handle));
        let task = Owned { owner, handle, submitted: now, is_slow, is_cancelled: false, key };
        self.tasks.push(task);
        let quick = self.tasks.iter().filter(|task| !task.is_slow).count();
        promptly(self.relayed.stage.stack.sandbox.wait_for_work(quick as u64)).await;
    }

    /// An owner finds its own task, for as long as the upstream knows it.
    async fn query(&mut self, place: usize) {
        let task = self.tasks[place].clone();
        let path = format!("/tasks/{}", task.handle);
        for _ in 0..100 {
            let request = self.request(Method::GET, &path, task.owner).await;
            let answer = self.turned(request).await;
            assert_eq!(answer.json()["output"]["task_id"], task.handle.as_str(), "{}: {task:?}", answer.text);
            let age = self.now() - task.submitted;
            match (status(&answer).as_str(), task.is_slow, task.is_cancelled) {
                ("CANCELED", true, true) | ("PENDING", true, false) => assert!(age < DAY * 3),
                ("SUCCEEDED", false, false) => self.note_results(task.owner, &answer.json()),
                ("UNKNOWN", ..) => assert!(age >= DAY, "{age:?}"),
                // What was known is told while the upstream may not be asked.
                ("PENDING", false, false) => continue,
                (other, ..) => panic!("{other}: {task:?}"),
            }
            return;
        }
        panic!("nobody has looked: {task:?}");
    }

    fn note_results(&mut self, owner: usize, document: &Value) {
        let until = Duration::from_secs((self.now() + RESULT_LIFE).as_secs());
        let base = format!("{}/api/v1", self.relayed.stage.stack.broker_url);
        for result in document["output"]["results"].as_array().unwrap() {
            let path = result["transcription_url"].as_str().unwrap().strip_prefix(&base).unwrap().to_owned();
            self.results.push(OwnedResult { owner, path, until });
        }
    }

    async fn cancel(&mut self, place: usize) {
        let task = self.tasks[place].clone();
        let path = format!("/tasks/{}/cancel", task.handle);
        let answer = loop {
            let request = self.request(Method::POST, &path, task.owner).await;
            let answer = answered(request).await;
            if answer.status != 429 {
                break answer;
            }
            self.relayed.stage.clock.advance(SECOND);
        };
        let lives = self.now() < task.submitted + DAY * 3;
        if task.is_slow && !task.is_cancelled && lives {
            assert_eq!(answer.status, 200, "{}", answer.text);
            self.tasks[place].is_cancelled = true;
        } else {
            assert_eq!(code(&answer), (400, "UnsupportedOperation".into()));
        }
    }

    /// A caller tries what is not its own, in every way there is: it is as if it had never been.
    async fn intrude(&mut self, caller: usize) {
        let Some(handle) = self.foreign(caller) else { return };
        self.settle().await;
        let before = self.asked();
        let wait = |request: RequestBuilder| request.header("prefer", "wait=20");
        let task = |handle: &str| format!("/tasks/{handle}");
        for path in [task, |handle: &str| format!("/tasks/{handle}/cancel")] {
            let method = if path("").ends_with("cancel") { Method::POST } else { Method::GET };
            let mut answers = Vec::new();
            for handle in [handle.as_str(), NEVER] {
                let request = self.request(method.clone(), &path(handle), caller).await;
                answers.push(masked(&answered(request).await, handle));
            }
            assert_eq!(answers[0], answers[1], "{:?}: {}", self.callers[caller], path(&handle));
        }
        let mut answers = Vec::new();
        for handle in [handle.as_str(), NEVER] {
            let request = self.request(Method::GET, &task(handle), caller).await;
            answers.push(masked(&answered(wait(request)).await, handle));
            let request = self.request(Method::POST, "/tasks/wait", caller).await;
            let request = wait(request).json(&json!({ "task_ids": [handle] }));
            answers.push(masked(&answered(request).await, handle));
        }
        assert_eq!(answers[..2], answers[2..]);
        assert!(answers[0].contains("UNKNOWN"), "{}", answers[0]);
        let request = self.request(Method::GET, &format!("/tasks/?task_id={handle}"), caller).await;
        assert_eq!(answered(request).await.json()["total"], 0);
        self.settle().await;
        assert_eq!(self.asked(), before, "the upstream was asked");
    }

    /// Something that is no task of a caller's: another's, one that is altered, one whose time is over, noise.
    fn foreign(&mut self, caller: usize) -> Option<String> {
        let (now, kind) = (self.now(), self.random.u8(..6));
        let mut fits: Vec<String> = match kind {
            0 | 1 => {
                let tasks = self.tasks.iter().filter(|task| task.owner != caller);
                tasks.map(|task| task.handle.clone()).collect()
            }
            2 => self.tasks.iter().map(|task| task.handle.clone()).collect(),
            3 => {
                let over = |task: &&Owned| now >= task.submitted + DAY * 3;
                self.tasks.iter().filter(over).map(|task| task.handle.clone()).collect()
            }
            // The upstream's own ids, and handles of the other kind.
            4 => self.relayed.stage.stack.sandbox.tasks().into_iter().map(|task| task.task_id).collect(),
            _ => {
                let handles = self.results.iter().map(|result| &result.path["/results/".len()..]);
                handles.map(str::to_owned).collect()
            }
        };
        if fits.is_empty() {
            return None;
        }
        let handle = fits.swap_remove(self.random.usize(..fits.len()));
        Some(if kind == 2 { self.altered(&handle) } else { handle })
    }

    /// A handle with one bit of it turned.
    fn altered(&mut self, handle: &str) -> String {
        let mut bytes = BASE64URL_NOPAD.decode(handle.as_bytes()).unwrap();
        let at = self.random.usize(..bytes.len());
        bytes[at] ^= 1 << self.random.u8(..8);
        BASE64URL_NOPAD.encode(&bytes)
    }

    /// A result is read by its owner, by its handle alone where that is enough, and by nobody else.
    async fn read(&mut self) {
        if self.results.is_empty() {
            return;
        }
        let result = self.results[self.random.usize(..self.results.len())].clone();
        let (path, lives) = (result.path.clone(), self.now() < result.until);
        let needs_bearer = self.callers[result.owner].app == OTHER;
        let never = format!("/results/{NEVER}");
        for caller in 0..self.callers.len() {
            let request = self.request(Method::GET, &path, caller).await;
            let request = if self.random.bool() { request.header("range", "bytes=0-9") } else { request };
            let answer = answered(request).await;
            if lives && caller == result.owner {
                assert!(answer.json()["transcripts"][0]["text"].is_string(), "{}", answer.text);
                continue;
            }
            let request = self.request(Method::GET, &never, caller).await;
            assert_eq!(masked(&answer, &path), masked(&answered(request).await, &never));
            assert_eq!(code(&answer), (404, "NotFound".into()), "{:?}", self.callers[caller]);
        }
        let read = |path: &str| answered(self.relayed.stage.request(Method::GET, &format!("/api/v1{path}")));
        let answer = read(&path).await;
        match (lives, needs_bearer) {
            (true, false) => assert!(answer.json()["transcripts"][0]["text"].is_string()),
            (true, true) => assert_eq!(code(&answer), (401, "InvalidApiKey".into())),
            (false, _) => assert_eq!(masked(&answer, &path), masked(&read(&never).await, &never)),
        }
        let altered = format!("/results/{}", self.altered(&path["/results/".len()..]));
        let read = |path: &str| answered(self.relayed.stage.request(Method::GET, &format!("/api/v1{path}")));
        assert_eq!(masked(&read(&altered).await, &altered), masked(&read(&never).await, &never));
        // A task's handle is none of a result.
        if !self.tasks.is_empty() {
            let task = &self.tasks[self.random.usize(..self.tasks.len())];
            assert_eq!(code(&read(&format!("/results/{}", task.handle)).await), (404, "NotFound".into()));
        }
    }

    /// Every list is the model's, whole and page by page.
    async fn list(&mut self) {
        for caller in 0..self.callers.len() {
            let now = self.now();
            let own = |task: &&Owned| task.owner == caller && now < task.submitted + DAY;
            let own: BTreeSet<String> =
                self.tasks.iter().filter(own).map(|task| task.handle.clone()).collect();
            let cancelled = self.tasks.iter().filter(|task| own.contains(&task.handle) && task.is_cancelled);
            let cancelled = cancelled.count();
            let list = self.page(caller, "page_size=100").await;
            assert_eq!((&list["total"], ids(&list)), (&json!(own.len()), own.clone()));
            let list = self.page(caller, "status=CANCELED").await;
            assert_eq!(list["total"], cancelled);
            let mut found = BTreeSet::new();
            for number in 1..=own.len() + 1 {
                found.extend(ids(&self.page(caller, &format!("page_size=1&page_no={number}")).await));
            }
            assert_eq!(found, own, "page by page");
        }
    }

    async fn page(&mut self, caller: usize, query: &str) -> Value {
        let request = self.request(Method::GET, &format!("/tasks/?{query}"), caller).await;
        answered(request).await.json()
    }

    async fn step(&mut self) {
        let caller = self.random.usize(..self.callers.len());
        let place = self.random.usize(..self.tasks.len().max(1));
        match self.random.u8(..100) {
            _ if self.tasks.len() < 3 => self.submit(caller).await,
            0..20 => self.submit(caller).await,
            20..50 => self.intrude(caller).await,
            50..65 => self.query(place).await,
            65..75 => self.cancel(place).await,
            75..87 => self.read().await,
            87..94 => self.list().await,
            94..98 => self.relayed.stage.clock.advance(RESULT_LIFE),
            98 => self.relayed.stage.clock.advance(DAY + SECOND),
            _ => self.relayed.stage.clock.advance(DAY * 3),
        }
    }
}

#[tokio::test]
async fn nobody_ever_sees_what_is_anothers() {
    for seed in 0..WALKS {
        let mut world = World::new(seed).await;
        println!("walk {seed}");
        for _ in 0..STEPS {
            world.relayed.stage.clock.advance(SECOND / 5);
            world.step().await;
        }
        // At the end of a day, and of the handles' time.
        for passed in [Duration::ZERO, DAY, DAY * 2] {
            world.relayed.stage.clock.advance(passed);
            for place in 0..world.tasks.len() {
                world.query(place).await;
            }
            world.list().await;
            world.read().await;
            for _ in 0..4 {
                let caller = world.random.usize(..world.callers.len());
                world.intrude(caller).await;
            }
        }
        world.relayed.stage.stop().await;
    }
}
