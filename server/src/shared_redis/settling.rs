//! Everything was lost: until each replica has added what it knows, what is there is not all that there is. So it is for
//! a few seconds from the new epoch on, and for as long as a replica says that it is still at it.

use std::sync::Arc;

use redis::Script;

use super::{
    Away, SETTLE,
    link::{Link, millis},
    prelude::script,
};

/// Says that a replica adds what it knows: if it has lost what was there, or if more is awaited anyway.
const ADD: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[2] == '' and unsettled(KEYS[1], KEYS[2], tonumber(ARGV[1]), now) <= 0 then return 0 end
redis.call('SET', KEYS[2], '1', 'PX', ARGV[1])
return 1
";

/// The name of the key that is there while a replica adds what it knows. One that dies at it delays nobody for longer
/// than the key lives.
pub(super) fn adding(link: &Link) -> String {
    link.key("adding")
}

/// What a replica says while it adds what it knows.
pub(super) struct Settling {
    link: Arc<Link>,
    add: Script,
}

impl Settling {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self { link, add: script(ADD) }
    }

    /// Says that this replica adds what it knows; whether anybody waits for that.
    pub(super) async fn add(&self, has_lost: bool) -> Result<bool, Away> {
        let mut script = self.add.prepare_invoke();
        script.key(self.link.key("epoch")).key(adding(&self.link));
        script.arg(millis(SETTLE)).arg(if has_lost { "1" } else { "" });
        self.link.run("adding", &script).await
    }
}
