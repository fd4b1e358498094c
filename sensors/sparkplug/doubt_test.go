package sparkplug

import (
	"strings"
	"testing"

	"edgechain.example/lightchain"
	"edgechain.example/sensors"
)

// mustNot requires that a message has no reading, since nobody can tell which birth named its metrics.
func (p *plant) mustNot(topic string, flags lightchain.Flags, b []byte) {
	p.t.Helper()
	if got, err := p.hearFlagged(topic, flags, b); sensors.ReasonOf(err) != sensors.NoBirth {
		p.t.Errorf("%s: read as %v, %v, and its birth is not known", topic, got.Readings, err)
	}
}

// A birth that came and was not read has given the aliases another meaning: the one before does not name what comes.
func TestABirthThatIsNotReadEndsTheOneBefore(t *testing.T) {
	var many []message
	for range maxMetrics {
		many = append(many, message{})
	}
	for name, unread := range map[string]func(p *plant, topic string){
		"nobody wants it": func(p *plant, topic string) { p.Unseen(topic) },
		"its hash alone came": func(p *plant, topic string) {
			_, _ = p.hearFlagged(topic, lightchain.PayloadHashed|lightchain.QoS0, make([]byte, 32))
		},
		"its hash alone is in the chain": func(p *plant, topic string) {
			p.Recall(topic, lightchain.PayloadHashed|lightchain.QoS0, make([]byte, 32), arrived)
		},
		"it is torn":            func(p *plant, topic string) { _, _ = p.hear(topic, nbirthOf(1)[:20]) },
		"it has too much":       func(p *plant, topic string) { _, _ = p.hear(topic, nbirthOf(1, many...)) },
		"it cannot be inflated": func(p *plant, topic string) { _, _ = p.hear(topic, message{}.text(4, compressed).text(5, "\xff\xff")) },
	} {
		t.Run(name, func(t *testing.T) {
			p := born(t, Config{Asks: true})
			unread(p, birthTopic)
			p.mustNot(dataTopic, lightchain.QoS0, temperature(1, 1))
			p.mustNot(ddataTopic, lightchain.QoS0, speed(2, 1))
			p.want("unborn")
			if asked := p.Requests(sent); len(asked) != 1 {
				t.Errorf("asked %q", asked)
			}
			p.must(birthTopic, nbirthOf(0, metricOf("Temperature", 1, typeFloat).float(valueFloat, 1)))
			readingOf(t, p.must(dataTopic, temperature(1, 1)), "Temperature")

			p = born(t, Config{})
			unread(p, dbirthTopic)
			p.mustNot(ddataTopic, lightchain.QoS0, speed(3, 1))
			readingOf(t, p.must(dataTopic, temperature(4, 1)), "Temperature") // the node's own is known

			for death, data := range map[string]struct {
				topic string
				b     []byte
			}{deathTopic: {dataTopic, temperature(3, 1)}, ddeathTopic: {ddataTopic, speed(3, 1)}} {
				p = born(t, Config{})
				unread(p, death)
				p.mustNot(data.topic, lightchain.QoS0, data.b)
			}
		})
	}
	// A replay that cannot be read is none that came now.
	p := born(t, Config{})
	_, _ = p.hearFlagged(birthTopic, lightchain.Retained, []byte("\xff"))
	_, _ = p.hearFlagged(birthTopic, lightchain.Retained|lightchain.PayloadHashed, make([]byte, 32))
	p.Unseen("$sparkplug/certificates/" + birthTopic)
	readingOf(t, p.must(dataTopic, temperature(2, 1)), "Temperature")
}

// Who erases a retained message sends an empty one, which is neither a birth without metrics nor data.
func TestAnEmptyPayloadErasesARetainedMessage(t *testing.T) {
	p := born(t, Config{})
	for _, topic := range []string{birthTopic, dbirthTopic, dataTopic, ddataTopic, "spBv1.0/G9/NBIRTH/E9"} {
		if got := p.must(topic, nil); len(got.Readings) != 0 {
			t.Errorf("%s: %v", topic, got)
		}
	}
	readingOf(t, p.must(dataTopic, temperature(2, 1)), "Temperature")
	readingOf(t, p.must(ddataTopic, speed(3, 1)), "Speed")
	p.want()
	if s := p.Stats(); s.Nodes != 1 || s.Births != 2 {
		t.Errorf("%+v", s)
	}
	p.must(deathTopic, nil) // a will without anything in it
	p.mustNot(dataTopic, lightchain.QoS0, temperature(4, 1))
}

// What was sent before a birth, and comes behind it, is not named by it.
func TestWhatComesLateIsNotNamedByALaterBirth(t *testing.T) {
	p := born(t, Config{})
	p.must(birthTopic, nbirthOf(1, metricOf("Pressure", 1, typeFloat).float(valueFloat, 1)))
	p.mustNot(dataTopic, lightchain.QoS0, temperature(252, 1)) // of the connection before
	readingOf(t, p.must(dataTopic, temperature(1, 1)), "Pressure")
	p.must(dbirthTopic, payloadOf(2, metricOf("Speed", 2, typeInt32).uint(valueInt, 1)))
	p.must(ddataTopic, speed(3, 1))
	p.must(dbirthTopic, payloadOf(6, metricOf("Torque", 2, typeInt32).uint(valueInt, 1))) // 4 and 5 are missing
	p.mustNot(ddataTopic, lightchain.QoS0, speed(4, 1))
	readingOf(t, p.must(ddataTopic, speed(7, 1)), "Torque")
	p.must(dataTopic, temperature(9, 1))
	readingOf(t, p.must(ddataTopic, speed(8, 1)), "Torque") // late, and behind its birth
	p.must(dbirthTopic, payloadOf(5, metricOf("Speed", 2, typeInt32).uint(valueInt, 1)))
	readingOf(t, p.must(ddataTopic, speed(10, 1)), "Torque") // a birth that comes late is not the newest
	p.must(ddeathTopic, payloadOf(4))
	readingOf(t, p.must(ddataTopic, speed(11, 1)), "Torque") // nor is a death the device's last

	// After a start, what is delivered again finds the birth that is remembered.
	m, unsaved := p.Memory()
	q := newPlant(t, Config{})
	q.Remember(m, func(hash string) []byte {
		h, _ := lightchain.ParseHash(hash)
		return unsaved[h]
	})
	if got, err := q.hearFlagged(ddataTopic, lightchain.Redelivered, speed(9, 1)); err != nil || got.Readings[0].Name != "Torque" {
		t.Errorf("%v, %v", got, err)
	}
}

// at is when a payload was sent.
func at(b []byte, ms uint64) []byte { return message(b).uint(1, ms) }

// What a broker keeps has no place in the order: its time says which is newer.
func TestReplaysAreOrderedByTheirTime(t *testing.T) {
	const kept = "$sparkplug/certificates/"
	torque := func(ms uint64) []byte {
		return at(payloadOf(1, metricOf("Torque", 2, typeInt32).uint(valueInt, 1)), ms)
	}
	pressure := func(ms uint64) []byte {
		return at(nbirthOf(3, metricOf("Pressure", 1, typeFloat).float(valueFloat, 1)), ms)
	}
	// The node was born again while nobody listened.
	p := born(t, Config{})
	p.must(kept+dbirthTopic, torque(sent+2000))
	p.must(kept+birthTopic, pressure(sent+1000))
	readingOf(t, p.must(dataTopic, temperature(7, 1)), "Pressure")
	readingOf(t, p.must(ddataTopic, speed(8, 1)), "Torque")
	// A device that was not born again is not known any more, and an older replay changes nothing.
	p = born(t, Config{})
	p.must(kept+birthTopic, pressure(sent+1000))
	p.must(kept+dbirthTopic, torque(sent+500))
	p.must(kept+birthTopic, nbirthOf(2, metricOf("Other", 1, typeFloat).float(valueFloat, 1)))
	readingOf(t, p.must(dataTopic, temperature(7, 1)), "Pressure")
	p.mustNot(ddataTopic, lightchain.QoS0, speed(8, 1))
	// Data that the broker keeps is of an older birth, or it says so itself.
	p = born(t, Config{})
	p.must(birthTopic, pressure(sent+1000))
	p.mustNot(dataTopic, lightchain.Retained, temperature(5, 1))
	if got, err := p.hearFlagged(dataTopic, lightchain.Retained, at(temperature(5, 1), sent+1500)); err != nil || got.Readings[0].Name != "Pressure" {
		t.Errorf("%v, %v", got, err)
	}
	// A device that has died is not born by a copy of its birth.
	p = born(t, Config{})
	p.must(ddeathTopic, payloadOf(2))
	p.must(kept+dbirthTopic, payloadOf(1, metricOf("Speed", 2, typeInt32).uint(valueInt, 1500)))
	if s := p.Stats(); s.Devices != 0 {
		t.Errorf("%+v", s)
	}
	p.mustNot(ddataTopic, lightchain.QoS0, speed(3, 1))
	// Nor is a node whose birth nobody heard.
	p = newPlant(t, Config{})
	p.must(deathTopic, ndeathOf(3))
	p.must(kept+birthTopic, pressure(sent))
	if s := p.Stats(); s.Online != 0 {
		t.Errorf("%+v", s)
	}
}

// The death of a connection whose birth did not come says that the birth that is known is over.
func TestADeathOfALaterConnectionCounts(t *testing.T) {
	p := newPlant(t, Config{})
	p.must(birthTopic, nbirthOf(254, metricOf("Temperature", 1, typeFloat).float(valueFloat, 1)))
	p.must(deathTopic, ndeathOf(1)) // 255, 0 and 1 were not heard
	p.want("death")
	p.mustNot(dataTopic, lightchain.QoS0, temperature(1, 1))
	p.must(birthTopic, nbirthOf(2, metricOf("Temperature", 1, typeFloat).float(valueFloat, 1)))
	p.want("unborn", "born")
	// Who counts from 0 again at each start has the will of the time before out.
	p = newPlant(t, Config{})
	p.must(birthTopic, nbirthOf(7))
	p.must(birthTopic, nbirthOf(0, metricOf("Temperature", 1, typeFloat).float(valueFloat, 1)))
	p.must(deathTopic, ndeathOf(7))
	p.want("stale_death", "bdseq")
	readingOf(t, p.must(dataTopic, temperature(1, 1)), "Temperature")
}

// The members of a template have names of their own template, whatever aliases another one, or its definition, gives.
func TestAliasesOfTemplatesStayInThem(t *testing.T) {
	template := func(definition bool, members ...message) message {
		var m message
		for _, each := range members {
			m = m.bytes(2, each)
		}
		if definition {
			return m.uint(5, 1)
		}
		return m.text(4, "Motor")
	}
	p := newPlant(t, Config{})
	p.must(birthTopic, nbirthOf(0,
		metricOf("_types_/Motor", -1, typeTemplate).bytes(valueTemplate, template(true, metricOf("rpm", 5, typeInt32), metricOf("amps", 6, typeFloat))),
		metricOf("Line", 5, typeInt32).uint(valueInt, 3),
		metricOf("M1", 1, typeTemplate).bytes(valueTemplate, template(false, metricOf("rpm", 7, typeInt32).uint(valueInt, 1))),
		metricOf("M2", 2, typeTemplate).bytes(valueTemplate, template(false, metricOf("rpm", -1, typeInt32).uint(valueInt, 1)))))
	readingOf(t, p.must(dataTopic, payloadOf(1, metricOf("", 5, 0).uint(valueInt, 4))), "Line")
	got := p.must(dataTopic, payloadOf(2, metricOf("", 1, typeTemplate).bytes(valueTemplate, template(false, metricOf("", 7, 0).uint(valueInt, 2)))))
	readingOf(t, got, "M1.rpm")
	for _, alias := range []int{5, 6, 7} {
		p.mustNot(dataTopic, lightchain.QoS0, payloadOf(alias-2, metricOf("", 2, typeTemplate).bytes(valueTemplate, template(false, metricOf("", alias, 0).uint(valueInt, 2)))))
	}
}

// Two metrics of one name may differ in all else: data by that name is of neither.
func TestANameThatIsGivenTwiceHasNoUnit(t *testing.T) {
	unit := func(u string) message { return message{}.text(8, u) }
	p := newPlant(t, Config{})
	p.must(birthTopic, nbirthOf(0,
		metricOf("T", 1, typeInt8).bytes(9, property("unit", typeString, unit("K"))).uint(valueInt, 1),
		metricOf("T", 2, typeUInt8).bytes(9, property("unit", typeString, unit("°C"))).uint(valueInt, 1)))
	p.wantOdd(SameName)
	if r := readingOf(t, p.must(dataTopic, payloadOf(1, metricOf("T", -1, 0).uint(valueInt, 200))), "T"); r.Unit != "" || r.Value != lightchain.Int(200) {
		t.Errorf("got %v", r)
	}
	if r := readingOf(t, p.must(dataTopic, payloadOf(2, metricOf("", 1, 0).uint(valueInt, 200))), "T"); r.Unit != "K" || r.Value != lightchain.Int(-56) {
		t.Errorf("got %v", r)
	}
}

// Of a long array the readings are five, and no more room is taken than they need.
func TestLongArraysTakeTheRoomOfTheirSummary(t *testing.T) {
	var metrics []message
	for i := range 60 {
		metrics = append(metrics, metricOf(strings.Repeat("n", 20)+string(rune('A'+i)), -1, typeInt8Array).bytes(valueBytes, make([]byte, 2000)))
	}
	got := newPlant(t, Config{}).must(birthTopic, nbirthOf(0, metrics...))
	if n := len(got.Readings); n != 60*5+2 {
		t.Errorf("%d readings", n)
	}
}

// No node has a name that a host's state has.
func TestNoNodeIsNamedAsAHost(t *testing.T) {
	p := newPlant(t, Config{})
	for _, topic := range []string{"spBv1.0/spBv1.0/DBIRTH/STATE/Scada", "site/spBv1.0/STATE/NBIRTH/Scada", "spBv1.0/STATE/NBIRTH/Scada"} {
		if got, err := p.hear(topic, payloadOf(0, metricOf("online", -1, typeBoolean).uint(valueBool, 1))); err == nil {
			t.Errorf("%s: %v", topic, got.Readings)
		}
	}
}
