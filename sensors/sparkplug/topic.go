package sparkplug

import (
	"strings"

	"edgechain.example/sensors"
)

// Kinds of messages.
const (
	nbirth = "NBIRTH"
	ndeath = "NDEATH"
	ndata  = "NDATA"
	ncmd   = "NCMD"
	dbirth = "DBIRTH"
	ddeath = "DDEATH"
	ddata  = "DDATA"
	dcmd   = "DCMD"
	state  = "STATE"
)

// topic is where a message came, read.
type topic struct {
	before string // what stands before the namespace: a bridge may put something there. "" or "site1/"
	group  string
	kind   string
	node   string // of "STATE": the host
	device string // "" of a node's own

	certificate bool // a birth that the broker keeps for those that come late
}

// parseTopic reads a topic of the namespace.
//
// Sparkplug 3.0, chapter 4: namespace/group_id/message_type/edge_node_id/[device_id], and spBv1.0/STATE/sparkplug_host_id.
func parseTopic(s string) (t topic, ok bool) {
	at := 0
	s, t.certificate = strings.CutPrefix(s, sensors.SparkplugCertificates)
	if !strings.HasPrefix(s, sensors.SparkplugNamespace) {
		if at = strings.Index(s, "/"+sensors.SparkplugNamespace) + 1; at == 0 {
			return t, false
		}
	}
	t.before, s = s[:at], s[at+len(sensors.SparkplugNamespace):]
	t.group, s, _ = strings.Cut(s, "/")
	if t.group == state && !strings.Contains(s, "/") {
		t.group, t.kind, t.node = "", state, s
		return t, s != ""
	}
	t.kind, s, _ = strings.Cut(s, "/")
	var deviced bool
	t.node, t.device, deviced = strings.Cut(s, "/")
	if t.group == "" || t.kind == "" || t.node == "" || deviced && t.device == "" {
		return t, false
	}
	if t.group == state || t.group+"/" == sensors.SparkplugNamespace && t.node == state {
		return t, false // its name could be a host's, which is the topic of its state
	}
	switch t.kind {
	case nbirth, ndeath, ndata, ncmd:
		ok = !deviced
	case dbirth, ddeath, ddata, dcmd:
		ok = deviced && !strings.Contains(t.device, "/")
	default: // of a later version
		ok = true
	}
	return t, ok
}

// name is what a node is called: unique, since no id has a slash in it.
func (t *topic) name() string {
	if t.before != "" {
		return t.before + sensors.SparkplugNamespace + t.group + "/" + t.node
	}
	return t.group + "/" + t.node
}

// command is where a node takes commands.
func (t *topic) command() string {
	return t.before + sensors.SparkplugNamespace + t.group + "/" + ncmd + "/" + t.node
}
