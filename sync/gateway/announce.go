package gateway

import (
	"time"

	headersync "edgechain.example/sync"
)

// unheard is after how many announcements without a receipt a gateway asks how its head stands: an aggregator that knows
// another history of the chain, or a longer one, countersigns nothing and would otherwise say nothing.
const unheard = 3

// tickAnnounce publishes the newest head: once for each new one, no more often than configured; and again, ever more
// rarely, while an aggregator has not receipted it.
func (g *Gateway) tickAnnounce(now time.Time) time.Time {
	if len(g.peers) == 0 {
		return time.Time{}
	}
	tip, head, err := g.c.Chain.Head()
	if err != nil {
		g.c.Log.Error("failed to read the head to announce it", "err", err)
		return now.Add(time.Minute)
	}
	due := g.repeatAt
	fresh := !g.said || tip.Height != g.announced
	if fresh {
		due = g.saidAt.Add(g.c.Announce)
	} else if g.receiptedByAll(tip.Height) {
		return time.Time{}
	}
	if g.said && now.Before(due) {
		return due
	}
	payload, err := head.Encode()
	if err != nil {
		g.c.Log.Error("failed to encode the head", "err", err)
		return now.Add(time.Minute)
	}
	g.publish(now, headersync.Topic(g.c.Prefix, g.chain, headersync.TopicHead, ""), payload, true)
	if !fresh && g.announcing.Failures >= unheard && g.asked.Take(now) {
		g.sendHello(now, nil)
	}
	g.said, g.saidAt, g.announced = true, now, tip.Height
	g.repeatAt = now.Add(g.announcing.Next())
	return g.repeatAt
}

func (g *Gateway) receiptedByAll(height uint64) bool {
	for name := range g.peers {
		newest, found, err := g.c.Receipts.NewestReceipt(name)
		if err != nil || !found || newest < height {
			return false
		}
	}
	return true
}
