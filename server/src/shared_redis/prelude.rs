//! What scripts begin with that read what somebody else may have written.

use redis::Script;

/// A key of another kind than it should have counts as absent, and is replaced; so is a number that is none, or none that
/// could stand there. While more than 0 milliseconds are left, what was lost may come back; no replica says for longer than
/// a moment that it adds something.
const PRELUDE: &str = r"
local function of(kind, key)
  local there = redis.call('TYPE', key).ok
  if there ~= kind and there ~= 'none' then redis.call('DEL', key) end
  return key
end
local function number(text, most)
  local read = tonumber(text or '')
  if read and read >= 0 and read <= most then return read end
  return 0
end
local function left(said, most)
  local left = redis.call('PTTL', said)
  if left > most then left = 0 end
  return left
end
local function unsettled(epoch, adding, settle, now)
  local since = tonumber(string.match(redis.call('GET', epoch) or '', ':(%d+)$') or now)
  return math.max(settle - (now - since), left(adding, settle))
end
";

/// A script that may use what stands there.
pub(super) fn script(body: &str) -> Script {
    Script::new(&[PRELUDE, body].concat())
}
