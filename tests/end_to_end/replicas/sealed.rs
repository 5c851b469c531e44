//! What whoever can write to the Redis makes of the relay's record: nothing that is another's.

use std::time::Duration;

use ::redis::{self, Value, cmd};
use serde_json::json;
use valet_server::shared_redis::{Cursor, Note, Progress, Rank, Use};

use super::{keys, notes::Hand, relay::handle};
use crate::relayed::Relayed;

#[tokio::test]
async fn whoever_writes_to_the_redis_can_neither_read_a_task_nor_pass_it_off_as_another() {
    let relayed = Relayed::of_replicas(2, "").await;
    let alice = relayed.stage.ask_for(&json!({ "subject": "alice-in-chains" })).await.token();
    let bob = relayed.stage.ask_for(&json!({ "subject": "bob-the-builder" })).await.token();
    let tasks = [
        handle(&relayed.submit_at(0, &alice, Some("k"), "market.wav").await),
        handle(&relayed.submit_at(0, &bob, Some("k"), "silence.wav").await),
    ];
    let stage = &relayed.stage;
    for key in keys(stage, "valet:*") {
        let all = match stage.run(cmd("TYPE").arg(&key)) {
            Value::SimpleString(kind) if kind == "hash" => stage.run(cmd("HGETALL").arg(&key)),
            Value::SimpleString(kind) if kind == "string" => stage.run(cmd("GET").arg(&key)),
            _ => stage.run(cmd("ZRANGE").arg(&key).arg(0).arg(-1)),
        };
        let text = format!("{key} {all:?}");
        for secret in [&*tasks[0], &*tasks[1], "alice-in-chains", "bob-the-builder", "market"] {
            assert!(!text.contains(secret) && !text.contains(&format!("{:?}", secret.as_bytes())), "{text}");
        }
    }
    // Swapped, tasks are nobody's, and so are submits.
    for pattern in ["valet:task:*", "valet:submit:*"] {
        let [one, two] = <[String; 2]>::try_from(keys(stage, pattern)).unwrap();
        for (from, to) in [(&*one, "x"), (&two, &one), ("x", &two)] {
            stage.run(cmd("RENAME").arg(from).arg(to));
        }
    }
    // Both are read anew, as if they had changed: by each of the two replicas, which can open neither.
    let listed: Vec<String> =
        redis::from_redis_value(stage.run(cmd("ZRANGE").arg("valet:tasks").arg(0).arg(-1))).unwrap();
    for name in listed {
        stage.run(cmd("ZINCRBY").arg("valet:tasks").arg(1_000_000).arg(name));
    }
    for (bearer, task) in [(&alice, &tasks[0]), (&bob, &tasks[1])] {
        for replica in [0, 1] {
            let mine = relayed.get_of(replica, "/tasks/", bearer).await.json();
            let data = mine["data"].as_array().unwrap();
            assert!(data.len() == 1 && data[0]["task_id"] == **task, "{mine}");
        }
    }
    assert_eq!(stage.metric("valet_shared_unreadable_total").await, 4);
    for bearer in [&alice, &bob] {
        let doubtful = relayed.submit_at(1, bearer, Some("k"), "market.wav").await;
        assert_eq!(doubtful.status, 409, "{}", doubtful.text);
    }
    assert_eq!(stage.metric("valet_shared_unreadable_total").await, 6);
    assert_eq!(relayed.submits(), 2);
    relayed.stage.stop().await;
}

#[tokio::test]
async fn what_the_upstream_said_of_a_task_is_of_no_use_to_another() {
    let Hand { shared, redis, .. } = Hand::new().await;
    let life = Duration::from_secs(3600);
    let note = |name: u8, told: &str| Note {
        name: [name; 16],
        rank: Rank { is_whole: true, progress: Progress::Ended },
        content: vec![name],
        told: Some(told.into()),
        life,
        use_: Use::default(),
    };
    shared.note(&[note(1, "of one"), note(2, "of two")], None).await.unwrap();
    let told = async || {
        let read = shared.read(&Cursor::default()).await.unwrap();
        let told = read.tasks.into_iter().map(|found| {
            let told = found.told.map(|told| String::from_utf8(told.to_vec()).unwrap());
            (found.content[0], told)
        });
        told.collect::<Vec<_>>()
    };
    assert_eq!(told().await, [(1, Some("of one".into())), (2, Some("of two".into()))]);
    let [one, two] = [1, 2].map(|name: u8| format!("valet:told:{}", format!("{name:02x}").repeat(16)));
    for (from, to) in [(&*one, "x"), (&two, &one), ("x", &two)] {
        redis.run(cmd("RENAME").arg(from).arg(to));
    }
    assert_eq!(told().await, [(1, None), (2, None)]);
}
