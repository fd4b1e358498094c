package mqttconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
)

// Dial connects to the server whose turn it is. It is called once for each connection, and by the caller, who first has
// to make what will receive.
type Dial func(Terms) (*Connection, error)

// Terms is what a caller wants of a connection.
type Terms struct {
	// Receive is called for each message, in the order of arrival, also before Dial has returned: a session that the
	// broker kept delivers at once. It must hand the message on and return, or the connection dies with its pings; the
	// caller acknowledges the message, later, by its Ack.
	Receive func(mqtt.Message)

	// Lost is called at most once, when an accepted connection has ended by itself.
	Lost func(error)

	// Opened is given the network connection before anything is sent, and returns what is used instead; nil: that one.
	Opened func(net.Conn) net.Conn

	// CleanSession has the broker forget the session with the connection.
	CleanSession bool

	// Will is what the broker publishes when the connection breaks; nil: nothing.
	Will *Will
}

// Will is a retained message for when the connection is no more.
type Will struct {
	Topic   string
	Payload []byte
}

// Connection is one connection that the broker accepted, with a paho client of its own: what paho remembers across the
// reconnections of one client is nothing that is needed here, and what it does at such moments is hard to foresee. Whoever
// dialled it ends it, by Disconnect.
type Connection struct {
	mqtt.Client
	Server *url.URL
	User   string   // "" without credentials
	Net    net.Conn // what Opened returned
}

func (b *Broker) dial(ctx context.Context, server *url.URL, t Terms) (*Connection, error) {
	timeout := b.config.ConnectTimeout
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	user, password, err := b.config.Credentials()
	if err != nil {
		return nil, err
	}
	c := &Connection{Server: server, User: user}
	var reached error                      // what the network said, before MQTT could
	settled := func() bool { return true } // keeps the end of ctx from closing the connection
	opt := mqtt.NewClientOptions().
		SetClientID(b.config.ClientID).
		SetUsername(user).
		SetPassword(password).
		SetProtocolVersion(4).
		SetCleanSession(t.CleanSession).
		SetKeepAlive(b.config.KeepAlive).
		SetPingTimeout(max(b.config.KeepAlive/2, time.Second)).
		SetConnectTimeout(timeout).
		SetWriteTimeout(timeout). // for handing over a SUBSCRIBE too
		SetAutoReconnect(false).
		SetOrderMatters(true).
		SetAutoAckDisabled(true).
		SetStore(forgetful{}).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { t.Receive(m) }).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { t.Lost(err) }).
		SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
			conn, err := b.open(ctx, server)
			if err != nil {
				reached = err
				return nil, err
			}
			if t.Opened != nil {
				conn = t.Opened(conn)
			}
			c.Net = conn
			// Not closed: paho takes the error of a closed connection for its own doing, and may not notice the end.
			settled = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
			return conn, nil
		})
	opt.Servers = []*url.URL{server}
	if w := t.Will; w != nil {
		opt.SetBinaryWill(w.Topic, w.Payload, 1, true)
	}
	c.Client = mqtt.NewClient(opt)
	token := c.Connect()
	token.Wait()
	settled()
	if err := token.Error(); err != nil {
		return nil, b.explain(c, reached, err)
	}
	return c, nil
}

// explain says what an operator can do about a connection that did not come about.
func (b *Broker) explain(c *Connection, reached, err error) error {
	switch {
	case reached != nil:
		return fmt.Errorf("%s is not reached: %w", c.Server, b.explainTLS(reached))
	case errors.Is(err, packets.ErrorRefusedNotAuthorised), errors.Is(err, packets.ErrorRefusedBadUsernameOrPassword):
		if c.User == "" {
			return fmt.Errorf("%s answers, and refuses a client without user and password: %w", c.Server, err)
		}
		return fmt.Errorf("%s answers, and refuses user %q with this password: %w", c.Server, c.User, err)
	case errors.Is(err, packets.ErrorRefusedIDRejected):
		return fmt.Errorf("%s answers, and refuses client id %q: %w", c.Server, b.config.ClientID, err)
	case errors.Is(err, packets.ErrorNetworkError):
		return fmt.Errorf("%s accepts the connection, and gives no MQTT answer: %w", c.Server, err)
	}
	return fmt.Errorf("%s answers, and refuses: %w", c.Server, err)
}

// Refusal is the return code of a SUBACK for a filter that the broker does not grant. MQTT 3.1.1, section 3.9.3.
const Refusal = 0x80

// forgetful is a paho store that keeps nothing. What paho would keep is incoming messages until their acknowledgement,
// and what was sent for a later connection of the same client, of which there is none. What was delivered and not
// acknowledged is known to the broker, whose persistent session is the one store that survives a power cut.
type forgetful struct{}

func (forgetful) Open()                             {}
func (forgetful) Put(string, packets.ControlPacket) {}
func (forgetful) Get(string) packets.ControlPacket  { return nil }
func (forgetful) All() []string                     { return nil }
func (forgetful) Del(string)                        {}
func (forgetful) Close()                            {}
func (forgetful) Reset()                            {}
