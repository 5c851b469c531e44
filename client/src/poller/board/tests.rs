//! The board against a model of the service: all ends are found, within the budget, whatever happens.
#![expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]

use std::cmp::Reverse;

use proptest::prelude::*;
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::*;

/// The account's limit: a call each 50 ms.
const CALL: Duration = Duration::from_millis(50);

/// A task of the model.
#[derive(Clone, Debug)]
struct Planned {
    begins: Duration,
    ends: Duration,
    /// When its watcher goes away, if it does.
    leaves: Option<Duration>,
    /// How many looks at it fail first.
    faults: u32,
}

fn planned() -> impl Strategy<Value = Planned> {
    let leaves = prop::option::weighted(0.1, 0_u64..120_000);
    (0_u64..60_000, 1_u64..120_000, leaves, 0_u32..4).prop_map(|(begins, takes, leaves, faults)| {
        let (begins, leaves) = (Duration::from_millis(begins), leaves.map(Duration::from_millis));
        Planned { begins, ends: begins + Duration::from_millis(takes), leaves, faults }
    })
}

struct Model {
    board: Board,
    start: Instant,
    tasks: Vec<Planned>,
    /// Who comes (`true`) or goes, and when; the latest first.
    visits: Vec<(Duration, usize, bool)>,
    seats: Vec<u64>,
    news: (UnboundedSender<News>, UnboundedReceiver<News>),
    service: Service,
    /// Requests that are held back: until when, and what they wait for, as it was.
    held: Vec<Request>,
}

/// What the service offers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Service {
    Looks,
    /// A list that can be used.
    Lists,
    /// To hold answers back.
    Holds,
}

struct Request {
    number: u64,
    sent: Instant,
    ends: Duration,
    tasks: Vec<(TaskId, Option<Status>)>,
    handle: AbortHandle,
}

/// What one run came to.
struct Run {
    calls: Vec<Duration>,
    /// When the end of each task was told.
    told: Vec<Option<Duration>>,
}

impl Model {
    fn new(tasks: Vec<Planned>, service: Service) -> Self {
        let comes = tasks.iter().enumerate().map(|(number, task)| (task.begins, number, true));
        let goes = tasks.iter().enumerate().filter_map(|(number, task)| {
            Some((task.begins + Duration::from_millis(1) + task.leaves?, number, false))
        });
        let mut visits: Vec<_> = comes.chain(goes).collect();
        visits.sort_unstable_by_key(|visit| Reverse(*visit));
        let (board, start, seats) = (Board::default(), Instant::now(), vec![0; tasks.len()]);
        Self { board, start, tasks, visits, seats, news: unbounded_channel(), service, held: Vec::new() }
    }

    /// Runs for a quarter of an hour, one permit after another.
    fn run(mut self) -> Run {
        let mut run = Run { calls: Vec::new(), told: vec![None; self.tasks.len()] };
        for tick in 0..18_000_u32 {
            let at = CALL * tick;
            while self.visits.last().is_some_and(|(then, ..)| *then <= at) {
                self.visit(at);
            }
            let now = self.start + at;
            self.answer(at);
            self.hear(at, &mut run);
            if self.board.next_time(now).is_none_or(|next| next > now) {
                continue;
            }
            let most = (self.service == Service::Holds).then_some(100);
            let Some(step) = self.board.next(now, most) else { continue };
            run.calls.push(at);
            match step {
                Step::Look { key, id } => {
                    let looked = Looked { sent: now, outcome: self.look(&id, at) };
                    self.board.looked(now, key, looked, 1.0);
                }
                Step::List { sweep, status, page } => {
                    let page = self.page(&status, page, at);
                    self.board.listed(now, sweep, page, 1.0);
                }
                Step::Wait { number, ids, wait } => {
                    assert!((1..=100).contains(&ids.len()), "{}", ids.len());
                    let handle = AbortHandle::new_pair().0;
                    self.board.hold(number, handle.clone());
                    let tasks = ids.into_iter().map(|id| (id.clone(), self.status(number_of(&id), at)));
                    let tasks = tasks.collect();
                    self.held.push(Request { number, sent: now, ends: at + wait, tasks, handle });
                }
            }
            self.hear(at, &mut run);
        }
        run
    }

    /// Answers the requests of which there is something to tell.
    fn answer(&mut self, at: Duration) {
        for request in std::mem::take(&mut self.held) {
            let is_told = |(id, was): &(TaskId, Option<Status>)| {
                let is = self.status(number_of(id), at);
                is != *was || is.is_some_and(|status| status.is_final())
            };
            if request.handle.is_aborted() {
                continue;
            }
            if at < request.ends && !request.tasks.iter().any(is_told) {
                self.held.push(request);
                continue;
            }
            let looks: Vec<_> = request.tasks.iter().map(|(id, _)| self.look(id, at)).collect();
            let (sent, outcome) = (request.sent, looks.into_iter().collect());
            let waited = Waited { sent, outcome, applied: true };
            self.board.waited(self.start + at, request.number, waited, 1.0);
        }
        let most = 6 + self.tasks.len() / 50;
        assert!(self.held.len() <= most, "few requests wait, each for many tasks: {}", self.held.len());
    }

    fn visit(&mut self, at: Duration) {
        let Some((_, number, comes)) = self.visits.pop() else { return };
        let id = TaskId::from(number.to_string());
        if comes {
            self.board.submitted(&id, self.start + at, None);
            let sender = self.news.0.clone();
            self.seats[number] = self.board.watch(&id, Manner::default(), sender, self.start + at).0;
        } else {
            self.board.leave(&id, self.seats[number]);
        }
    }

    fn hear(&mut self, at: Duration, run: &mut Run) {
        while let Ok(news) = self.news.1.try_recv() {
            let Seen::Task(task) = news.expect("no error ends a wait here") else { continue };
            let number = number_of(task.id());
            if task.status().is_final() {
                assert!(at >= self.tasks[number].ends && run.told[number].is_none(), "told once, and truly");
                run.told[number] = Some(at);
            }
        }
    }

    fn status(&self, number: usize, at: Duration) -> Option<Status> {
        let task = &self.tasks[number];
        match at {
            at if at < task.begins => None,
            at if at >= task.ends => Some(Status::Succeeded),
            at if at - task.begins < Duration::from_secs(5) => Some(Status::Pending),
            _ => Some(Status::Running),
        }
    }

    fn look(&mut self, id: &TaskId, at: Duration) -> Result<Task, Error> {
        let number = number_of(id);
        let task = &mut self.tasks[number];
        if task.faults > 0 {
            task.faults -= 1;
            return Err(Error::new(Kind::Unavailable, "a fault"));
        }
        Ok(Task::listed(id.clone(), self.status(number, at).expect("it is looked at when it was submitted")))
    }

    fn page(&self, status: &Status, number: u32, at: Duration) -> Result<TaskPage, Error> {
        if self.service != Service::Lists {
            return Err(Error::new(Kind::Refused, "no list"));
        }
        let such = |number: &usize| self.status(*number, at).as_ref() == Some(status);
        let ids: Vec<_> = (0..self.tasks.len()).filter(such).map(|number| number.to_string()).collect();
        let pages = ids.len().div_ceil(100);
        let page = ids.chunks(100).nth(number as usize - 1).unwrap_or_default();
        let data: Vec<_> =
            page.iter().map(|id| json!({ "task_id": id, "status": status.as_str() })).collect();
        let body = json!({ "page_no": number, "total_page": pages, "data": data });
        Ok(serde_json::from_value(body).expect("it is a page"))
    }
}

fn number_of(id: &TaskId) -> usize {
    id.as_str().parse().expect("it is a number")
}

fn services() -> impl Strategy<Value = Service> {
    prop::sample::select(vec![Service::Looks, Service::Lists, Service::Holds])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(18))]

    #[test]
    fn every_end_is_told_to_whoever_stays_and_nothing_is_left(
        tasks in prop::collection::vec(planned(), 1..250), service in services(),
    ) {
        let planned = tasks.clone();
        let run = Model::new(tasks, service).run();
        prop_assert!(run.calls.windows(2).all(|pair| pair[1] - pair[0] >= CALL), "one call a permit");
        for (task, told) in planned.iter().zip(&run.told) {
            match (task.leaves, told) {
                (None, None) => prop_assert!(false, "{task:?} was left out"),
                (_, Some(told)) => prop_assert!(*told - task.ends <= Duration::from_secs(90), "{task:?}: {told:?}"),
                (Some(_), None) => {}
            }
        }
        let last = planned.iter().map(|task| task.ends).max().unwrap_or_default();
        prop_assert!(run.calls.last() <= Some(&(last + Duration::from_secs(90))), "nothing is asked in the end");
    }
}

/// Two thousand tasks that last one to eight minutes: with the list, their ends are known in half the time.
#[test]
fn the_list_tells_of_thousands() {
    let planned = |number: u64| Planned {
        begins: Duration::from_millis(number * 30),
        ends: Duration::from_millis(number * 30 + 60_000 + number % 60 * 7_000),
        leaves: None,
        faults: 0,
    };
    let tasks: Vec<_> = (0..2000).map(planned).collect();
    let median = |service| {
        let run = Model::new(tasks.clone(), service).run();
        let late = |(task, told): (&Planned, &Option<Duration>)| told.expect("it is told") - task.ends;
        let mut delays: Vec<_> = tasks.iter().zip(&run.told).map(late).collect();
        delays.sort_unstable();
        (delays[1000], delays[1980])
    };
    let (with, without) = (median(Service::Lists), median(Service::Looks));
    assert!(with.0 * 2 < without.0 && with.1 < without.1, "{with:?}, without {without:?}");
    let held = median(Service::Holds);
    assert!(held.1 <= Duration::from_secs(3), "where answers are held back they are known at once: {held:?}");
}

/// Pages that come after the list was given up are of no sweep that began since.
#[test]
fn a_page_that_comes_too_late_is_of_no_other_sweep() {
    let (mut board, mut now) = (Board::default(), Instant::now());
    for number in 0..40 {
        let sender = tokio::sync::mpsc::unbounded_channel().0;
        board.watch(&TaskId::from(number.to_string()), Manner::default(), sender, now);
    }
    let ask = |board: &mut Board, now| match board.next(now, None) {
        Some(Step::List { sweep, page, .. }) => (sweep, page),
        _ => panic!("the list pays"),
    };
    let page = || Ok(serde_json::from_value(json!({ "total_page": 3, "data": [] })).expect("it is a page"));
    let first = ask(&mut board, now);
    board.listed(now, first.0, page(), 1.0);
    let (third, second) = (ask(&mut board, now), ask(&mut board, now));
    assert_eq!([first.1, third.1, second.1], [1, 3, 2]);
    board.listed(now, third.0, Err(Error::new(Kind::Unavailable, "a fault")), 1.0);
    now += Duration::from_secs(10);
    let anew = ask(&mut board, now);
    assert_eq!(anew.1, 3, "the last page, as it was");
    for late in [page(), Err(Error::new(Kind::Unavailable, "a fault"))] {
        board.listed(now, second.0, late, 1.0);
        assert!(!board.sweep.as_ref().expect("it goes on").pass.has_page(), "one page is waited for");
    }
    board.listed(now, anew.0, page(), 1.0);
    assert_eq!(ask(&mut board, now), (anew.0, 2));
}
