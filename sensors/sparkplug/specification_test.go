package sparkplug

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"edgechain.example/lightchain"
	"edgechain.example/sensors"
)

// Each test here is named after the assertion of Sparkplug 3.0 that it is about. What nodes must do is looked at from the other
// side: that it is noticed where they do not. Those that need a broker are in package agent.

const (
	birthTopic  = "spBv1.0/G1/NBIRTH/E1"
	dataTopic   = "spBv1.0/G1/NDATA/E1"
	deathTopic  = "spBv1.0/G1/NDEATH/E1"
	dbirthTopic = "spBv1.0/G1/DBIRTH/E1/D1"
	ddataTopic  = "spBv1.0/G1/DDATA/E1/D1"
	ddeathTopic = "spBv1.0/G1/DDEATH/E1/D1"
)

// born is a plant with a node and a device: alias 1 is the node's temperature, alias 2 the device's speed. Its next number is 2.
func born(t testing.TB, c Config) *plant {
	p := newPlant(t, c)
	p.must(birthTopic, nbirthOf(0, metricOf("Temperature", 1, typeFloat).bytes(9, property("engUnit", typeString, message{}.text(8, "°C"))).float(valueFloat, 20.5)))
	p.must(dbirthTopic, payloadOf(1, metricOf("Speed", 2, typeInt32).uint(valueInt, 1500)))
	return p
}

func temperature(seq int, celsius float32) []byte {
	return payloadOf(seq, metricOf("", 1, 0).float(valueFloat, celsius))
}

func speed(seq int, rpm uint64) []byte {
	return payloadOf(seq, metricOf("", 2, 0).uint(valueInt, rpm))
}

func (p *plant) want(whats ...string) {
	p.t.Helper()
	if got := whatsOf(p.events()); !slices.Equal(got, whats) {
		p.t.Errorf("told of %q, want %q", got, whats)
	}
}

func (p *plant) wantOdd(want Oddity) {
	p.t.Helper()
	odd := p.Stats().Oddities
	if !slices.ContainsFunc(odd, func(o Odd) bool { return o.What == want && o.Node == "G1/E1" }) {
		p.t.Errorf("not noticed: %s; but %v", want, odd)
	}
}

var specification = []struct {
	id    string
	check func(t *testing.T)
}{
	{"tck-id-payloads-alias-data-cmd-requirement", func(t *testing.T) {
		p := born(t, Config{})
		got := p.must(dataTopic, temperature(2, 21.5))
		r := readingOf(t, got, "Temperature")
		if r.Device != "G1/E1" || r.Unit != "Cel" || r.Value != lightchain.Float(21.5) || !r.Timed || r.Time != (sent-10)*1e6 {
			t.Errorf("got %v", r)
		}
		got = p.must(ddataTopic, speed(3, 1501))
		if r := readingOf(t, got, "Speed"); r.Device != "G1/E1/D1" || r.Value != lightchain.Int(1501) {
			t.Errorf("got %v", r)
		}
		if odd := p.Stats().Oddities; len(odd) != 0 {
			t.Errorf("what conforms is not odd: %v", odd)
		}
	}},
	{"tck-id-payloads-alias-birth-requirement", func(t *testing.T) {
		p := newPlant(t, Config{})
		birth := nbirthOf(0, metricOf("", 1, typeFloat).float(valueFloat, 1))
		p.must(birthTopic, birth)
		p.wantOdd(BirthName)
		if _, err := p.hear(dataTopic, temperature(1, 2)); sensors.ReasonOf(err) != sensors.NoBirth {
			t.Errorf("an alias without a name: %v", err)
		}
		p.want("alias")
	}},
	{"tck-id-payloads-alias-uniqueness", func(t *testing.T) {
		p := newPlant(t, Config{})
		p.must(birthTopic, nbirthOf(0, metricOf("A", 1, typeFloat).float(valueFloat, 1), metricOf("B", 1, typeFloat).float(valueFloat, 2)))
		p.wantOdd(SameAlias)
		if got, err := p.hear(dataTopic, temperature(1, 2)); err == nil {
			t.Errorf("one of two is guessed: %v", got)
		}
		// Two devices that use one alias each for itself are kept apart.
		p = born(t, Config{})
		p.must("spBv1.0/G1/DBIRTH/E1/D2", payloadOf(2, metricOf("Pressure", 2, typeInt32).uint(valueInt, 5)))
		readingOf(t, p.must(ddataTopic, speed(3, 1)), "Speed")
		readingOf(t, p.must("spBv1.0/G1/DDATA/E1/D2", speed(4, 1)), "Pressure")
	}},
	{"tck-id-payloads-name-requirement", func(t *testing.T) {
		p := born(t, Config{})
		got := p.must(dataTopic, payloadOf(2, metricOf("Temperature", -1, typeFloat).float(valueFloat, 3)))
		if r := readingOf(t, got, "Temperature"); r.Unit != "Cel" || r.Meaning == nil {
			t.Errorf("a name finds its unit in the birth: %v", r)
		}
		p.wantOdd(DataDatatype)
		p.wantOdd(DataName)
	}},
	{"tck-id-payloads-metric-datatype-req", func(t *testing.T) {
		p := newPlant(t, Config{})
		p.must(birthTopic, nbirthOf(0, metricOf("A", 1, 0).uint(valueInt, 7)))
		p.wantOdd(BirthDatatype)
	}},
	{"tck-id-payloads-metric-datatype-not-req", func(t *testing.T) {
		p := born(t, Config{})
		r := readingOf(t, p.must(ddataTopic, speed(2, uint64(0xfffffffb))), "Speed")
		if r.Value != lightchain.Int(-5) {
			t.Errorf("the birth's datatype says what is in two's complement: %v", r)
		}
	}},
	{"tck-id-payloads-metric-timestamp-in-UTC", func(t *testing.T) {
		p := born(t, Config{})
		for _, c := range []struct {
			ms  uint64
			bad bool
		}{{sent, false}, {0, true}, {sent + 2*86400*1000, true}, {1 << 63, true}} {
			m := message{}.uint(2, 1).uint(3, c.ms).float(valueFloat, 1)
			p.UnseenAll()
			if r := readingOf(t, p.must(dataTopic, payloadOf(2, m)), "Temperature"); (r.Quality&lightchain.Bad != 0) != c.bad {
				t.Errorf("%d ms: %v", c.ms, r)
			}
		}
		// Without one, what was sent by exception was true when it was sent.
		if r := readingOf(t, p.must(dataTopic, payloadOf(3, message{}.uint(2, 1).float(valueFloat, 1))), "Temperature"); r.Time != sent*1e6 {
			t.Errorf("got %v", r)
		}
	}},
	{"tck-id-payloads-propertyset-quality-value-value", func(t *testing.T) {
		p := born(t, Config{})
		for code, bad := range map[uint64]bool{0: true, 192: false, 500: true, 191: true} {
			p.UnseenAll()
			m := metricOf("", 1, 0).bytes(9, property("Quality", typeInt32, message{}.uint(3, code))).float(valueFloat, 1)
			if r := readingOf(t, p.must(dataTopic, payloadOf(2, m)), "Temperature"); (r.Quality&lightchain.Bad != 0) != bad {
				t.Errorf("quality %d: %v", code, r)
			}
		}
	}},
	{"tck-id-payloads-propertyset-keys-array-size", func(t *testing.T) {
		p := born(t, Config{})
		uneven := property("Quality", typeInt32, message{}.uint(3, 0)).text(1, "more")
		if r := readingOf(t, p.must(dataTopic, payloadOf(2, metricOf("", 1, 0).bytes(9, uneven).float(valueFloat, 1))), "Temperature"); r.Quality != 0 {
			t.Errorf("keys and values that do not go together say nothing: %v", r)
		}
	}},
	{"tck-id-payloads-dataset-column-num-headers", func(t *testing.T) {
		set := message{}.text(2, "A").text(2, "B").uint(3, uint64(typeInt32)).bytes(4, nil)
		got := newPlant(t, Config{}).must(birthTopic, nbirthOf(0, metricOf("S", 1, typeDataSet).bytes(valueDataSet, set)))
		if r := readingOf(t, got, "S"); r.Quality != lightchain.Bad || got.Doubt == "" {
			t.Errorf("got %v, %q", r, got.Doubt)
		}
	}},
	{"tck-id-payloads-sequence-num-always-included", func(t *testing.T) {
		p := born(t, Config{})
		p.must(dataTopic, temperature(-1, 1))
		p.wantOdd(NoSeq)
		p.must(dataTopic, temperature(77, 1)) // whatever came between, nobody can tell
		p.want()
		p.must(dataTopic, temperature(78, 1))
		p.want()
	}},
	{"tck-id-payloads-sequence-num-incrementing", func(t *testing.T) {
		p := born(t, Config{})
		for i := range 600 {
			p.must(dataTopic, temperature((2+i)&255, 1))
		}
		p.want()
		p.must(dataTopic, temperature((602+3)&255, 1))
		events := p.events()
		if len(events) != 1 || events[0].What != Gap || events[0].Messages != 3 || events[0].From != 602&255 || events[0].To != 604&255 || events[0].Node != "G1/E1" {
			t.Errorf("told %v", events)
		}
	}},
	{"tck-id-payloads-ddata-seq-inc", func(t *testing.T) {
		p := born(t, Config{})
		p.must(ddataTopic, speed(2, 1))
		p.must(dataTopic, temperature(3, 1)) // one row of numbers for the node and its devices
		p.want()
		p.must(ddataTopic, speed(6, 1))
		p.want("gap")
	}},
	{"tck-id-payloads-dbirth-seq-inc", func(t *testing.T) {
		p := born(t, Config{})
		p.must("spBv1.0/G1/DBIRTH/E1/D2", payloadOf(3, metricOf("x", -1, typeInt32).uint(valueInt, 1)))
		p.want("gap")
	}},
	{"tck-id-payloads-ddeath-seq-inc", func(t *testing.T) {
		p := born(t, Config{})
		p.must(ddeathTopic, payloadOf(4))
		p.want("gap", "device_death")
	}},
	{"tck-id-payloads-sequence-num-zero-nbirth", func(t *testing.T) {
		p := newPlant(t, Config{})
		b := payloadOf(17, metricOf(bdSeqMetric, -1, typeInt64).uint(valueLong, 0), metricOf("Temperature", 1, typeFloat).float(valueFloat, 1))
		p.must(birthTopic, b)
		p.must(dataTopic, temperature(18, 1))
		p.want() // numbers go on from wherever a birth begins
		p.wantOdd(BirthSeq)
		p.wantOdd(NoRebirth)
	}},
	{"tck-id-topics-nbirth-bdseq-included", func(t *testing.T) {
		p := newPlant(t, Config{})
		p.must(birthTopic, payloadOf(0, metricOf("a", -1, typeInt32).uint(valueInt, 1)))
		p.wantOdd(NoBdSeq)
	}},
	{"tck-id-topics-nbirth-bdseq-increment", func(t *testing.T) {
		p := newPlant(t, Config{})
		p.must(birthTopic, nbirthOf(254))
		for _, next := range []int{255, 0, 1} {
			p.must(deathTopic, ndeathOf((next+255)&255))
			p.must(birthTopic, nbirthOf(next))
		}
		p.want("death")
		p.clock = p.clock.Add(3 * time.Hour)
		p.must(deathTopic, ndeathOf(1))
		p.must(birthTopic, nbirthOf(1)) // as before
		events := p.events()
		if !slices.Equal(whatsOf(events), []string{"death", "bdseq"}) || events[1].From != 1 || events[1].To != 1 {
			t.Errorf("told %v", events)
		}
		// Who never counts is told of once, until it has counted once.
		for range 5 {
			p.clock = p.clock.Add(3 * time.Hour)
			p.must(deathTopic, ndeathOf(1))
			p.must(birthTopic, nbirthOf(1))
			p.want("death")
		}
	}},
	{"tck-id-operational-behavior-data-commands-rebirth-action-3", func(t *testing.T) {
		p := born(t, Config{})
		p.must(birthTopic, nbirthOf(0, metricOf("Temperature", 9, typeFloat).float(valueFloat, 1)))
		p.want()
		readingOf(t, p.must(dataTopic, payloadOf(1, metricOf("", 9, 0).float(valueFloat, 1))), "Temperature")
		if _, err := p.hear(dataTopic, payloadOf(2, metricOf("", 1, 0).float(valueFloat, 1))); err == nil {
			t.Error("an alias of the birth before is still taken")
		}
	}},
	{"tck-id-payloads-ndeath-bdseq", func(t *testing.T) {
		p := newPlant(t, Config{})
		p.must(birthTopic, nbirthOf(4, metricOf("Temperature", 1, typeFloat).float(valueFloat, 1)))
		p.must(birthTopic, nbirthOf(5, metricOf("Temperature", 1, typeFloat).float(valueFloat, 1)))
		p.must(deathTopic, ndeathOf(4)) // the will of the connection before, which the broker noticed late
		events := p.events()
		if len(events) != 1 || events[0].What != StaleDeath || events[0].From != 5 || events[0].To != 4 {
			t.Errorf("told %v", events)
		}
		readingOf(t, p.must(dataTopic, temperature(1, 2)), "Temperature")
		p.must(deathTopic, ndeathOf(5))
		p.want("death")
	}},
	{"tck-id-payloads-ndeath-seq", func(t *testing.T) {
		p := born(t, Config{})
		p.must(deathTopic, payloadOf(9, metricOf(bdSeqMetric, -1, typeInt64).uint(valueLong, 0)))
		p.wantOdd(DeathSeq)
		p.want("death")
	}},
	{"tck-id-payloads-ndeath-will-message-qos", func(t *testing.T) {
		p := born(t, Config{})
		if _, err := p.hearFlagged(deathTopic, lightchain.QoS0, ndeathOf(0)); err != nil {
			t.Error(err)
		}
		p.wantOdd(DeathQoS0)
	}},
	{"tck-id-operational-behavior-edge-node-termination-host-action-ndeath-node-offline", func(t *testing.T) {
		p := born(t, Config{})
		if s := p.Stats(); s.Online != 1 || s.Devices != 1 {
			t.Errorf("before: %+v", s)
		}
		p.must(deathTopic, ndeathOf(0))
		if s := p.Stats(); s.Online != 0 || s.Nodes != 1 {
			t.Errorf("after: %+v", s)
		}
		p.want("death")
	}},
	{"tck-id-operational-behavior-edge-node-termination-host-action-ndeath-devices-offline", func(t *testing.T) {
		p := born(t, Config{})
		p.must(deathTopic, ndeathOf(0))
		if s := p.Stats(); s.Devices != 0 {
			t.Errorf("a device outlives its node: %+v", s)
		}
	}},
	{"tck-id-operational-behavior-edge-node-termination-host-action-ndeath-node-tags-stale", func(t *testing.T) {
		p := born(t, Config{})
		p.must(deathTopic, ndeathOf(0))
		if _, err := p.hear(dataTopic, temperature(2, 1)); sensors.ReasonOf(err) != sensors.NoBirth {
			t.Errorf("a dead node's alias still means something: %v", err)
		}
		p.want("death", "unborn")
	}},
	{"tck-id-operational-behavior-edge-node-termination-host-action-ndeath-devices-tags-stale", func(t *testing.T) {
		p := born(t, Config{})
		p.must(deathTopic, ndeathOf(0))
		if _, err := p.hear(ddataTopic, speed(2, 1)); sensors.ReasonOf(err) != sensors.NoBirth {
			t.Errorf("a dead node's device still means something: %v", err)
		}
	}},
	{"tck-id-operational-behavior-edge-node-termination-host-action-ddeath-devices-offline", func(t *testing.T) {
		p := born(t, Config{})
		p.must(ddeathTopic, payloadOf(2))
		events := p.events()
		if len(events) != 1 || events[0].What != DeviceDeath || events[0].Node != "G1/E1" || events[0].Device != "D1" {
			t.Errorf("told %v", events)
		}
		if s := p.Stats(); s.Devices != 0 || s.Online != 1 {
			t.Errorf("after: %+v", s)
		}
	}},
	{"tck-id-operational-behavior-edge-node-termination-host-action-ddeath-devices-tags-stale", func(t *testing.T) {
		p := born(t, Config{})
		p.must(ddeathTopic, payloadOf(2))
		if _, err := p.hear(ddataTopic, speed(3, 1)); sensors.ReasonOf(err) != sensors.NoBirth {
			t.Errorf("a dead device's alias still means something: %v", err)
		}
		readingOf(t, p.must(dataTopic, temperature(4, 1)), "Temperature") // the node's own do
	}},
	{"tck-id-payloads-dbirth-order", func(t *testing.T) {
		p := newPlant(t, Config{})
		p.must(dbirthTopic, payloadOf(1, metricOf("Speed", 2, typeInt32).uint(valueInt, 1500)))
		readingOf(t, p.must(ddataTopic, speed(2, 1)), "Speed")
		p.want("unborn") // the node's birth is missing, the device's is not
		p.must(birthTopic, nbirthOf(0))
		p.want("born")
	}},
	{"tck-id-topics-dbirth-topic", func(t *testing.T) {
		p := newPlant(t, Config{})
		p.must(birthTopic, nbirthOf(0))
		if _, err := p.hear(ddataTopic, speed(1, 1)); sensors.ReasonOf(err) != sensors.NoBirth {
			t.Errorf("a device that was not born: %v", err)
		}
		p.must(dbirthTopic, payloadOf(2, metricOf("Speed", 2, typeInt32).uint(valueInt, 1500)))
		p.want("unborn", "born")
		if s := p.Stats(); s.Unborn != 0 || s.Devices != 1 {
			t.Errorf("after: %+v", s)
		}
	}},
	{"tck-id-principles-birth-certificates-order", func(t *testing.T) {
		p := newPlant(t, Config{})
		for seq := range 500 {
			if _, err := p.hear(dataTopic, temperature(seq&255, 1)); sensors.ReasonOf(err) != sensors.NoBirth {
				t.Fatalf("data before a birth: %v", err)
			}
			p.clock = p.clock.Add(10 * time.Millisecond)
		}
		p.want("unborn")
		p.must(birthTopic, nbirthOf(0, metricOf("Temperature", 1, typeFloat).float(valueFloat, 1)))
		events := p.events()
		if len(events) != 1 || events[0].What != Born || events[0].Messages != 500 {
			t.Errorf("told %v", events)
		}
		readingOf(t, p.must(dataTopic, temperature(1, 1)), "Temperature")
	}},
	{"tck-id-payloads-nbirth-retain", func(t *testing.T) {
		p := newPlant(t, Config{})
		kept := nbirthOf(3, metricOf("Temperature", 1, typeFloat).float(valueFloat, 1))
		if _, err := p.hearFlagged(birthTopic, lightchain.Retained|lightchain.QoS0, kept); err != nil {
			t.Error(err)
		}
		p.wantOdd(RetainedMessage)
		r := readingOf(t, p.must(dataTopic, temperature(77, 1)), "Temperature") // better than none, and its hash is told
		if *r.Meaning != hashOf(kept) {
			t.Error("by another birth")
		}
		newer := nbirthOf(4, metricOf("Pressure", 1, typeFloat).float(valueFloat, 1))
		p.must(birthTopic, newer)
		if _, err := p.hearFlagged(birthTopic, lightchain.Retained|lightchain.QoS0, kept); err != nil {
			t.Error(err)
		}
		readingOf(t, p.must(dataTopic, temperature(1, 1)), "Pressure") // an older replay changes nothing
	}},
	{"tck-id-conformance-mqtt-aware-nbirth-mqtt-topic", func(t *testing.T) {
		const kept = "$sparkplug/certificates/"
		certificate := nbirthOf(3, metricOf("Temperature", 1, typeFloat).float(valueFloat, 1))
		device := payloadOf(1, metricOf("Speed", 2, typeInt32).uint(valueInt, 1500))
		p := newPlant(t, Config{})
		for topic, b := range map[string][]byte{birthTopic: certificate, dbirthTopic: device} {
			if _, err := p.hearFlagged(kept+topic, lightchain.Retained, b); err != nil {
				t.Error(err)
			}
		}
		if r := readingOf(t, p.must(dataTopic, temperature(77, 1)), "Temperature"); *r.Meaning != hashOf(certificate) || r.Device != "G1/E1" {
			t.Errorf("got %v", r)
		}
		readingOf(t, p.must(ddataTopic, speed(78, 1)), "Speed")
		p.want()
		if odd := p.Stats().Oddities; len(odd) != 0 {
			t.Errorf("what an aware broker keeps is not odd: %v", odd)
		}
		// The copy of a birth is no second birth, and none of one that has died.
		p.must(birthTopic, nbirthOf(4, metricOf("Temperature", 1, typeFloat).float(valueFloat, 1)))
		p.must(kept+birthTopic, nbirthOf(4, metricOf("Other", 1, typeFloat).float(valueFloat, 1)))
		readingOf(t, p.must(dataTopic, temperature(1, 1)), "Temperature")
		p.must(deathTopic, ndeathOf(4))
		p.must(kept+birthTopic, nbirthOf(4, metricOf("Temperature", 1, typeFloat).float(valueFloat, 1)))
		if s := p.Stats(); s.Online != 0 {
			t.Errorf("a dead node's birth brings it to life: %+v", s)
		}
	}},
	{"tck-id-payloads-ndata-qos", func(t *testing.T) {
		p := born(t, Config{})
		if _, err := p.hearFlagged(dataTopic, 0, temperature(2, 1)); err != nil {
			t.Error(err)
		}
		p.wantOdd(NotQoS0)
		// With QoS 1 it may come again, which is no gap.
		if _, err := p.hearFlagged(dataTopic, lightchain.Redelivered, temperature(2, 1)); err != nil {
			t.Error(err)
		}
		p.must(dataTopic, temperature(3, 1))
		p.want()
	}},
	{"tck-id-case-sensitivity-sparkplug-ids", func(t *testing.T) {
		p := born(t, Config{})
		p.must("spBv1.0/g1/NBIRTH/e1", nbirthOf(0, metricOf("Other", 1, typeFloat).float(valueFloat, 1)))
		readingOf(t, p.must(dataTopic, temperature(2, 1)), "Temperature")
		readingOf(t, p.must("spBv1.0/g1/NDATA/e1", temperature(1, 1)), "Other")
	}},
	{"tck-id-topic-structure-namespace-device-id-non-associated-message-types", func(t *testing.T) {
		p := newPlant(t, Config{})
		for _, topic := range []string{"spBv1.0/G/NBIRTH/E/D", "spBv1.0/G/NDATA/E/", "spBv1.0/G/DDATA/E", "spBv1.0/G/DBIRTH/E/D/X", "spBv1.0/G", "spBv1.0//NDATA/E", "spBv1.0/STATE/"} {
			if _, err := p.hear(topic, nbirthOf(0)); sensors.ReasonOf(err) != sensors.Syntax {
				t.Errorf("%s: %v", topic, err)
			}
		}
	}},
	{"tck-id-operational-behavior-host-reordering-start", func(t *testing.T) {
		p := born(t, Config{Asks: true, Reorder: 5 * time.Second})
		p.must(dataTopic, temperature(4, 1)) // 2 and 3 are missing
		if asked := p.Requests(sent); len(asked) != 0 {
			t.Errorf("asked at once: %q", asked)
		}
		p.clock = p.clock.Add(4 * time.Second)
		if asked := p.Requests(sent); len(asked) != 0 {
			t.Errorf("asked too soon: %q", asked)
		}
	}},
	{"tck-id-operational-behavior-host-reordering-rebirth", func(t *testing.T) {
		p := born(t, Config{Asks: true, Reorder: 5 * time.Second})
		p.must(dataTopic, temperature(4, 1))
		p.clock = p.clock.Add(6 * time.Second)
		if asked := p.Requests(sent); len(asked) != 1 || asked[0].Topic != "spBv1.0/G1/NCMD/E1" {
			t.Errorf("asked %q", asked)
		}
		p.want("gap")
	}},
	{"tck-id-operational-behavior-host-reordering-success", func(t *testing.T) {
		p := born(t, Config{Asks: true, Reorder: 5 * time.Second})
		p.must(dataTopic, temperature(4, 1))
		p.must(dataTopic, temperature(2, 1))
		p.must(dataTopic, temperature(3, 1))
		p.clock = p.clock.Add(6 * time.Second)
		if asked := p.Requests(sent); len(asked) != 0 {
			t.Errorf("all came, and still a birth is asked for: %q", asked)
		}
		p.must(dataTopic, temperature(5, 1))
		p.want("gap", "late")
	}},
	{"tck-id-operational-behavior-data-commands-ncmd-rebirth-name", func(t *testing.T) {
		m := request(t)
		if string(m.metrics[0].name) != "Node Control/Rebirth" || len(m.metrics) != 1 || m.metrics[0].aliased {
			t.Errorf("sent %+v", m)
		}
	}},
	{"tck-id-operational-behavior-data-commands-ncmd-rebirth-value", func(t *testing.T) {
		if m := request(t).metrics[0]; m.field != valueBool || m.bits != 1 {
			t.Errorf("sent %+v", m)
		}
	}},
	{"tck-id-operational-behavior-data-commands-ncmd-rebirth-verb", func(t *testing.T) {
		p := newPlant(t, Config{Asks: true})
		_, _ = p.hear(ddataTopic, speed(2, 1))
		if asked := p.Requests(sent); len(asked) != 1 || asked[0].Topic != "spBv1.0/G1/NCMD/E1" {
			t.Errorf("asked %q", asked)
		}
	}},
	{"tck-id-payloads-ncmd-timestamp", func(t *testing.T) {
		if m := request(t); !m.timed || m.timestamp != sent+7 || !m.metrics[0].timed || m.metrics[0].timestamp != sent+7 {
			t.Errorf("sent %+v", m)
		}
	}},
	{"tck-id-payloads-ncmd-seq", func(t *testing.T) {
		if m := request(t); m.sequenced {
			t.Errorf("sent %+v", m)
		}
	}},
	{"tck-id-payloads-state-birth-payload", func(t *testing.T) {
		b := StatePayload(true, sent)
		var got map[string]any
		if err := json.Unmarshal(b, &got); err != nil || len(got) != 2 || got["online"] != true || got["timestamp"] != float64(sent) {
			t.Errorf("%s: %v, %v", b, got, err)
		}
	}},
	{"tck-id-payloads-state-will-message-payload", func(t *testing.T) {
		b := StatePayload(false, sent)
		var got map[string]any
		if err := json.Unmarshal(b, &got); err != nil || len(got) != 2 || got["online"] != false || got["timestamp"] != float64(sent) {
			t.Errorf("%s: %v, %v", b, got, err)
		}
	}},
	{"tck-id-host-topic-phid-birth-topic", func(t *testing.T) {
		if got := StateTopic("Plant A"); got != "spBv1.0/STATE/Plant A" {
			t.Error(got)
		}
		for _, id := range []string{"", "a/b", "a+", "#", "a\xff"} {
			if CheckHostID(id) == nil {
				t.Errorf("%q is taken for an id", id)
			}
		}
	}},
	{"tck-id-intro-sparkplug-host-state", func(t *testing.T) {
		p := newPlant(t, Config{})
		got := p.must("spBv1.0/STATE/Scada", []byte(`{"online":true,"timestamp":1700000000000}`))
		r := readingOf(t, got, "online")
		if r.Device != "spBv1.0/STATE/Scada" || r.Value != lightchain.Bool(true) || r.Time != sent*1e6 {
			t.Errorf("got %v", r)
		}
		if _, err := p.hear("spBv1.0/STATE/Scada", []byte("ONLINE")); sensors.ReasonOf(err) != sensors.Syntax {
			t.Errorf("the form of version 2: %v", err)
		}
	}},
}

// request is what is sent to a node whose birth is not known.
func request(t *testing.T) *payload {
	t.Helper()
	p := newPlant(t, Config{Asks: true})
	_, _ = p.hear(dataTopic, temperature(2, 1))
	asked := p.Requests(sent + 7)
	if len(asked) != 1 {
		t.Fatalf("asked %q", asked)
	}
	m := new(payload)
	if err := m.read(asked[0].Payload); err != nil || len(m.metrics) != 1 {
		t.Fatalf("%+v, %v", m, err)
	}
	return m
}

func TestSpecification(t *testing.T) {
	seen := map[string]bool{}
	for _, each := range specification {
		if seen[each.id] {
			t.Errorf("%s stands twice", each.id)
		}
		seen[each.id] = true
		t.Run(each.id, each.check)
	}
}

func TestPassiveHostsSendNothing(t *testing.T) {
	p := newPlant(t, Config{})
	_, _ = p.hear(dataTopic, temperature(2, 1))
	p.clock = p.clock.Add(time.Hour)
	_, _ = p.hear(dataTopic, temperature(9, 1))
	if asked := p.Requests(sent); len(asked) != 0 {
		t.Errorf("asked %q", asked)
	}
}

func TestRequestsHaveARate(t *testing.T) {
	p := newPlant(t, Config{Asks: true})
	var asked []Request
	for second := range 3600 {
		for node := range 100 {
			_, _ = p.hear(fmt.Sprintf("spBv1.0/G/NDATA/E%d", node), temperature(second&255, 1))
		}
		now := p.Requests(sent)
		if len(now) > askBurst {
			t.Fatalf("%d at once", len(now))
		}
		asked = append(asked, now...)
		p.clock = p.clock.Add(time.Second)
	}
	of := map[string]int{}
	for _, r := range asked {
		of[r.Topic]++
	}
	for topic, n := range of {
		if n > 7 { // after 0, 1, 3, 7, 15, 31 and 63 minutes
			t.Errorf("%s was asked %d times in an hour", topic, n)
		}
	}
	if len(of) != 100 {
		t.Errorf("%d of 100 nodes were asked", len(of))
	}
	if got := p.Stats().Requests; got != uint64(len(asked)) {
		t.Errorf("%d are counted, %d were made", got, len(asked))
	}
}

// A node whose messages go missing all the time is not asked for its birth all the time, though it comes each time.
func TestABirthThatComesIsNotAskedForEverMore(t *testing.T) {
	p := born(t, Config{Asks: true})
	asked := 0
	for range 3600 {
		p.must(birthTopic, nbirthOf(0, metricOf("Temperature", 1, typeFloat).float(valueFloat, 1)))
		p.must(dataTopic, temperature(9, 1))
		asked += len(p.Requests(sent))
		p.clock = p.clock.Add(time.Second)
	}
	if asked > 7 || asked == 0 {
		t.Errorf("asked %d times in an hour", asked)
	}
}

// What is long in a message is not multiplied by what is many.
func TestLongNamesCostNoMoreThanTheMessage(t *testing.T) {
	long := strings.Repeat("n", 900)
	var metrics []message
	for i := range 20 {
		metrics = append(metrics, metricOf(fmt.Sprintf("%s%d", long, i), i, typeInt8Array).bytes(valueBytes, make([]byte, 1024)))
	}
	p := newPlant(t, Config{})
	if got, err := p.hear(birthTopic, nbirthOf(0, metrics...)); sensors.ReasonOf(err) != sensors.TooLarge {
		t.Errorf("%d readings, %v", len(got.Readings), err)
	}
	got := p.must(birthTopic, nbirthOf(0, metricOf(strings.Repeat("n", 5000), -1, typeInt8Array).bytes(valueBytes, make([]byte, 1024)),
		metricOf("x", -1, typeInt32).bytes(9, property("engUnit", typeString, message{}.text(8, strings.Repeat("u", 1000)))).uint(valueInt, 1)))
	if r := readingOf(t, got, "x"); r.Unit != "" || len(got.Readings) != 3 {
		t.Errorf("%d readings, %v", len(got.Readings), r)
	}
	if _, err := p.hear("spBv1.0/STATE/H", append(StatePayload(true, sent), make([]byte, 5000)...)); sensors.ReasonOf(err) != sensors.TooLarge {
		t.Errorf("a state: %v", err)
	}
}

func TestEpisodesAreToldAtOnceAndThenSeldom(t *testing.T) {
	p := born(t, Config{})
	told := 0
	var missing uint64
	for i := range 7200 { // every other message is lost, for two hours
		p.must(dataTopic, temperature((3+2*i)&255, 1))
		for _, e := range p.events() {
			told++
			missing += e.Messages
		}
		if i == 0 && told != 1 {
			t.Error("the first is not told at once")
		}
		p.clock = p.clock.Add(time.Second)
	}
	if told > 8 || told < 3 {
		t.Errorf("told %d times", told)
	}
	p.clock = p.clock.Add(3 * time.Hour)
	for _, e := range p.events() {
		missing += e.Messages
	}
	if missing != 7200 {
		t.Errorf("%d of 7200 are told", missing)
	}
	// Much later it is another episode, and told at once.
	p.clock = p.clock.Add(48 * time.Hour)
	p.must(dataTopic, temperature((3+2*7200)&255, 1))
	p.want("gap")
}

func TestCommandsAreNoReadings(t *testing.T) {
	p := born(t, Config{})
	for _, topic := range []string{"spBv1.0/G1/NCMD/E1", "spBv1.0/G1/DCMD/E1/D1"} {
		got := p.must(topic, payloadOf(-1, metricOf("Speed", 2, typeInt32).uint(valueInt, 9000)))
		if len(got.Readings) != 0 || got.Decoder != "sparkplug/2" {
			t.Errorf("%s: %v", topic, got)
		}
	}
	p.must(dataTopic, temperature(2, 1))
	p.want()
}

func TestWhatLaterVersionsSendIsKept(t *testing.T) {
	p := born(t, Config{})
	for _, topic := range []string{"spBv1.0/G1/NREBIRTH/E1", "spBv1.0/G1/NMETA/E1", "spBv1.0/G1/NRESP/E1/x/y"} {
		if got := p.must(topic, temperature(2, 1)); len(got.Readings) != 0 || got.Doubt == "" {
			t.Errorf("%s: %v", topic, got)
		}
	}
	// Fields that are not known, and a number of the birth in data, as version 4 has it.
	b := message(payloadOf(2, metricOf("", 1, 0).float(valueFloat, 1).uint(99, 5), metricOf(bdSeqMetric, -1, 0).uint(valueLong, 0))).uint(6, 1).text(900, "x")
	b = protowire.AppendTag(b, 77, protowire.StartGroupType)
	b = protowire.AppendTag(b, 77, protowire.EndGroupType)
	readingOf(t, p.must(dataTopic, b), "Temperature")
	p.want()
}

func TestTwoMachinesAreNeverOne(t *testing.T) {
	devices := map[string]string{}
	for _, topic := range []string{
		"spBv1.0/G/NBIRTH/E", "spBv1.0/G/DBIRTH/E/D", "spBv1.0/G/NBIRTH/D", "spBv1.0/E/NBIRTH/D", "spBv1.0/G/DBIRTH/E/E", "x/spBv1.0/G/NBIRTH/E",
		"x/spBv1.0/G/DBIRTH/E/D", "spBv1.0/x/DBIRTH/G/E", "spBv1.0/x/NBIRTH/G", "x/y/spBv1.0/G/NBIRTH/E",
	} {
		got := newPlant(t, Config{}).must(topic, payloadOf(0, metricOf("m", -1, typeInt32).uint(valueInt, 1)))
		device := got.Readings[0].Device
		if other, taken := devices[device]; taken {
			t.Errorf("%s and %s are both %q", topic, other, device)
		}
		devices[device] = topic
	}
}

func TestMemoryIsBounded(t *testing.T) {
	limits := Limits{Nodes: 50, Devices: 100, Bytes: 1 << 20}
	p := newPlant(t, Config{Limits: limits})
	check := func() {
		t.Helper()
		if p.bytes > limits.Bytes || len(p.nodes) > limits.Nodes || p.devices > limits.Devices {
			t.Fatalf("%d bytes, %d nodes, %d devices", p.bytes, len(p.nodes), p.devices)
		}
	}
	name := strings.Repeat("n", 900)
	for i := range 500 {
		topic := fmt.Sprintf("spBv1.0/%s/NBIRTH/%d", name, i)
		var metrics []message
		for m := range i % 100 {
			metrics = append(metrics, metricOf(fmt.Sprintf("%s%d", name, m), m, typeInt32).uint(valueInt, 1))
		}
		_, _ = p.hear(topic, nbirthOf(i&255, metrics...))
		_, _ = p.hear(fmt.Sprintf("spBv1.0/%s/DBIRTH/%d/%d", name, i%50, i), payloadOf(0, metricOf("x", 1, typeInt32).uint(valueInt, 1)))
		check()
	}
	p.want("full")
	if _, err := p.hear("spBv1.0/G/NBIRTH/"+strings.Repeat("x", 2000), nbirthOf(0)); err == nil {
		t.Error("an id has no end")
	}
	// What is at work stays; what is dead makes room, after a while.
	p = newPlant(t, Config{Limits: limits})
	for i := range 50 {
		p.must(fmt.Sprintf("spBv1.0/G/NBIRTH/%d", i), nbirthOf(0, metricOf("m", 1, typeInt32).uint(valueInt, 1)))
	}
	p.clock = p.clock.Add(24 * time.Hour)
	_, _ = p.hear("spBv1.0/G/NDATA/new", temperature(1, 1))
	p.want("full")
	p.must("spBv1.0/G/NDEATH/7", ndeathOf(0))
	p.clock = p.clock.Add(2 * time.Minute)
	p.must("spBv1.0/G/NBIRTH/new", nbirthOf(0))
	for i := range 50 {
		if i != 7 {
			readingOf(t, p.must(fmt.Sprintf("spBv1.0/G/NDATA/%d", i), payloadOf(1, metricOf("", 1, 0).uint(valueInt, 1))), "m")
		}
	}
	check()
	if _, err := p.hear("spBv1.0/G/NDATA/7", temperature(1, 1)); err == nil {
		t.Error("the dead one is still known")
	}
	check()
}

// What a Host knows goes on in another one, as if there had been one.
func TestMemoryOutlivesAHost(t *testing.T) {
	p := born(t, Config{})
	p.must("spBv1.0/G1/NBIRTH/E2", nbirthOf(9, metricOf("A", 1, typeInt32).uint(valueInt, 1)))
	p.must("spBv1.0/G1/NDEATH/E2", ndeathOf(9))
	p.must(dataTopic, temperature(2, 1))
	if !p.Unsaved() {
		t.Error("births are unsaved")
	}
	m, unsaved := p.Memory()
	if len(unsaved) != 2 {
		t.Errorf("%d payloads are to be saved", len(unsaved))
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	before := p.Stats().Bytes
	p.Saved(unsaved)
	if after := p.Stats().Bytes; after >= before || p.Unsaved() {
		t.Errorf("%d bytes, %d before", after, before)
	}

	var again Memory
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	q := newPlant(t, Config{})
	q.Remember(again, func(hash string) []byte {
		for h, b := range unsaved {
			if h.String() == hash {
				return b
			}
		}
		return nil
	})
	if q.Unsaved() || q.Stats().Bytes != p.Stats().Bytes {
		t.Errorf("%d bytes, %d before", q.Stats().Bytes, p.Stats().Bytes)
	}
	q.want()
	want, got := p.must(ddataTopic, speed(3, 7)), q.must(ddataTopic, speed(3, 7))
	if fmt.Sprint(jsonOf(t, want.Readings[0].Value), want.Readings[0].Device, want.Readings[0].Name, *want.Readings[0].Meaning) != fmt.Sprint(jsonOf(t, got.Readings[0].Value), got.Readings[0].Device, got.Readings[0].Name, *got.Readings[0].Meaning) {
		t.Errorf("got %v, want %v", got, want)
	}
	q.must(dataTopic, temperature(6, 1)) // 4 and 5 went missing meanwhile
	q.want("gap")
	q.must("spBv1.0/G1/NBIRTH/E2", nbirthOf(10))
	q.want()

	// What came behind the memory is taken again from wherever it was kept.
	q = newPlant(t, Config{})
	q.Remember(again, func(string) []byte { return nil })
	q.Recall(birthTopic, lightchain.QoS0, nbirthOf(0, metricOf("Temperature", 5, typeFloat).float(valueFloat, 1)), arrived)
	q.want()
	readingOf(t, q.must(dataTopic, payloadOf(1, metricOf("", 5, 0).float(valueFloat, 1))), "Temperature")
	q.want()
}

func TestHashedPayloadsAndThoseNotReadLeaveNoGap(t *testing.T) {
	p := born(t, Config{})
	if got, err := p.hearFlagged(dataTopic, lightchain.PayloadHashed|lightchain.QoS0, make([]byte, 32)); err != nil || len(got.Readings) != 0 {
		t.Errorf("%v, %v", got, err)
	}
	p.must(dataTopic, temperature(9, 1))
	p.want()
	p.Unseen(ddataTopic)
	p.must(dataTopic, temperature(20, 1))
	p.want()
}
