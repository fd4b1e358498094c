// Package opcua subscribes to nodes of OPC UA servers, and records each value that a server notifies, with its status and its times.
// It owns the session with a server: who the server must be, as whom the gateway logs in, and what is subscribed to; what becomes of
// an entry is others' matter. Nothing is ever written to a server.
//
// One notified value is one entry. Its payload is what was on the wire, a node's id and a DataValue in OPC UA's binary encoding, and its
// readings are what [Readings] makes of that.
//
// # Who the server is
//
// With security a server shows a certificate, and there is no authority that all plants share. So each server's certificate is
// named in the configuration, by its file or its fingerprint; one that is not named is nobody, and the error says how to name it. The
// library takes policy and certificate from the server's answer, so both are compared again after the channel has opened, and with
// each notification, for a channel is renewed every hour.
//
// # What a notification promises
//
// It is acknowledged to the server once its entries are on disk. A server forgets the subscription with the session, so what it had
// not sent before a power cut, or while it was away, is lost; both are told, one by the start's entry, the other by the state.
//
// The build tag noopcua leaves out what speaks; the configuration stays.
package opcua

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"edgechain.example/sensors"
)

// decoderName is what entries call the reading of a DataValue, with its version.
const decoderName = "opcua/1"

// ErrLeftOut is that of a program that cannot speak OPC UA.
var ErrLeftOut = errors.New("this program was built without OPC UA")

// SourceName returns the name of a server as a source of the agent.
func SourceName(name string) string { return "opcua:" + name }

// entrySource is the source of the entries that hold values of a node.
//
// SPEC: opcua:<source>:<node id>
func entrySource(name, node string) string {
	return SourceName(sensors.SourceName(name)) + ":" + node
}

// The names of policies and modes, as the protocol and a configuration have them.
const (
	policyNone  = "None"
	policyBasic = "Basic256Sha256"

	modeNone = "None"
	modeSign = "Sign"
	modeBoth = "SignAndEncrypt"
)

// checkEndpoint refuses what is no address of a server.
func checkEndpoint(endpoint string) error {
	rest, ok := strings.CutPrefix(endpoint, "opc.tcp://")
	host, _, _ := strings.Cut(rest, "/")
	if ok && host != "" {
		if h, port, err := net.SplitHostPort(host); err == nil && h != "" && port != "" {
			return nil
		}
	}
	return fmt.Errorf(`expected "opc.tcp://" with host and port, such as "opc.tcp://192.168.1.20:4840"`)
}

// Node is one that a server has below another.
type Node struct {
	ID    string `json:"id"` // as the configuration takes it
	Class string `json:"class"`
	Name  string `json:"name"`
	Depth int    `json:"depth"` // below the one that was asked for, from 1
}
