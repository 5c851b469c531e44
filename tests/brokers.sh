# Sourced by suites that drive the binaries: starts the broker of $work/valet.toml at 127.0.0.1:$port; or as many as
# VALET_TEST_REPLICAS says, which share a Redis, behind Caddy at that port. What they log is in $work/broker*.log,
# their audit trails in $work/audit*.jsonl. Needs $bin, and until_there of the suite.
brokers() {
  local count=${VALET_TEST_REPLICAS:-1} to=() number redis listen
  if [ "$count" = 1 ]; then
    "$bin/valet-server" serve --config "$work/valet.toml" --ready-file "$work/ready" 2>"$work/broker.log" &
    until_there "$work/ready"
    return
  fi
  redis=$(tests/free_port)
  redis-server --bind 127.0.0.1 --port "$redis" --save '' --dir "$work" >"$work/redis.log" &
  # It has had its epoch for a while: there is nothing to wait for.
  for _ in $(seq 600); do
    redis-cli -p "$redis" set valet:epoch 0:0 >"$work/epoch" 2>&1 && grep -qx OK "$work/epoch" && break
    read -r -t 0.1 <> <(:) || true
  done
  grep -qx OK "$work/epoch" || { cat "$work/redis.log" "$work/epoch" >&2; exit 1; }
  for number in $(seq "$count"); do
    sed -E -e 's/^listen = .*/listen = "127.0.0.1:0"/' -e "s#/audit\.jsonl#/audit-$number.jsonl#" "$work/valet.toml" >"$work/valet-$number.toml"
    # The machine may be busy: what a suite is not about is not to come between.
    printf '\n[shared]\nurl = "redis://127.0.0.1:%s"\nkeys = [{ id = "1", env = "SEALING_KEY" }]\nconnect_milliseconds = 10000\nresponse_milliseconds = 10000\n' \
      "$redis" >>"$work/valet-$number.toml"
    SEALING_KEY='a key for tests alone, of 32 characters' "$bin/valet-server" serve --config "$work/valet-$number.toml" \
      --ready-file "$work/ready-$number" 2>"$work/broker-$number.log" &
    until_there "$work/ready-$number"
    listen=$(sed -E 's/.*"listen":"([^"]+)".*/\1/' "$work/ready-$number")
    to+=("$listen")
    # It serves before it has found the Redis.
    until_ready "$listen" "$work/broker-$number.log"
  done
  printf '{\n\tadmin off\n\tauto_https off\n}\nhttp://127.0.0.1:%s {\n\treverse_proxy %s\n}\n' "$port" "${to[*]}" >"$work/Caddyfile"
  caddy run --config "$work/Caddyfile" --adapter caddyfile 2>"$work/caddy.log" &
  until_ready "127.0.0.1:$port" "$work/caddy.log"
}
# until_ready ADDRESS LOG: waits until a broker there is ready, and has the Redis if there is one.
until_ready() {
  for _ in $(seq 600); do
    curl -fsS -o "$work/readyz" "http://$1/readyz" 2>"$work/curl.log" && grep -qxF '{"status":"ready"}' "$work/readyz" && return
    read -r -t 0.1 <> <(:) || true
  done
  echo "nothing is ready at $1" >&2
  cat "$2" "$work/curl.log" >&2
  exit 1
}
