package broker

import (
	"fmt"
	"runtime/metrics"
	"strconv"
	"time"
)

// publishSys publishes what the broker knows of itself, under the names that Mosquitto gives it.
func (b *Broker) publishSys() {
	s := b.Stats()
	received := s.Received[0] + s.Received[1] + s.Received[2]
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(heap)
	b.mu.Lock()
	connected, most, sessions := b.clients, b.mostClients, len(b.sessions)
	b.mu.Unlock()
	kept, keptBytes := b.retained.held()
	for topic, value := range map[string]string{
		"version":                   "edgechain",
		"uptime":                    fmt.Sprintf("%d seconds", int(time.Since(b.started).Seconds())),
		"clients/total":             strconv.Itoa(max(sessions, connected)),
		"clients/connected":         strconv.Itoa(connected),
		"clients/active":            strconv.Itoa(connected),
		"clients/disconnected":      strconv.Itoa(max(sessions-connected, 0)),
		"clients/inactive":          strconv.Itoa(max(sessions-connected, 0)),
		"clients/maximum":           strconv.Itoa(most),
		"messages/received":         strconv.FormatUint(received, 10),
		"messages/sent":             strconv.FormatUint(s.Delivered, 10),
		"publish/messages/received": strconv.FormatUint(received, 10),
		"publish/messages/sent":     strconv.FormatUint(s.Delivered, 10),
		"publish/messages/dropped":  strconv.FormatUint(s.Undelivered, 10),
		"retained messages/count":   strconv.Itoa(kept),
		"store/messages/count":      strconv.Itoa(kept),
		"store/messages/bytes":      strconv.Itoa(keptBytes + int(b.outBytes.Load())),
		"subscriptions/count":       strconv.FormatInt(b.tree.count.Load(), 10),
		"heap/current":              strconv.FormatUint(heap[0].Value.Uint64(), 10),
	} {
		f := &forward{topic: "$SYS/broker/" + topic, payload: []byte(value), retain: true, own: true}
		b.keep(f)
		f = &forward{topic: f.topic, payload: f.payload, own: true}
		b.fanout.offer(b, f)
	}
}
