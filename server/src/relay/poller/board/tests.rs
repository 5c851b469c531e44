#![expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
//! The board against a model of the upstream: tasks that end, a list of pages, and a budget of calls.

use serde_json::json;

use super::*;
use crate::relay::{Owner, handle::TaskKey, task::Watch};

/// Newest first, as services usually list; in an order that tells nothing; or in another one in each pass.
#[derive(Clone, Copy, Debug)]
enum Order {
    NewestFirst,
    Arbitrary,
    Another(u64),
}

/// What the upstream is like.
#[derive(Clone, Copy, Debug)]
struct World {
    tasks: u64,
    /// When the last of them ends.
    span: Duration,
    /// Calls a second.
    rate: u32,
    page: u32,
    order: Order,
    is_watched: bool,
}

/// How it went.
#[derive(Debug)]
struct Outcome {
    /// How long after its end each task was known to have ended, sorted.
    delays: Vec<Duration>,
    calls: u64,
    lists: u64,
}

struct Modelled {
    task: Arc<Task>,
    made: u64,
    ends: Duration,
    _watch: Option<Watch>,
}

fn spread(seed: u64) -> u64 {
    let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 16
}

impl World {
    fn run(mut self) -> Outcome {
        let (start, mut board) = (Instant::now(), Board::default());
        let mut tasks: Vec<Modelled> = (0..self.tasks).map(|number| self.task(number)).collect();
        for modelled in &tasks {
            board.add(modelled.task.clone(), Duration::ZERO, start);
        }
        let mut outcome = Outcome { delays: Vec::new(), calls: 0, lists: 0 };
        let tick = Duration::from_secs(1) / self.rate;
        let mut at = Duration::ZERO;
        while board.len() > 0 {
            at += tick;
            assert!(at < self.span * 20, "{} tasks are never known to have ended", board.len());
            let now = start + at;
            if board.next_time(now).is_none_or(|next| next > now) {
                continue;
            }
            match board.next(now, self.page) {
                None => {}
                Some(Step::Look { number, task }) => {
                    outcome.calls += 1;
                    let place = tasks.iter().position(|modelled| Arc::ptr_eq(&modelled.task, &task)).unwrap();
                    if tasks[place].ends <= at {
                        outcome.delays.push(at - tasks[place].ends);
                        // They stay in their order, so that the list need hardly sort them.
                        tasks.remove(place);
                        board.looked(now, number, Looked::Ended);
                    } else {
                        board.looked(now, number, Looked::Unfinished { sent: now });
                    }
                }
                Some(Step::List { sweep, stage, page, size }) => {
                    (outcome.calls, outcome.lists) = (outcome.calls + 1, outcome.lists + 1);
                    // A pass begins with these.
                    if let (Order::Another(pass), Stage::Pending) = (&mut self.order, stage) {
                        *pass += 1;
                    }
                    let page = self.list(&tasks, at, stage, page, size);
                    board.listed(now, sweep, &page);
                }
            }
        }
        outcome.delays.sort();
        outcome
    }

    fn task(self, number: u64) -> Modelled {
        let owner = Owner { app: format!("app-{}", number % 3).as_str().into(), subject: None };
        let key = TaskKey { account: "a".into(), id: format!("{number:05}"), submitted: 0 };
        let task = Task::new(owner, key, String::new(), "beijing".into(), None, "PENDING").submitted();
        let task = Arc::new(task);
        let share = (spread(number + 1) % 10_000) as f64 / 10_000.0;
        let watch = self.is_watched.then(|| task.watch());
        Modelled { task, made: number, ends: self.span.mul_f64(share), _watch: watch }
    }

    fn list(self, tasks: &[Modelled], at: Duration, stage: Stage, page: u32, size: u32) -> Page {
        let mut listed: Vec<_> =
            tasks.iter().filter(|task| stage == Stage::Running && task.ends > at).collect();
        match self.order {
            Order::NewestFirst => listed.sort_by_key(|task| std::cmp::Reverse(task.made)),
            Order::Arbitrary => listed.sort_by_key(|task| spread(task.made)),
            Order::Another(pass) => listed.sort_by_key(|task| spread(task.made + 1_000_000 * pass)),
        }
        let total = listed.len().div_ceil(size as usize);
        let skipped = (page as usize - 1) * size as usize;
        let data: Vec<_> = listed
            .iter()
            .skip(skipped)
            .take(size as usize)
            .map(|task| json!({ "task_id": task.task.key.id, "status": "RUNNING" }))
            .collect();
        serde_json::from_value(json!({ "total_page": total, "data": data })).unwrap()
    }
}

impl Outcome {
    fn median(&self) -> Duration {
        self.delays[self.delays.len() / 2]
    }

    fn p99(&self) -> Duration {
        self.delays[self.delays.len() * 99 / 100]
    }
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn busy(page: u32, order: Order) -> Outcome {
    let world = World { tasks: 1000, span: seconds(125), rate: 15, page, order, is_watched: true };
    world.run()
}

#[test]
fn a_few_tasks_are_looked_at_one_by_one() {
    let world = World {
        tasks: 8,
        span: seconds(60),
        rate: 20,
        page: 100,
        order: Order::NewestFirst,
        is_watched: true,
    };
    let outcome = world.run();
    assert_eq!(outcome.lists, 0);
    assert!(outcome.p99() <= seconds(5), "{outcome:?}");
}

#[test]
fn more_tasks_than_the_budget_has_looks_for_are_followed_by_the_list() {
    let by_page = busy(100, Order::NewestFirst);
    let by_any_order = busy(100, Order::Arbitrary);
    let by_sweep = busy(100, Order::Another(0));
    let one_by_one = busy(0, Order::NewestFirst);
    // Eight of fifteen calls a second are the looks at what has ended: the rest is for ten pages or fewer.
    assert!(by_page.median() <= seconds(2) && by_page.p99() <= seconds(6), "{:?}", by_page.median());
    assert!(
        by_any_order.median() <= seconds(2) && by_any_order.p99() <= seconds(6),
        "{:?}",
        by_any_order.median()
    );
    assert!(by_sweep.median() <= seconds(3) && by_sweep.p99() <= seconds(8), "the end of a pass tells");
    assert!(one_by_one.median() > by_sweep.median() * 4);
    assert!(by_page.lists > 0 && one_by_one.lists == 0);
}

/// As docs/performance.md has it beside what was measured.
#[test]
fn of_ten_thousand_tasks_most_are_known_to_have_ended_within_seconds() {
    let world = World {
        tasks: 10_000,
        span: seconds(900),
        // Beside direct callers.
        rate: 13,
        page: 100,
        order: Order::NewestFirst,
        is_watched: true,
    };
    let outcome = world.run();
    // Each has a look of its own, for its results; two calls of thirteen are left for a hundred pages.
    assert!(outcome.median() <= seconds(14), "{:?}", outcome.median());
    assert!(outcome.p99() <= seconds(50), "{:?}", outcome.p99());
    let in_vain = outcome.calls - outcome.lists - world.tasks;
    assert!(in_vain < 500, "{in_vain} looks at tasks that had not ended");
}

#[test]
fn nobody_is_looked_at_in_vain_for_a_moved_page() {
    let outcome = busy(100, Order::NewestFirst);
    let in_vain = outcome.calls - outcome.lists - 1000;
    assert!(in_vain < 250, "{in_vain} looks at tasks that had not ended");
}

#[test]
fn tasks_that_nobody_waits_for_are_followed_to_their_end_at_leisure() {
    let world = World {
        tasks: 10,
        span: seconds(300),
        rate: 20,
        page: 100,
        order: Order::NewestFirst,
        is_watched: false,
    };
    let outcome = world.run();
    assert_eq!(outcome.delays.len(), 10);
    assert!(outcome.calls < 10 * 15, "{} calls", outcome.calls);
}

#[test]
fn a_page_that_is_refused_is_asked_for_smaller() {
    let (now, mut board) = (Instant::now(), Board::default());
    let world = World {
        tasks: 50,
        span: seconds(60),
        rate: 20,
        page: 100,
        order: Order::NewestFirst,
        is_watched: true,
    };
    let tasks: Vec<_> = (0..50).map(|number| world.task(number)).collect();
    for modelled in &tasks {
        board.add(modelled.task.clone(), Duration::ZERO, now);
    }
    let later = now + seconds(10);
    let Some(Step::List { sweep, size: 100, .. }) = board.next(later, 100) else { panic!("a list pays") };
    board.page_refused(sweep, 100, later);
    let Some(Step::List { sweep, size: SMALL_PAGE, .. }) = board.next(later, 100) else {
        panic!("a smaller one")
    };
    // If that is refused too, there is no list: tasks are looked at one by one.
    board.page_refused(sweep, SMALL_PAGE, later);
    let looked: Vec<_> = (0..20).filter_map(|_| board.next(later, 100)).collect();
    assert!(looked.len() == 20 && looked.iter().all(|step| matches!(step, Step::Look { .. })), "{looked:?}");
}

#[test]
fn tasks_of_before_a_start_keep_nobody_waiting() {
    let (now, mut board) = (Instant::now(), Board::default());
    let world = World {
        tasks: 0,
        span: seconds(600),
        rate: 19,
        page: 100,
        order: Order::NewestFirst,
        is_watched: false,
    };
    let restored: Vec<_> = (0..5000).map(|number| world.task(number)).collect();
    for modelled in &restored {
        let Task { owner, key, .. } = &*modelled.task;
        let task = Task::new(owner.clone(), key.clone(), String::new(), "beijing".into(), None, "PENDING");
        board.add(Arc::new(task), seconds(60), now);
    }
    let new = World { is_watched: true, ..world }.task(9999);
    board.add(new.task.clone(), Duration::ZERO, now);
    let (mut at, mut looked_at) = (now, None);
    for call in 0..300 {
        at += seconds(1) / world.rate;
        match board.next(at, world.page) {
            Some(Step::Look { task, number }) => {
                if Arc::ptr_eq(&task, &new.task) {
                    looked_at = Some(call);
                    break;
                }
                board.looked(at, number, Looked::Unfinished { sent: at });
            }
            Some(Step::List { sweep, stage, page, size }) => {
                let page = world.list(&restored, at - now, stage, page, size);
                board.listed(at, sweep, &page);
            }
            None => {}
        }
    }
    assert!(looked_at.is_some(), "a pass over the list, and then whoever waits");
}

#[test]
fn a_page_that_fails_is_asked_for_again_and_the_pass_goes_on() {
    let (now, mut board) = (Instant::now(), Board::default());
    let world = World {
        tasks: 300,
        span: seconds(60),
        rate: 20,
        page: 100,
        order: Order::NewestFirst,
        is_watched: true,
    };
    let tasks: Vec<_> = (0..300).map(|number| world.task(number)).collect();
    for modelled in &tasks {
        board.add(modelled.task.clone(), Duration::ZERO, now);
    }
    let later = now + seconds(10);
    for _ in 0..10 {
        let Some(Step::List { sweep, page: 1, .. }) = board.next(later, 100) else { panic!("the same page") };
        board.page_failed(sweep, later, true);
    }
    for _ in 0..3 {
        let Some(Step::List { sweep, page: 1, .. }) = board.next(later, 100) else { panic!("the same page") };
        board.page_failed(sweep, later, false);
    }
    let Some(Step::List { sweep, .. }) = board.next(later, 100) else { panic!("once more") };
    board.page_failed(sweep, later, false);
    let Some(Step::Look { .. }) = board.next(later, 100) else { panic!("the list is of no use now") };
}

#[test]
fn a_pass_that_a_hand_over_broke_off_sends_nobody_looking_in_vain() {
    let (start, mut board) = (Instant::now(), Board::default());
    let world = World {
        tasks: 2000,
        span: seconds(100_000),
        rate: 19,
        page: 100,
        order: Order::NewestFirst,
        is_watched: true,
    };
    let unending = |number| Modelled { ends: world.span, ..world.task(number) };
    let mut tasks: Vec<_> = (0..world.tasks).map(unending).collect();
    for modelled in &tasks {
        board.add(modelled.task.clone(), Duration::ZERO, start);
    }
    let (mut at, mut lists, mut looks) = (Duration::ZERO, 0, 0);
    let mut late = None;
    for _ in 0..19 * 60 {
        at += seconds(1) / world.rate;
        if lists == 10 && late.is_none() {
            late = board.next(start + at, world.page);
            // Another polls for two minutes, in which a thousand are submitted.
            at += seconds(120);
            for number in world.tasks..world.tasks + 1000 {
                tasks.push(unending(number));
                board.add(tasks[tasks.len() - 1].task.clone(), seconds(60), start + at);
            }
            board.begin_again();
        }
        match board.next(start + at, world.page) {
            None => {}
            Some(Step::Look { number, .. }) => {
                looks += 1;
                board.looked(start + at, number, Looked::Unfinished { sent: start + at });
            }
            Some(Step::List { sweep, stage, page, size }) => {
                lists += 1;
                // The page that was under way comes late, and is none of this pass.
                if let Some(Step::List { sweep, stage, page, size }) = late.take_if(|_| lists > 12) {
                    board.listed(start + at, sweep, &world.list(&tasks, at, stage, page, size));
                }
                let page = world.list(&tasks, at, stage, page, size);
                board.listed(start + at, sweep, &page);
            }
        }
    }
    assert!(looks < 100 && lists > 200, "{looks} looks at tasks that go on, {lists} pages");
}
