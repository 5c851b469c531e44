//! What scripts begin with that read what somebody else may have written.

use redis::Script;

/// A key of another kind than it should have counts as absent, and is replaced; so is a number that is none, or none that
/// could stand there.
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
";

/// A script that may use what stands there.
pub(super) fn script(body: &str) -> Script {
    Script::new(&[PRELUDE, body].concat())
}
