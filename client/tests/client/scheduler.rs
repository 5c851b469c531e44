//! The scheduler: one for all waits, which spares the service and leaves nobody out.

use std::{collections::HashMap, pin::pin, sync::Arc, time::Duration};

use futures_util::{StreamExt, TryStreamExt, future::join_all};
use serde_json::json;
use valet_client::{Status, TaskId};
use valet_clock::{Clock, ManualClock};

use crate::support::{Reply, Request, Server, client, service_error, settle, task, token, turn_until};

/// A service of many tasks, each with its own end, that lists them and counts what it is asked.
struct Service {
    ends: HashMap<String, Duration>,
    page_size: usize,
}

impl Service {
    fn new(ends: impl IntoIterator<Item = Duration>) -> Self {
        let ends = ends.into_iter().enumerate().map(|(number, end)| (format!("t-{number:05}"), end));
        Self { ends: ends.collect(), page_size: 100 }
    }

    fn ids(&self) -> Vec<TaskId> {
        let mut ids: Vec<_> = self.ends.keys().cloned().collect();
        ids.sort_unstable();
        ids.into_iter().map(TaskId::from).collect()
    }

    fn answer(&self, request: &Request) -> Reply {
        if request.is_for_token() {
            return token(request, "st-1", 3600);
        }
        match request.path.strip_prefix("/api/v1/tasks/").unwrap() {
            "" => self.page(request),
            id => task(id, self.status(id, request.at), &[]),
        }
    }

    fn status(&self, id: &str, at: Duration) -> &'static str {
        match self.ends[id].checked_sub(at) {
            None => "SUCCEEDED",
            Some(left) if left > self.ends[id] / 2 => "PENDING",
            Some(_) => "RUNNING",
        }
    }

    fn page(&self, request: &Request) -> Reply {
        let number: usize = request.query["page_no"].parse().unwrap();
        let mut ids: Vec<_> = self.ends.keys().collect();
        ids.retain(|id| self.status(id, request.at) == request.query["status"]);
        ids.sort_unstable();
        let data: Vec<_> = ids.chunks(self.page_size).nth(number - 1).into_iter().flatten().collect();
        let data: Vec<_> =
            data.iter().map(|id| json!({ "task_id": id, "status": request.query["status"] })).collect();
        let pages = ids.len().div_ceil(self.page_size);
        let body = json!({
            "total": ids.len(), "total_page": pages, "page_no": number, "page_size": self.page_size,
            "request_id": "r", "data": data,
        });
        Reply::json(200, &body)
    }
}

/// When each of the tasks was known to have ended, and what the service was asked.
async fn known(service: Service) -> (Vec<Duration>, Vec<Request>) {
    let (clock, ids) = (ManualClock::new(), service.ids());
    let start = clock.now();
    let server = Server::start(&clock, move |request| service.answer(request)).await;
    let client = client(&server, &clock);
    let waits = join_all(ids.iter().map(|id| {
        let (wait, clock) = (client.wait(id).into_future(), clock.clone());
        async move { wait.await.map(|task| (task, clock.now() - start)) }
    }));
    let ended = turn_until(&clock, waits).await;
    let known = ended.into_iter().map(|outcome| {
        let (task, at) = outcome.unwrap();
        assert_eq!(task.status(), &Status::Succeeded);
        at
    });
    (known.collect(), server.journal())
}

fn counted(journal: &[Request]) -> Vec<&Request> {
    journal.iter().filter(|request| request.path.contains("/tasks/")).collect()
}

#[tokio::test]
async fn a_thousand_waits_keep_the_limit_and_the_list_spares_most_looks() {
    let ends: Vec<_> = (0..1000).map(|number| Duration::from_millis(number * 180)).collect();
    let (known, journal) = known(Service::new(ends.clone())).await;
    let calls = counted(&journal);
    for pair in calls.windows(2) {
        assert!(pair[1].at - pair[0].at >= Duration::from_millis(50), "20 a second");
    }
    let mut delays: Vec<_> = known.iter().zip(&ends).map(|(known, end)| *known - *end).collect();
    delays.sort_unstable();
    let (median, last) = (delays[500], delays[999]);
    assert!(median < Duration::from_secs(3), "{median:?}");
    assert!(last < Duration::from_secs(12), "{last:?}");
    let lists = calls.iter().filter(|call| call.path.ends_with("/tasks/")).count();
    assert!(lists > 0 && lists < calls.len() / 2, "{lists} of {}", calls.len());
}

#[tokio::test]
async fn few_waits_use_no_list() {
    let (_, journal) = known(Service::new((0..10).map(|n| Duration::from_secs(60 + n)))).await;
    assert!(counted(&journal).iter().all(|call| !call.path.ends_with("/tasks/")));
}

#[tokio::test]
async fn a_list_that_is_refused_is_done_without() {
    let clock = ManualClock::new();
    let service = Service::new((0..100).map(|n| Duration::from_secs(5 + n / 10)));
    let ids = service.ids();
    let server = Server::start(&clock, move |request| match request.path.ends_with("/tasks/") {
        true => service_error(400, "InvalidParameter"),
        false => service.answer(request),
    })
    .await;
    let client = client(&server, &clock);
    let waits = join_all(ids.iter().map(|id| client.wait(id).into_future()));
    assert!(turn_until(&clock, waits).await.iter().all(Result::is_ok));
    let lists = server.count(|request| request.path.ends_with("/tasks/"));
    assert!((1..=4).contains(&lists), "{lists}");
}

#[tokio::test]
async fn two_who_wait_for_one_task_cost_one_look_at_a_time() {
    let clock = ManualClock::new();
    let service = Service::new([Duration::from_secs(30)]);
    let (id, server) = (service.ids().remove(0), Server::start(&clock, move |r| service.answer(r)).await);
    let client = client(&server, &clock);
    let alone = turn_until(&clock, client.wait(&id).into_future());
    alone.await.unwrap();
    let one = counted(&server.journal()).len();
    let clock = ManualClock::new();
    let service = Service::new([Duration::from_secs(30)]);
    let server = Server::start(&clock, move |r| service.answer(r)).await;
    let client = crate::support::client(&server, &clock);
    let clone = client.clone();
    let both = join_all([client.wait(&id).into_future(), clone.wait(&id).into_future()]);
    assert!(turn_until(&clock, both).await.iter().all(Result::is_ok));
    let two = counted(&server.journal()).len();
    assert!(two <= one + 3, "{one} looks for one, {two} for both");
}

#[tokio::test]
async fn a_wait_that_is_dropped_costs_nothing_further() {
    let clock = ManualClock::new();
    let service = Service::new([Duration::from_secs(3600)]);
    let (id, server) = (service.ids().remove(0), Server::start(&clock, move |r| service.answer(r)).await);
    let client = client(&server, &clock);
    let wait = client.wait(&id).deadline(Duration::from_secs(20)).into_future();
    turn_until(&clock, wait).await.unwrap_err();
    settle().await;
    let asked = server.journal().len();
    assert!(asked > 3);
    assert_eq!(clock.sleeping("pause") + clock.sleeping("limit"), 0, "nothing is planned either");
    clock.advance(Duration::from_secs(3600));
    settle().await;
    assert_eq!(server.journal().len(), asked);
    // And the next wait begins afresh.
    assert!(turn_until(&clock, client.wait(&id).into_future()).await.is_ok());
}

#[tokio::test]
async fn a_look_under_way_is_given_up_with_its_wait() {
    let clock = ManualClock::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/api/v1", listener.local_addr().unwrap());
    let client = valet_client::Client::builder().api_key(&base_url, "sk-1").unwrap();
    let client = client.clock(Arc::new(crate::support::ClientClock::new(&clock))).build().unwrap();
    let id = TaskId::from("t-1");
    let (mut wait, silent) = (Box::pin(client.wait(&id).into_future()), async {
        let (open, _) = listener.accept().await.unwrap();
        clock.asleep("limit", 1).await;
        open
    });
    let open = tokio::select! {
        outcome = &mut wait => panic!("nobody answers: {outcome:?}"),
        open = silent => open,
    };
    drop(wait);
    let closed = async {
        let mut bytes = [0; 4096];
        loop {
            open.readable().await.unwrap();
            match open.try_read(&mut bytes) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    };
    closed.await;
    assert_eq!(clock.sleeping("limit"), 0);
}

#[tokio::test]
async fn a_refusal_for_one_task_makes_all_pause() {
    let clock = ManualClock::new();
    let service = Service::new((0..10).map(|_| Duration::from_secs(60)));
    let (ids, mut refused) = (service.ids(), false);
    let server = Server::start(&clock, move |request| {
        if request.is_query() && request.at >= Duration::from_secs(10) && !refused {
            refused = true;
            return service_error(429, "Throttling.RateQuota").with_header("retry-after", "15");
        }
        service.answer(request)
    })
    .await;
    let client = client(&server, &clock);
    let waits = join_all(ids.iter().map(|id| client.wait(id).into_future()));
    assert!(turn_until(&clock, waits).await.iter().all(Result::is_ok));
    let at: Vec<_> = server.those(Request::is_query).iter().map(|r| r.at).collect();
    let pause = at.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(pause >= Duration::from_secs(15), "{pause:?}");
}

#[tokio::test]
async fn changes_are_told_once_each_and_end_with_the_task() {
    let clock = ManualClock::new();
    let service = Service::new([Duration::from_secs(30)]);
    let (id, server) = (service.ids().remove(0), Server::start(&clock, move |r| service.answer(r)).await);
    let client = client(&server, &clock);
    let changes = client.changes(&id).map_ok(|task| task.status().to_string()).try_collect::<Vec<_>>();
    assert_eq!(turn_until(&clock, changes).await.unwrap(), ["PENDING", "RUNNING", "SUCCEEDED"]);
    let mut bad = pin!(client.changes(&"../x".into()));
    assert!(bad.next().await.unwrap().is_err() && bad.next().await.is_none());
}

#[tokio::test]
async fn what_was_learnt_of_tasks_tells_when_to_look_at_the_next() {
    let clock = ManualClock::new();
    let start = clock.now();
    let (mut begun, now) = (Vec::<Duration>::new(), clock.handle("script"));
    let server = Server::start(&clock, move |request| {
        let at = now.now() - start;
        if request.is_for_token() {
            return token(request, "st-1", 36_000);
        }
        if request.is_submit() {
            begun.push(at);
            return task(&format!("t-{}", begun.len() - 1), "PENDING", &[]);
        }
        let id = request.path.rsplit('/').next().unwrap();
        let number: usize = id.trim_start_matches("t-").parse().unwrap();
        let ended = at >= begun[number] + Duration::from_secs(60);
        task(id, if ended { "SUCCEEDED" } else { "RUNNING" }, &[])
    })
    .await;
    let client = client(&server, &clock);
    let mut looks = Vec::new();
    for _ in 0..8 {
        let before = server.count(Request::is_query);
        let (submitted, asked) = (clock.now(), crate::support::request());
        turn_until(&clock, async {
            let task = client.submit(&asked).await.unwrap();
            client.wait(task.id()).await.unwrap();
        })
        .await;
        let delay = clock.now() - submitted - Duration::from_secs(60);
        looks.push((server.count(Request::is_query) - before, delay));
    }
    let (first, last) = (looks[0], looks[7]);
    assert!(last.0 < first.0, "it looks less often: {looks:?}");
    assert!(last.1 <= Duration::from_secs(2), "and knows soon: {looks:?}");
}

#[tokio::test]
async fn senseless_answers_are_a_passing_trouble_a_few_times() {
    for (count, survives) in [(3, true), (4, false)] {
        let (clock, mut left) = (ManualClock::new(), count);
        let server = Server::start(&clock, move |request| match request.is_for_token() {
            true => token(request, "st-1", 3600),
            false if left > 0 => {
                left -= 1;
                Reply::raw(200, "<html>Be right back</html>")
            }
            false => task("t-1", "SUCCEEDED", &[]),
        })
        .await;
        let client = client(&server, &clock);
        let outcome = turn_until(&clock, client.wait(&"t-1".into()).into_future()).await;
        assert_eq!(outcome.is_ok(), survives, "{count}");
    }
}

#[test]
fn a_runtime_that_ends_does_not_leave_others_waiting() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (servers, clock) = (runtime(), ManualClock::new());
    let (client, server) = servers.block_on(async {
        let service = Service::new([Duration::from_secs(30)]);
        let server = Server::start(&clock, move |request| service.answer(request)).await;
        (client(&server, &clock), server)
    });
    let (id, serving) =
        (TaskId::from("t-00000"), std::thread::spawn(move || servers.block_on(std::future::pending::<()>())));
    let short = runtime();
    let mut wait = Box::pin(client.wait(&id).into_future());
    short.block_on(turn_until(&clock, async {
        tokio::select! {
            outcome = &mut wait => panic!("it takes half a minute: {outcome:?}"),
            () = async { while server.count(Request::is_query) < 3 { tokio::task::yield_now().await } } => {}
        }
    }));
    drop(short);
    let task = runtime().block_on(turn_until(&clock, client.wait(&id).into_future()));
    assert_eq!(task.unwrap().status(), &Status::Succeeded);
    assert!(!serving.is_finished());
}
