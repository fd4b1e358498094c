//go:build !noopcua

package opcua

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gopcua/opcua/ua"
	"github.com/gopcua/opcua/uasc"

	"edgechain.example/build/testenv"
)

// The library takes policy and certificate from what the server answers. A stranger could answer with none, and be spoken to in the clear.
func TestAnotherPolicyOrCertificateThanWasAskedForIsRefused(t *testing.T) {
	pinned := []byte{1, 2, 3}
	for _, test := range []struct {
		policy      string
		certificate []byte
		want        string
	}{
		{ua.SecurityPolicyURIBasic256Sha256, pinned, ""},
		{ua.SecurityPolicyURINone, pinned, `the server answered with the security policy "None": nothing was said to it over that`},
		{ua.SecurityPolicyURIBasic256Sha256, []byte{9}, "the server answered with another certificate than the one that is trusted"},
	} {
		s := &session{policy: ua.SecurityPolicyURIBasic256Sha256, server: pinned, secured: &uasc.Config{SecurityPolicyURI: test.policy, RemoteCertificate: test.certificate}}
		got := ""
		if err := s.unchanged(); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

// strangeServer says to each client what it is given, once that has said something, and ends the connection in its way.
func strangeServer(t *testing.T, says []byte, end func(*net.TCPConn)) (endpoint string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = c.Read(make([]byte, 4096))
				_, _ = c.Write(says)
				_, _ = c.Read(make([]byte, 4096)) // what it says to that
				end(c.(*net.TCPConn))
			}()
		}
	}()
	return "opc.tcp://" + l.Addr().String()
}

// message is one of OPC UA's connection protocol (Part 6, 7.1.2).
func message(kind string, body ...uint32) []byte {
	b := append([]byte(kind), 0, 0, 0, 0)
	for _, n := range body {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)))
	return b
}

func TestWhatIsNoServerIsToldAndLetGoOf(t *testing.T) {
	acknowledged := message("ACKF", 0, 65535, 65535, 1<<24, 1024)
	closes := func(c *net.TCPConn) { c.Close() }
	for name, endpoint := range map[string]string{
		"it hangs up":                       strangeServer(t, nil, closes),
		"it speaks another protocol":        strangeServer(t, []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), closes),
		"it refuses":                        strangeServer(t, append(message("ERRF", 0x80830000), 0xff, 0xff, 0xff, 0xff), closes),
		"it hangs up behind its greeting":   strangeServer(t, acknowledged, closes),
		"it breaks off behind it":           strangeServer(t, acknowledged, func(c *net.TCPConn) { _ = c.SetLinger(0); c.Close() }),
		"it answers nonsense behind it":     strangeServer(t, append(acknowledged, message("MSGF", 1, 2, 3, 4, 5, 6)...), closes),
		"it says how long, and no more":     strangeServer(t, append(acknowledged, 'M', 'S', 'G', 'F', 0xff, 0xff, 0, 0), closes),
		"it greets with a length of zero":   strangeServer(t, []byte("ACKF\x00\x00\x00\x00"), closes),
		"it takes no bytes in its chunks":   strangeServer(t, append(message("ACKF", 0, 0, 65535, 1<<24, 1024), message("MSGF", 1)...), closes),
		"it sends chunks of four gigabytes": strangeServer(t, append(message("ACKF", 0, 0xfffffff0, 65535, 0xffffffff, 0xffffffff), 'M', 'S', 'G', 'F', 0xf0, 0xff, 0xff, 0xff), closes),
		"it takes nothing in its chunks":    strangeServer(t, message("ACKF", 0, 100, 65535, 1<<24, 1024), closes),
		"it keeps the connection, and mum":  strangeServer(t, acknowledged, func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := configOf(endpoint, "x")
			c.Timeout = 2 * time.Second
			ctx, cancel := context.WithTimeout(t.Context(), testenv.Patience)
			defer cancel()
			s, err := connect(ctx, &c, &Options{})
			if err == nil {
				s.close()
				t.Fatal("it was taken for a server")
			}
			if ctx.Err() != nil || strings.Contains(err.Error(), "panic") {
				t.Error(err)
			}
			t.Log(err)
		})
	}
}

// A stop does not wait for a server that takes connections and says nothing.
func TestAServerThatDoesNotGreetHoldsUpNothing(t *testing.T) {
	silent := strangeServer(t, nil, func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) })
	c := configOf(silent, "x")
	c.Timeout = 5 * time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	if s, err := connect(ctx, &c, &Options{}); err == nil {
		s.close()
		t.Fatal("it was taken for a server")
	}
	if took := time.Since(began); took > testenv.Patience/2 {
		t.Errorf("it took %v", took)
	}
}

// What a server offers is said without security: it must not be able to make a password go in the clear over a channel that is
// signed alone.
func TestAPasswordIsNotSentInTheClear(t *testing.T) {
	c := configOf("opc.tcp://plc:4840", "x")
	c.Username, c.Password = "reader", "right"
	for _, test := range []struct {
		mode, offer string
		refused     bool
	}{
		{modeSign, ua.SecurityPolicyURINone, true},
		{modeSign, "", false},
		{modeSign, ua.SecurityPolicyURIBasic256Sha256, false},
		{modeBoth, ua.SecurityPolicyURINone, false},
	} {
		c.SecurityPolicy, c.SecurityMode = policyBasic, test.mode
		_, err := c.login(&ua.EndpointDescription{SecurityPolicyURI: ua.SecurityPolicyURIBasic256Sha256,
			UserIdentityTokens: []*ua.UserTokenPolicy{{TokenType: ua.UserTokenTypeUserName, SecurityPolicyURI: test.offer}}})
		if (err != nil) != test.refused {
			t.Errorf("%s, %q: %v", test.mode, test.offer, err)
		}
	}
}

// To the library "Press" is a text in namespace 0: nobody means that.
func TestWhatIsNoNodeIsNotBrowsed(t *testing.T) {
	c := configOf("opc.tcp://127.0.0.1:1", "x")
	if _, err := Browse(t.Context(), &c, Options{}, "Press", 1); err == nil || !strings.Contains(err.Error(), "expected the id of a node") {
		t.Errorf("got %v", err)
	}
}
