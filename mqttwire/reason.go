package mqttwire

import "fmt"

// Reason is a reason code of MQTT 5 (2.4). MQTT 3.1.1 knows the return codes of CONNACK, see [Reason.Return], and 0x80 in
// a SUBACK.
type Reason byte

// The reason codes. From 0x80 on they are errors.
const (
	Success                     Reason = 0x00 // also: normal disconnection, granted QoS 0
	GrantedQoS1                 Reason = 0x01
	GrantedQoS2                 Reason = 0x02
	DisconnectWithWill          Reason = 0x04
	NoMatchingSubscribers       Reason = 0x10
	NoSubscriptionExisted       Reason = 0x11
	ContinueAuthentication      Reason = 0x18
	ReAuthenticate              Reason = 0x19
	UnspecifiedError            Reason = 0x80
	MalformedPacket             Reason = 0x81
	ProtocolError               Reason = 0x82
	ImplementationSpecificError Reason = 0x83
	UnsupportedProtocolVersion  Reason = 0x84
	ClientIdentifierNotValid    Reason = 0x85
	BadUserNameOrPassword       Reason = 0x86
	NotAuthorized               Reason = 0x87
	ServerUnavailable           Reason = 0x88
	ServerBusy                  Reason = 0x89
	Banned                      Reason = 0x8a
	ServerShuttingDown          Reason = 0x8b
	BadAuthenticationMethod     Reason = 0x8c
	KeepAliveTimeout            Reason = 0x8d
	SessionTakenOver            Reason = 0x8e
	TopicFilterInvalid          Reason = 0x8f
	TopicNameInvalid            Reason = 0x90
	PacketIdentifierInUse       Reason = 0x91
	PacketIdentifierNotFound    Reason = 0x92
	ReceiveMaximumExceeded      Reason = 0x93
	TopicAliasInvalid           Reason = 0x94
	PacketTooLarge              Reason = 0x95
	MessageRateTooHigh          Reason = 0x96
	QuotaExceeded               Reason = 0x97
	AdministrativeAction        Reason = 0x98
	PayloadFormatInvalid        Reason = 0x99
	RetainNotSupported          Reason = 0x9a
	QoSNotSupported             Reason = 0x9b
	UseAnotherServer            Reason = 0x9c
	ServerMoved                 Reason = 0x9d
	SharedNotSupported          Reason = 0x9e
	ConnectionRateExceeded      Reason = 0x9f
	MaximumConnectTime          Reason = 0xa0
	SubscriptionIDNotSupported  Reason = 0xa1
	WildcardNotSupported        Reason = 0xa2
)

// reasons says of each code what it is called, and which packets may carry it.
var reasons = map[Reason]struct {
	name string
	in   places
}{
	Success:                     {"success", in(CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH)},
	GrantedQoS1:                 {"granted QoS 1", in(SUBACK)},
	GrantedQoS2:                 {"granted QoS 2", in(SUBACK)},
	DisconnectWithWill:          {"disconnect with will message", in(DISCONNECT)},
	NoMatchingSubscribers:       {"no matching subscribers", in(PUBACK, PUBREC)},
	NoSubscriptionExisted:       {"no subscription existed", in(UNSUBACK)},
	ContinueAuthentication:      {"continue authentication", in(AUTH)},
	ReAuthenticate:              {"re-authenticate", in(AUTH)},
	UnspecifiedError:            {"unspecified error", in(CONNACK, PUBACK, PUBREC, SUBACK, UNSUBACK, DISCONNECT)},
	MalformedPacket:             {"malformed packet", in(CONNACK, DISCONNECT)},
	ProtocolError:               {"protocol error", in(CONNACK, DISCONNECT)},
	ImplementationSpecificError: {"implementation specific error", in(CONNACK, PUBACK, PUBREC, SUBACK, UNSUBACK, DISCONNECT)},
	UnsupportedProtocolVersion:  {"unsupported protocol version", in(CONNACK)},
	ClientIdentifierNotValid:    {"client identifier not valid", in(CONNACK)},
	BadUserNameOrPassword:       {"bad user name or password", in(CONNACK)},
	NotAuthorized:               {"not authorized", in(CONNACK, PUBACK, PUBREC, SUBACK, UNSUBACK, DISCONNECT)},
	ServerUnavailable:           {"server unavailable", in(CONNACK)},
	ServerBusy:                  {"server busy", in(CONNACK, DISCONNECT)},
	Banned:                      {"banned", in(CONNACK)},
	ServerShuttingDown:          {"server shutting down", in(DISCONNECT)},
	BadAuthenticationMethod:     {"bad authentication method", in(CONNACK, DISCONNECT)},
	KeepAliveTimeout:            {"keep alive timeout", in(DISCONNECT)},
	SessionTakenOver:            {"session taken over", in(DISCONNECT)},
	TopicFilterInvalid:          {"topic filter invalid", in(SUBACK, UNSUBACK, DISCONNECT)},
	TopicNameInvalid:            {"topic name invalid", in(CONNACK, PUBACK, PUBREC, DISCONNECT)},
	PacketIdentifierInUse:       {"packet identifier in use", in(PUBACK, PUBREC, SUBACK, UNSUBACK)},
	PacketIdentifierNotFound:    {"packet identifier not found", in(PUBREL, PUBCOMP)},
	ReceiveMaximumExceeded:      {"receive maximum exceeded", in(DISCONNECT)},
	TopicAliasInvalid:           {"topic alias invalid", in(DISCONNECT)},
	PacketTooLarge:              {"packet too large", in(CONNACK, DISCONNECT)},
	MessageRateTooHigh:          {"message rate too high", in(DISCONNECT)},
	QuotaExceeded:               {"quota exceeded", in(CONNACK, PUBACK, PUBREC, SUBACK, DISCONNECT)},
	AdministrativeAction:        {"administrative action", in(DISCONNECT)},
	PayloadFormatInvalid:        {"payload format invalid", in(CONNACK, PUBACK, PUBREC, DISCONNECT)},
	RetainNotSupported:          {"retain not supported", in(CONNACK, DISCONNECT)},
	QoSNotSupported:             {"QoS not supported", in(CONNACK, DISCONNECT)},
	UseAnotherServer:            {"use another server", in(CONNACK, DISCONNECT)},
	ServerMoved:                 {"server moved", in(CONNACK, DISCONNECT)},
	SharedNotSupported:          {"shared subscriptions not supported", in(SUBACK, DISCONNECT)},
	ConnectionRateExceeded:      {"connection rate exceeded", in(CONNACK, DISCONNECT)},
	MaximumConnectTime:          {"maximum connect time", in(DISCONNECT)},
	SubscriptionIDNotSupported:  {"subscription identifiers not supported", in(SUBACK, DISCONNECT)},
	WildcardNotSupported:        {"wildcard subscriptions not supported", in(SUBACK, DISCONNECT)},
}

// places is a set of packet types, and of the will, which has properties of its own inside a CONNECT.
type places uint16

const inWill places = 1

func in(types ...Type) (p places) {
	for _, t := range types {
		p |= 1 << t
	}
	return p
}

func (r Reason) String() string {
	if known, ok := reasons[r]; ok {
		return known.name
	}
	return fmt.Sprintf("reason code %#02x", byte(r))
}

// belongs tells whether packets of that type may carry the code.
func (r Reason) belongs(t Type) bool { return r == Success || reasons[r].in&in(t) != 0 }

// Return is the return code of a CONNACK of MQTT 3.1.1 (there 3.2.2.3) that is nearest to the reason code. 0xff: there is
// none, and the connection is closed without a CONNACK.
func (r Reason) Return() byte {
	switch r {
	case Success:
		return 0
	case UnsupportedProtocolVersion:
		return 1
	case ClientIdentifierNotValid:
		return 2
	case ServerUnavailable, ServerBusy, ServerShuttingDown, QuotaExceeded, ConnectionRateExceeded, UseAnotherServer, ServerMoved, UnspecifiedError:
		return 3
	case BadAuthenticationMethod:
		return 4
	case NotAuthorized, Banned, BadUserNameOrPassword:
		return 5
	}
	return 0xff
}
