package main

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"edgechain.example/lightchain"
	"edgechain.example/sensors"
)

// reread is what came of reading an entry's payload again, by the decoder that the entry names and without the gateway's
// configuration, which the entry does not have.
type reread string

const (
	notReread  reread = ""        // the entry names no decoder of this program, or its payload is not there, or no topic is so long or deep
	sameAll    reread = "same"    // the same readings
	sameValues reread = "values"  // no other values, in the same order; names, units or times are others, or members are left out
	withTopic  reread = "topic"   // the same, but for the last ones, which are levels of the topic and not in the payload
	differs    reread = "differs" // other values, or one of them under a name that has another here
)

// Readings begin with the topic, and the work of reading again grows with it: maxTopic is the most bytes that MQTT has room for,
// maxLevels the most levels that Mosquitto takes.
const (
	maxTopic  = 1<<16 - 1
	maxLevels = 200
)

// readAgain compares an entry's readings with what its payload gives here.
func readAgain(e *lightchain.Entry) (result reread, here []lightchain.Reading) {
	if len(e.Readings) == 0 || e.Flags&lightchain.PayloadHashed != 0 {
		return notReread, nil
	}
	topic, client := arrival(e.Source)
	if len(topic) > maxTopic || strings.Count(topic, "/") >= maxLevels {
		return notReread, nil
	}
	here, known, err := sensors.Again(e.Decoder, topic, client, e.Payload, time.Unix(0, e.Received))
	switch {
	case !known:
		return notReread, nil
	case err != nil:
		return differs, nil
	case slices.EqualFunc(here, e.Readings, equalReadings):
		return sameAll, here
	}
	if swapped(e.Readings, here) {
		return differs, here
	}
	if among(e.Readings, here) {
		return sameValues, here
	}
	// Those of the topic stand last. What is among the payload's values stays so when fewer are looked for.
	own := len(e.Readings) - lastOf(e.Readings, sensors.Levels(topic))
	if among(e.Readings[:own], here) {
		return withTopic, here
	}
	return differs, here
}

// lastOf returns how many of the last readings have values that are among others. Either list is gone through once: an entry may
// have 65,535 readings, and as many others.
func lastOf(readings []lightchain.Reading, others iter.Seq[lightchain.Value]) (n int) {
	found := make(map[lightchain.Value]bool, len(readings))
	for i := range readings {
		found[readings[i].Value] = false
	}
	for v := range others {
		if _, asked := found[v]; asked {
			found[v] = true
		}
	}
	for n < len(readings) && found[readings[len(readings)-1-n].Value] {
		n++
	}
	return n
}

// swapped reports whether a reading has another value than the payload gives under its name, of its device if that is there: a
// configuration renames what it reads, and does not call one value as the payload calls another.
func swapped(recorded, here []lightchain.Reading) bool {
	type named struct{ device, name string }
	type valued struct {
		named
		value lightchain.Value
	}
	given, values := map[named]bool{}, map[valued]bool{}
	give := func(n named, v lightchain.Value) {
		given[n], values[valued{n, v}] = true, true
		if number, ok := asNumber(v); ok {
			values[valued{n, number}] = true
		}
	}
	for i := range here {
		r := &here[i]
		give(named{"", r.Name}, r.Value)
		if r.Device != "" {
			give(named{r.Device, r.Name}, r.Value)
		}
	}
	for i := range recorded {
		r := &recorded[i]
		n := named{r.Device, r.Name}
		if !given[n] {
			n.device = ""
		}
		if r.Name != "" && given[n] && !values[valued{n, r.Value}] {
			return true
		}
	}
	return false
}

// ofTopic returns the readings at the end that are levels of the topic: as few as leave the others among those of the payload.
func ofTopic(all, here []lightchain.Reading) []lightchain.Reading {
	return all[beginning(all, here):]
}

// among reports whether the values of some readings stand among those of others, in the same order. A configuration takes
// members of a payload for its time, leaves them out, or says that a text is a number.
func among(some, all []lightchain.Reading) bool { return beginning(some, all) == len(some) }

// beginning returns how many of the first of some readings have values that stand among those of others, in the same order.
func beginning(some, all []lightchain.Reading) (n int) {
	for i := range all {
		if n < len(some) && sameValue(some[n].Value, all[i].Value) {
			n++
		}
	}
	return n
}

func sameValue(recorded, here lightchain.Value) bool {
	if recorded.Kind() != lightchain.KindText {
		if number, ok := asNumber(here); ok {
			return recorded == number
		}
	}
	return recorded == here
}

// asNumber returns the number that a text is.
func asNumber(v lightchain.Value) (lightchain.Value, bool) {
	text, ok := v.Text()
	if !ok || v.Kind() != lightchain.KindText {
		return v, false
	}
	number, _, isNumber := sensors.NumberIn(text)
	return number, isNumber
}

func equalReadings(a, b lightchain.Reading) bool {
	a.Meaning, b.Meaning = nil, nil // what it is the hash of is elsewhere
	return a == b
}

// arrival returns the topic and the client id that a source tells of, where it does.
func arrival(source string) (topic, client string) {
	kind, rest, _ := strings.Cut(source, ":")
	if kind != "mqtt" && kind != "broker" {
		return "", ""
	}
	name, topic, _ := strings.Cut(rest, ":")
	if kind == "broker" {
		_, client, _ = strings.Cut(name, "/")
		client = sensors.NameInSource(client)
	}
	return topic, client
}

// mostShown is how many readings a difference shows.
const mostShown = 8

// rereadNotes says what came of it in words.
func rereadNotes(e *lightchain.Entry) (notes []string) {
	result, here := readAgain(e)
	switch result {
	case sameAll:
		notes = append(notes, "read again by this program, the payload gives the same readings")
	case sameValues:
		notes = append(notes, "read again by this program, the payload gives these values, too; names, units, times, and what of it is left out, are the gateway's configuration's, which is not here")
	case withTopic:
		topic := ofTopic(e.Readings, here)
		if len(topic) < len(e.Readings) {
			notes = append(notes, "read again by this program, the payload gives these values, too, but for those named below; names, units, times, and what of it is left out, are the gateway's configuration's, which is not here")
		}
		for i := range topic[:min(len(topic), mostShown)] {
			notes = append(notes, "not in the payload, but a level of the topic: "+reading(&topic[i]))
		}
		if more := len(topic) - mostShown; more > 0 {
			notes = append(notes, fmt.Sprintf("and %d readings more", more))
		}
	case differs:
		notes = append(notes, "READ AGAIN by this program, the payload does not give these readings. Unless the gateway's configuration, which is not here, explains it, they are not what arrived")
		for i := range here[:min(len(here), mostShown)] {
			notes = append(notes, "read here as "+reading(&here[i]))
		}
		if more := len(here) - mostShown; more > 0 {
			notes = append(notes, fmt.Sprintf("and %d readings more", more))
		}
	}
	return notes
}
