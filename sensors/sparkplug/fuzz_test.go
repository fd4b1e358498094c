package sparkplug

import (
	"math"
	"testing"

	"edgechain.example/lightchain"
)

// fuzzSeeds are payloads that use all that there is.
func fuzzSeeds(t testing.TB) [][]byte {
	set := message{}.text(2, "A").text(2, "B").uint(3, uint64(typeInt32)).uint(3, uint64(typeString)).
		bytes(4, message{}.bytes(1, message{}.uint(1, 5)).bytes(1, message{}.text(6, "x")))
	template := message{}.text(4, "T").bytes(2, metricOf("x", 8, typeInt32).uint(valueInt, 1)).bytes(3, message{}.text(1, "p").uint(2, uint64(typeFloat)).float(5, 1))
	full := nbirthOf(3,
		metricOf("i", 1, typeInt8).uint(valueInt, math.MaxUint32-2), metricOf("l", 2, typeInt64).uint(valueLong, math.MaxUint64),
		metricOf("f", 3, typeFloat).float(valueFloat, 20.5), metricOf("d", 4, typeDouble).double(valueDouble, 1e300),
		metricOf("s", 5, typeString).text(valueString, "on"), metricOf("b", 6, typeBytes).bytes(valueBytes, []byte{1, 2}),
		metricOf("set", 7, typeDataSet).bytes(valueDataSet, set), metricOf("t", 9, typeTemplate).bytes(valueTemplate, template),
		metricOf("a", 10, typeBooleanArray).bytes(valueBytes, []byte{12, 0, 0, 0, 0x34, 0xd0}), metricOf("n", 11, typeInt32).uint(7, 1),
		metricOf("q", 12, typeInt32).uint(5, 1).uint(6, 1).bytes(8, message{}.uint(2, 5)).bytes(9, property("Quality", typeInt32, message{}.uint(3, 500))).uint(valueInt, 4),
		metricOf("u", 13, typeUInt64).bytes(9, property("engUnit", typeString, message{}.text(8, "°C"))).uint(valueLong, math.MaxUint64),
		metricOf("texts", 14, typeStringArray).text(valueBytes, "a\x00b\x00"))
	return [][]byte{
		full, payloadOf(1, metricOf("", 1, 0).uint(valueInt, 7), metricOf("", 9, 0).bytes(valueTemplate, template)), ndeathOf(3), nil,
		message{}.text(4, compressed).bytes(5, squeeze(t, "GZIP", full)), message{}.text(4, compressed).bytes(5, squeeze(t, "DEFLATE", full)),
		[]byte(`{"online":true,"timestamp":1700000000000}`),
	}
}

// Whatever comes, what is made of it can stand in an entry, twice the same, and what is remembered stays within its bounds.
func FuzzRead(f *testing.F) {
	topics := []string{birthTopic, dataTopic, deathTopic, dbirthTopic, ddataTopic, ddeathTopic, "spBv1.0/STATE/H", "$sparkplug/certificates/" + birthTopic, "spBv1.0/G1/NCMD/E1", "x/spBv1.0/G1/NEW/E1/D1", "spBv1.0"}
	for _, seed := range fuzzSeeds(f) {
		for i := range topics {
			f.Add(seed, seed, byte(i), byte(i+1), uint8(i))
		}
	}
	f.Fuzz(func(t *testing.T, first, second []byte, a, b byte, flags uint8) {
		limits := Limits{Nodes: 2, Devices: 2, Bytes: 64 << 10}
		read := func(p *plant) (all []string) {
			for _, m := range []struct {
				topic string
				b     []byte
			}{{topics[int(a)%len(topics)], first}, {topics[int(b)%len(topics)], second}, {dataTopic, second}} {
				got, err := p.hearFlagged(m.topic, lightchain.Flags(flags)&(lightchain.Retained|lightchain.Redelivered|lightchain.QoS0), m.b)
				all = append(all, got.Doubt)
				if err != nil {
					all = append(all, err.Error())
				}
				for _, r := range got.Readings {
					all = append(all, r.Device, r.Name, r.Unit, r.Value.String())
				}
			}
			if p.bytes > limits.Bytes || len(p.nodes) > limits.Nodes || p.devices > limits.Devices {
				t.Errorf("%d bytes, %d nodes, %d devices", p.bytes, len(p.nodes), p.devices)
			}
			return all
		}
		p := newPlant(t, Config{Limits: limits, Asks: true})
		once, twice := read(p), read(newPlant(t, Config{Limits: limits}))
		if len(once) != len(twice) {
			t.Fatalf("read once %q, and then %q", once, twice)
		}
		for i := range once {
			if once[i] != twice[i] {
				t.Errorf("read once %q, and then %q", once[i], twice[i])
			}
		}
		for _, e := range p.events() {
			if e.Times == 0 {
				t.Errorf("told of nothing: %v", e)
			}
		}
		m, unsaved := p.Memory()
		q := newPlant(t, Config{Limits: limits})
		q.Remember(m, func(hash string) []byte {
			for h, b := range unsaved {
				if h.String() == hash {
					return b
				}
			}
			return nil
		})
		if back, _ := q.Memory(); len(back.Nodes) != len(m.Nodes) {
			t.Errorf("remembers %v of %v", back, m)
		}
	})
}

func TestAPayloadCutShortAnywhereNeverPanics(t *testing.T) {
	for _, seed := range fuzzSeeds(t) {
		for i := range len(seed) + 1 {
			p := born(t, Config{})
			for _, topic := range []string{dataTopic, birthTopic, ddataTopic} {
				_, _ = p.hear(topic, seed[:i])
			}
		}
	}
}
