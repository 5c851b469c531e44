//! Whose turn it is to poll, and how often an account is asked, as it lies on the Redis.

use std::time::Duration;

use ::redis::{cmd, from_redis_value};
use valet_pacing::Quota;
use valet_server::shared_redis::{Queried, Query, Right, Service, Turn};

use super::notes::Hand;
use crate::harness::SECOND;

/// Cancels, and looks at tasks of which no record is kept, are nobody's who has the lease.
#[tokio::test]
async fn who_is_back_leaves_their_share_to_those_that_may_still_be_alone() {
    let Hand { shared, redis, clock, .. } = Hand::new().await;
    let service = Service { upstream: "u", account: "a" };
    let query = |fence| {
        let (quota, share) = (Quota::per_second(19, 1), Quota::per_second(8, 1));
        shared.query(Query { service, fence, quota, share, memory: SECOND })
    };
    let wait = |queried| match queried {
        Ok(Queried::Wait(wait)) => wait.as_millis(),
        other => panic!("{other:?}"),
    };
    assert_eq!(query(None).await, Ok(Queried::Taken));
    assert_eq!(wait(query(None).await), 52);
    clock.advance(SECOND);
    let turn = shared.hold(service, Right::Alone, Duration::ZERO).await.unwrap().turn;
    assert!(matches!(turn, Turn::Others(_)), "nobody polls yet");
    assert_eq!(query(None).await, Ok(Queried::Taken));
    assert_eq!(wait(query(None).await), 125);
    // Each has come back by now, or is cut off.
    clock.advance(SECOND * 4);
    let Turn::Held(fence) = shared.hold(service, Right::Nothing, Duration::ZERO).await.unwrap().turn else {
        panic!("nobody has the lease");
    };
    assert_eq!(query(Some(&fence)).await, Ok(Queried::Taken));
    assert_eq!(wait(query(None).await), 52);
    // What no replica says keeps nobody from anything.
    let found = redis.run(cmd("KEYS").arg("valet:poll:*:queries"));
    let alone = from_redis_value::<Vec<String>>(found).unwrap().remove(0).replace("queries", "alone");
    redis.run(cmd("SET").arg(&alone).arg("1").arg("PX").arg(1_000_000_000));
    shared.leave(service, &fence).await.unwrap();
    let turn = shared.hold(service, Right::Nothing, Duration::ZERO).await.unwrap().turn;
    assert!(matches!(turn, Turn::Held(_)), "{turn:?}");
}
