package main

import (
	"testing"

	"edgechain.example/agent"
	"edgechain.example/tomlconf"
)

// What is kept on purpose must not have the garbage collector work harder.
func TestTheMemoryLimitLeavesRoomForTheCache(t *testing.T) {
	usual := agent.DefaultConfig()
	larger := agent.DefaultConfig()
	larger.Store.Cache += 256 * tomlconf.MiB
	larger.Store.Memtable = 64 * tomlconf.MiB
	larger.Ingest.MaxBytes += 16 * tomlconf.MiB
	if more := memoryLimit(larger) - memoryLimit(usual); more != 272<<20 {
		t.Errorf("272 MiB more have a limit that is %d bytes higher", more)
	}
}
