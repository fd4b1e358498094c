package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/sensors"
)

// What a configuration can leave out of a payload is no difference; a value that is not in it is.
func TestValuesAreAmongThoseOfThePayload(t *testing.T) {
	values := func(all ...int64) (readings []lightchain.Reading) {
		for _, v := range all {
			readings = append(readings, lightchain.Reading{Value: lightchain.Int(v)})
		}
		return readings
	}
	for _, c := range []struct {
		some []int64
		want bool
	}{{[]int64{1, 2, 3}, true}, {[]int64{2, 3}, true}, {[]int64{1, 3}, true}, {[]int64{3, 2}, false}, {[]int64{1, 4}, false}, {[]int64{1, 1}, false}, {[]int64{1, 2, 3, 3}, false}} {
		if got := among(values(c.some...), values(1, 2, 3)); got != c.want {
			t.Errorf("%v among 1, 2, 3: %t", c.some, got)
		}
	}
}

// However many readings an entry has, and its topic levels, each is looked at once.
func TestReadingsOfTheTopicAreFoundInOnePass(t *testing.T) {
	const many = 65_535
	text := func(s string) lightchain.Reading { return lightchain.Reading{Value: lightchain.Text(s)} }
	for _, c := range []struct {
		readings []lightchain.Reading
		levels   []string
		want     int
	}{
		{nil, []string{"a"}, 0},
		{[]lightchain.Reading{text("a"), text("b"), text("a")}, []string{"a"}, 1},
		{[]lightchain.Reading{text("a"), text("b"), text("a")}, []string{"b", "c", "a"}, 3},
		{[]lightchain.Reading{text("a"), text("b")}, []string{"a"}, 0},
		{slices.Repeat([]lightchain.Reading{text("a")}, many), append(slices.Repeat([]string{"0"}, many), "a"), many},
		{slices.Repeat([]lightchain.Reading{text("a")}, many), slices.Repeat([]string{"0"}, many), 0},
	} {
		asked := 0
		got := lastOf(c.readings, func(yield func(lightchain.Value) bool) {
			for _, level := range c.levels {
				if asked++; !yield(lightchain.Text(level)) {
					return
				}
			}
		})
		if got != c.want || asked > len(c.levels) {
			t.Errorf("%d readings, %d levels: %d are of the topic, want %d; levels were read %d times", len(c.readings), len(c.levels), got, c.want, asked)
		}
	}
}

// A topic that no broker can carry is not read by: what it names would be the topic over and over.
func TestWhatCameOnNoTopicIsNotReadAgain(t *testing.T) {
	levels := func(n int) string { return strings.Repeat("a/", n-1) + "a" }
	for topic, want := range map[string]reread{
		strings.Repeat("a", maxTopic): sameAll, strings.Repeat("a", maxTopic+1): notReread, levels(maxLevels): sameAll, levels(maxLevels + 1): notReread,
	} {
		e := &lightchain.Entry{Source: "mqtt:x:" + topic, Payload: []byte(`{"b":1}`), Decoder: "json/2", Readings: []lightchain.Reading{{Device: topic, Name: "b", Value: lightchain.Int(1)}}}
		if got, _ := readAgain(e); got != want {
			t.Errorf("a topic of %d bytes: %q, want %q", len(topic), got, want)
		}
	}
}

// What a gateway's configuration makes of an honest payload never looks like another value.
func TestNoConfigurationMakesADifference(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	for _, c := range []struct {
		cfg     sensors.Config
		payload string
		want    reread
	}{
		{sensors.Config{}, `{"a":1}`, sameAll},
		{sensors.Config{TopicParsing: []sensors.TopicRule{{Topic: "+/+/+", Fields: "_/line/_"}}}, `{"a":1}`, withTopic},
		{sensors.Config{TopicParsing: []sensors.TopicRule{{Topic: "+/+/+", Fields: "_/line/shift"}}}, `{}`, withTopic},
		{sensors.Config{MessagesPath: "m.*", ValuePath: "v", NamePath: "id", TimestampPath: "t"}, `{"m":[{"id":"a","v":[1,2],"t":5},{"id":"b","v":3}]}`, sameValues},
		{sensors.Config{Numbers: []string{"*"}}, `{"a":"23,5 V"}`, sameValues},
		{sensors.Config{Dialect: "pairs", Separator: "|"}, `a=1|b=2`, notReread},
		{sensors.Config{Dialect: "influx", DevicePath: "host"}, `m,host=a t=1i,u="x" 1700000000000000000`, sameValues},
	} {
		d, err := sensors.New(c.cfg)
		if err != nil {
			t.Fatal(err)
		}
		read, err := d.Read("plant/line7/2", "", []byte(c.payload), at)
		if err != nil {
			t.Fatal(err)
		}
		e := &lightchain.Entry{Source: "mqtt:a:plant/line7/2", Received: at.UnixNano(), Payload: []byte(c.payload), Decoder: read.Decoder, Readings: read.Readings}
		if got, _ := readAgain(e); got != c.want {
			t.Errorf("%+v of %s: %q, want %q", c.cfg, c.payload, got, c.want)
		}
		e.Readings = append(e.Readings, lightchain.Reading{Value: lightchain.Int(4711)})
		if got, _ := readAgain(e); got != differs && c.want != notReread {
			t.Errorf("%s and a value that is not in it: %q", c.payload, got)
		}
	}
}

// A value under the name of another, and a level of the topic that passes for what the payload says, are told.
func TestReadingsThatContradictTheirPayloadAreTold(t *testing.T) {
	const payload = `{"temperature": 73.97, "strokes": 1042}`
	value := func(device, name string, v lightchain.Value) lightchain.Reading {
		return lightchain.Reading{Device: device, Name: name, Value: v}
	}
	for about, c := range map[string]struct {
		readings []lightchain.Reading
		want     reread
		says     string
	}{
		"as it is":             {[]lightchain.Reading{value("press-07", "temperature", lightchain.Float(73.97))}, sameValues, "these values, too; names"},
		"renamed":              {[]lightchain.Reading{value("press-07", "strokes/min", lightchain.Int(1042))}, sameValues, "these values, too; names"},
		"swapped":              {[]lightchain.Reading{value("press-07", "temperature", lightchain.Int(1042))}, differs, "READ AGAIN"},
		"swapped, both":        {[]lightchain.Reading{value("x", "strokes", lightchain.Float(73.97)), value("x", "temperature", lightchain.Int(1042))}, differs, "READ AGAIN"},
		"a level under a name": {[]lightchain.Reading{value("press-07", "temperature", lightchain.Int(95))}, differs, "READ AGAIN"},
		"a level":              {[]lightchain.Reading{value("press-07", "temperature", lightchain.Float(73.97)), value("press-07", "hall", lightchain.Int(95))}, withTopic, "not in the payload, but a level of the topic: press-07 hall = 95"},
		"a level alone":        {[]lightchain.Reading{value("press-07", "pressure", lightchain.Int(95))}, withTopic, "not in the payload, but a level of the topic: press-07 pressure = 95"},
		"what is neither":      {[]lightchain.Reading{value("press-07", "pressure", lightchain.Int(96))}, differs, "READ AGAIN"},
	} {
		e := &lightchain.Entry{Source: "mqtt:plant:hall/95/press-07", Payload: []byte(payload), Decoder: "json/2", Readings: c.readings}
		if got, _ := readAgain(e); got != c.want {
			t.Errorf("%s: %q, want %q", about, got, c.want)
		}
		if notes := strings.Join(rereadNotes(e), "\n"); !strings.Contains(notes, c.says) || c.says != "these values, too; names" && strings.Contains(notes, "these values, too; names") {
			t.Errorf("%s: %s", about, notes)
		}
	}
}
