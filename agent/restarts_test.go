package agent

import (
	"testing"
	"time"

	"edgechain.example/lightchain/store"
)

// A program that ends right after each start, in order as it is, adds no block for each: what its starts say is durable, and is
// sealed with what comes next.
func TestStartsAddNoBlockEach(t *testing.T) {
	c, _ := keptGateway(t)
	c.Block.Interval, c.Block.MaxEntries = time.Hour, 4096
	const starts = 50
	for range starts {
		_, stop := runAgent(t, c)
		stop()
	}
	a, stop := runAgent(t, c)
	if height := a.store.Tip().Height; height > 1 {
		t.Errorf("%d starts made %d blocks", starts, height)
	}
	boots := 0
	for range a.store.Find(store.Query{Source: "agent:boot"}) {
		boots++
	}
	if boots < starts {
		t.Errorf("the chain tells of %d of %d starts", boots, starts)
	}
	before := a.store.Tip().Height
	recordDurably(t, a)
	stop()
	r := openReader(t, c)
	if tip := r.Tip(); tip.Height != before+1 || r.Next() != tip.Next {
		t.Errorf("stopped with something to tell, the chain is at height %d with %d entries open; before it was at %d", tip.Height, r.Next()-tip.Next, before)
	}
}

// openReader reads the chain of a gateway that does not run.
func openReader(t *testing.T, c *Config) *store.Reader {
	t.Helper()
	r, err := store.OpenReader(c.ChainDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}
