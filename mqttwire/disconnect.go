package mqttwire

// Disconnect is a DISCONNECT or AUTH (3.14, 3.15). MQTT 3.1.1 knows neither code nor properties, and no AUTH.
type Disconnect struct {
	Code       Reason
	Properties Properties
}

// DecodeDisconnect reads what follows the header of a DISCONNECT or AUTH.
func DecodeDisconnect(v Version, h Header, body []byte) (p Disconnect, err error) {
	c := cursor{b: body}
	c.minimal(v, h)
	switch {
	case v != V5 && h.Type == AUTH:
		c.fail(protocol("AUTH, which only MQTT 5 knows"))
	case v == V5 && len(c.b) > 0:
		if p.Code = Reason(c.octet()); !p.Code.belongs(h.Type) {
			c.fail(protocol("a reason code that is none of " + h.Type.String()))
		}
		if len(c.b) > 0 {
			p.Properties = c.properties(in(h.Type))
		}
	}
	return p, c.end()
}

// Append appends the packet, of type t.
func (p *Disconnect) Append(v Version, t Type, b []byte) []byte {
	switch first := byte(t) << 4; {
	case v != V5 || p.Code == Success && len(p.Properties) == 0:
		return append(b, first, 0)
	case len(p.Properties) == 0:
		return append(b, first, 1, byte(p.Code))
	default:
		return p.Properties.append(append(AppendHeader(b, first, 1+p.Properties.size()), byte(p.Code)))
	}
}

// DecodePing checks a PINGREQ or PINGRESP (3.12, 3.13), behind whose header nothing follows.
func DecodePing(v Version, h Header, body []byte) error {
	c := cursor{b: body}
	c.minimal(v, h)
	return c.end()
}
