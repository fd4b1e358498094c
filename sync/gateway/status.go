package gateway

import (
	"time"

	headersync "edgechain.example/sync"
	"edgechain.example/sync/pace"
)

// A gateway's status topic holds its newest report, or "offline", its connection's last will. A report goes out at each
// connection and when there is something new to say; then once more when an aggregator has receipted a newer head, for
// only then is it certain that somebody was there who knows the key; and once a day.

// Online is what a gateway without a report says instead.
const (
	Online  = "online"
	Offline = "offline"
)

const repeatReport = 24 * time.Hour

// status is what a gateway remembers of its reports.
type status struct {
	said   headersync.Condition // without the clock's error bound, which is never the same
	height uint64               // of the newest header then
	number uint64               // of the newest report
	news   uint64               // number of the first report that said the same
	at     time.Time
	pace   pace.Backoff // while there is news again and again
	next   time.Time    // no report for its own sake before this
	again  bool         // somebody may have missed it
}

// tickStatus says how the gateway is, if that is due.
func (g *Gateway) tickStatus(now time.Time, connected bool) time.Time {
	if g.c.Condition == nil {
		if connected {
			g.publish(now, headersync.StatusTopic(g.c.Prefix, g.chain), []byte(Online), true)
		}
		return time.Time{}
	}
	if len(g.peers) == 0 {
		return time.Time{}
	}
	st := &g.status
	condition := g.c.Condition()
	lasting := condition
	lasting.Clock.Error = 0
	news := st.number == 0 || lasting != st.said
	again := st.again || !now.Before(st.at.Add(repeatReport))
	switch {
	case connected:
	case !news && !again:
		if !now.Before(st.next) {
			st.pace.Reset()
		}
		return now.Add(st.pace.Least)
	case now.Before(st.next):
		return st.next
	}
	tip, _, err := g.c.Chain.Head()
	if err != nil {
		g.c.Log.Error("failed to read the head to report it", "err", err)
		return now.Add(time.Minute)
	}
	if g.signer == nil {
		return now.Add(time.Minute)
	}
	r := headersync.Report{Chain: g.chain, Height: tip.Height, Start: g.c.Start, Number: st.number + 1, Condition: condition}
	payload, err := r.Sign(g.signer)
	if err != nil {
		g.c.Log.Error("failed to sign a report", "err", err)
		return now.Add(time.Minute)
	}
	g.publish(now, headersync.StatusTopic(g.c.Prefix, g.chain), payload, true)
	if news {
		st.news = r.Number
	}
	st.said, st.height, st.number, st.at, st.again = lasting, tip.Height, r.Number, now, false
	st.next = now.Add(st.pace.Next())
	return st.next
}

// reportAgain has the newest report repeated for an aggregator that has just receipted a header above it, if that
// has not happened since there was news.
func (g *Gateway) reportAgain(p *peer, height uint64) {
	if st := &g.status; st.number > 0 && height > st.height && p.told < st.news {
		p.told, st.again = st.number, true
	}
}
