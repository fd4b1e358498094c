#!/usr/bin/env bash
# The demo with both programs: an aggregator beside the gateway's, on embedded defaults, in a temporary folder.
set -euo pipefail
bin=$1
dir=$(mktemp -d)
trap 'kill "${aggregator:-}" 2>/dev/null && wait "$aggregator" 2>/dev/null; rm -rf "$dir"' EXIT

# A port that nobody listens on, below those that the system gives to clients.
for port in $(seq $((20000 + RANDOM % 5000)) 32000); do
	(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
done

cat >"$dir/edgeaggregator.toml" <<TOML
[aggregator]
name = "demo-aggregator"
data = "$dir/aggregator"
[trust]
gateways = "all"
# This machine's clock may not be synchronised, and nothing real hangs on these receipts.
[clock]
assume_synchronised = true
[[broker]]
name = "gateway"
servers = ["tcp://127.0.0.1:$port"]
TOML
"$bin/edgeaggregator" -c "$dir/edgeaggregator.toml" init >/dev/null 2>&1
line=$("$bin/edgeaggregator" -c "$dir/edgeaggregator.toml" key show 2>/dev/null | grep '^aggregator ')
# In a session of its own: Ctrl-C is for the gateway, which still wants a receipt then.
setsid "$bin/edgeaggregator" -c "$dir/edgeaggregator.toml" run >"$dir/aggregator.log" 2>&1 &
aggregator=$!
"$bin/edgeagent" demo --listen "127.0.0.1:$port" --aggregator "$line"
