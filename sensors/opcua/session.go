//go:build !noopcua

package opcua

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/gopcua/opcua/ua"
	"github.com/gopcua/opcua/uacp"
	"github.com/gopcua/opcua/uapolicy"
	"github.com/gopcua/opcua/uasc"

	"edgechain.example/lightchain"
)

// Available says whether the program can speak OPC UA.
const Available = true

// What a server may send at once.
const (
	mostMessage = 16 << 20 // bytes
	mostChunks  = 1024
	chunkSize   = 65535
	leastChunk  = 8192 // of any server (Part 6, 7.1.2.4)
)

// The library refuses a whole message over one array that is longer than this, and with it the values of all other nodes, in each
// session anew. What is too large for an entry is payload.max's matter.
func init() { ua.MaxVariantArrayLength = mostMessage / 8 }

// sessionLasts is for how long a server keeps a session of which it hears nothing.
const sessionLasts = 2 * time.Minute

// session is one with a server.
type session struct {
	config  *Config
	conn    *uacp.Conn
	channel *uasc.SecureChannel
	secured *uasc.Config // the channel's, which it changes by what the server answers
	policy  string       // that was asked for
	server  []byte       // the certificate that the server must have, DER; nil: no security
	token   *ua.NodeID   // of a session that was created

	failed  chan error // capacity 1: what the channel says of what it received
	ending  chan struct{}
	ended   chan struct{} // closed when nobody looks at failed any more; from then on broken may be read
	endOnce sync.Once
	broken  error // why the channel is of no use any more
}

// connect opens a session as the configuration says.
func connect(ctx context.Context, c *Config, o *Options) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*c.Timeout) // a channel to ask which endpoints there are, another one, and the session
	defer cancel()
	endpoint, err := findEndpoint(ctx, c)
	if err != nil {
		return nil, err
	}
	secured := &uasc.Config{SecurityPolicyURI: endpoint.SecurityPolicyURI, SecurityMode: endpoint.SecurityMode, Lifetime: uint32(time.Hour / time.Millisecond), RequestTimeout: c.Timeout}
	own := &identity{uri: "urn:edgechain:edgeagent:" + o.Gateway}
	var server []byte
	if c.secure() {
		server = endpoint.ServerCertificate
		if err := c.trusts(server); err != nil {
			return nil, err
		}
		if own, err = ownIdentity(c, o); err != nil {
			return nil, err
		}
		secured.Certificate, secured.LocalKey, secured.RemoteCertificate, secured.Thumbprint = own.certificate, own.key, server, uapolicy.Thumbprint(server)
	}
	login, err := c.login(endpoint)
	if err != nil {
		return nil, err
	}
	if login.user != nil {
		secured.UserKey = login.user.key
	}
	s, err := open(ctx, c, secured)
	if err != nil {
		return nil, err
	}
	s.server = server
	if err := s.begin(ctx, own, login); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// open opens a channel.
func open(ctx context.Context, c *Config, secured *uasc.Config) (*session, error) {
	conn, err := dial(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	s := &session{config: c, conn: conn, secured: secured, policy: secured.SecurityPolicyURI, failed: make(chan error, 1), ending: make(chan struct{}), ended: make(chan struct{})}
	s.channel, err = uasc.NewSecureChannel(c.Endpoint, conn, secured, s.failed)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("opening a secure channel: %w", err)
	}
	go s.watch()
	pinned := secured.RemoteCertificate
	if err := s.channel.Open(ctx); err != nil {
		why := s.why(err)
		s.close()
		if pinned == nil {
			return nil, fmt.Errorf("opening a channel: %w", why)
		}
		return nil, fmt.Errorf("opening a secure channel: %w%s", why, trustHint) // some servers just hang up
	}
	s.server = pinned
	if err := s.unchanged(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// dial connects, and greets the server. Its answer says what it takes; the library would also hold to that what it is sent, for which
// only what is asked for here is in force.
func dial(ctx context.Context, c *Config) (*uacp.Conn, error) {
	_, at, err := uacp.ResolveEndpoint(ctx, c.Endpoint)
	if err != nil {
		return nil, err
	}
	within, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	raw, err := new(net.Dialer).DialContext(within, "tcp", at.Host)
	if err != nil {
		return nil, err
	}
	tcp := raw.(*net.TCPConn)
	limits := uacp.Acknowledge{ReceiveBufSize: chunkSize, SendBufSize: chunkSize, MaxChunkCount: mostChunks, MaxMessageSize: mostMessage}
	greeting, err := uacp.NewConn(tcp, &limits)
	if err != nil {
		tcp.Close()
		return nil, err
	}
	heard := context.AfterFunc(within, func() { tcp.Close() }) // the library looks at a deadline alone, and would hold up a stop
	if err := greeting.Handshake(within, c.Endpoint); err != nil {
		tcp.Close()
		if within.Err() != nil {
			err = fmt.Errorf("no answer to the greeting: %w", within.Err())
		}
		return nil, err
	}
	if !heard() {
		return nil, within.Err()
	}
	limits.SendBufSize = min(chunkSize, greeting.ReceiveBufSize()) // what it receives is what may be sent
	if limits.SendBufSize < leastChunk {
		tcp.Close()
		return nil, fmt.Errorf("the server takes chunks of %d bytes, and the protocol has at least %d", limits.SendBufSize, leastChunk)
	}
	return uacp.NewConn(tcp, &limits)
}

// unchanged compares what the channel was opened with, and what the server has made of it.
func (s *session) unchanged() error {
	if s.secured.SecurityPolicyURI != s.policy {
		return fmt.Errorf("the server answered with the security policy %q: nothing was said to it over that", strings.TrimPrefix(s.secured.SecurityPolicyURI, ua.SecurityPolicyURIPrefix))
	}
	if s.server != nil && !bytes.Equal(s.secured.RemoteCertificate, s.server) {
		return errors.New("the server answered with another certificate than the one that is trusted")
	}
	return nil
}

// refusedCertificate says what helps where a server does not trust the gateway.
func refusedCertificate(err error) string {
	for _, status := range []ua.StatusCode{ua.StatusBadSecurityChecksFailed, ua.StatusBadCertificateUntrusted, ua.StatusBadCertificateInvalid, ua.StatusBadCertificateURIInvalid} {
		if errors.Is(err, status) {
			return trustHint
		}
	}
	return ""
}

const trustHint = ": does the server trust the gateway's certificate? It is opcua/cert.pem in the data folder, or the one of the key certificate"

// watch closes the channel once nothing can be received over it any more: the library would go on reading, without a pause, and
// those who wait for an answer would wait until their time is over.
func (s *session) watch() {
	defer close(s.ended)
	for s.broken == nil {
		select {
		case err := <-s.failed:
			s.note(err)
		case <-s.ending:
			return
		}
	}
	_ = s.channel.Close()
	_ = s.conn.Close()
}

// note takes what the channel says. A status is the answer to one question; an end has its reason elsewhere, if it has one.
func (s *session) note(err error) {
	if status := new(ua.StatusCode); !errors.As(err, status) && !errors.Is(err, io.EOF) {
		s.broken = err
	}
}

// stopWatching returns when nobody looks at the channel's failures any more.
func (s *session) stopWatching() {
	s.endOnce.Do(func() { close(s.ending) })
	<-s.ended
}

// why returns the reason for which a channel ended that has one.
func (s *session) why(err error) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	s.stopWatching()
	select {
	case err := <-s.failed:
		if s.broken == nil {
			s.note(err)
		}
	default:
	}
	if s.broken != nil {
		return s.broken
	}
	return errors.New("the server closed the connection")
}

func (s *session) close() {
	if s.token != nil {
		ctx, cancel := context.WithTimeout(context.Background(), min(s.config.Timeout, 2*time.Second))
		_, _ = call[*ua.CloseSessionResponse](ctx, s, &ua.CloseSessionRequest{DeleteSubscriptions: true}, s.config.Timeout)
		cancel()
	}
	s.stopWatching()
	_ = s.channel.Close() // or it would go on reading a connection that is closed
	_ = s.conn.Close()
}

// call asks, and waits for the answer as long as it is given.
func call[T ua.Response](ctx context.Context, s *session, request ua.Request, within time.Duration) (answer T, err error) {
	err = s.channel.SendRequestWithTimeout(ctx, request, s.token, within, func(r ua.Response) error {
		var fits bool
		if answer, fits = r.(T); !fits {
			return fmt.Errorf("an answer that does not fit the question: %T", r)
		}
		return nil
	})
	if err != nil {
		return answer, s.why(err)
	}
	if status := answer.Header().ServiceResult; status != ua.StatusOK {
		return answer, status
	}
	return answer, nil
}

// findEndpoint asks the server which ways into it there are, without security, and returns the one of the configuration. What the
// server says there is believed in nothing but its certificate, which is compared, and in the names of its log-ins.
func findEndpoint(ctx context.Context, c *Config) (*ua.EndpointDescription, error) {
	s, err := open(ctx, c, &uasc.Config{SecurityPolicyURI: ua.SecurityPolicyURINone, SecurityMode: ua.MessageSecurityModeNone, Lifetime: uint32(time.Hour / time.Millisecond), RequestTimeout: c.Timeout})
	if err != nil {
		return nil, err
	}
	defer s.close()
	answer, err := call[*ua.GetEndpointsResponse](ctx, s, &ua.GetEndpointsRequest{EndpointURL: c.Endpoint}, c.Timeout)
	if err != nil {
		return nil, fmt.Errorf("asking for the server's endpoints: %w", err)
	}
	policy, mode := ua.FormatSecurityPolicyURI(c.SecurityPolicy), c.mode()
	var others []string
	for _, e := range answer.Endpoints {
		if e == nil {
			continue
		}
		if e.SecurityPolicyURI == policy && e.SecurityMode == mode {
			return e, nil
		}
		others = append(others, strings.TrimPrefix(e.SecurityPolicyURI, ua.SecurityPolicyURIPrefix)+" "+strings.TrimPrefix(e.SecurityMode.String(), "MessageSecurityMode"))
	}
	return nil, fmt.Errorf("the server has no endpoint with %s and %s; it has: %s", c.SecurityPolicy, strings.TrimPrefix(mode.String(), "MessageSecurityMode"), strings.Join(others, ", "))
}

func (c *Config) mode() ua.MessageSecurityMode {
	switch {
	case !c.secure():
		return ua.MessageSecurityModeNone
	case c.SecurityMode == modeSign:
		return ua.MessageSecurityModeSign
	}
	return ua.MessageSecurityModeSignAndEncrypt
}

// trusts reports whether a certificate is the one that the configuration names.
func (c *Config) trusts(certificate []byte) error {
	is := lightchain.Hash(sha256.Sum256(certificate))
	shown, err := x509.ParseCertificate(certificate)
	if err != nil {
		return fmt.Errorf("the server's certificate: %w", err)
	}
	var want lightchain.Hash
	switch {
	case c.ServerFingerprint != "":
		if want, err = parseFingerprint(c.ServerFingerprint); err != nil {
			return err
		}
	case c.ServerCertificate != "":
		file, err := readCertificate(c.ServerCertificate)
		if err != nil {
			return err
		}
		want = sha256.Sum256(file)
	default:
		return fmt.Errorf("nothing says which certificate the server must show. It shows one of %q, valid until %s, with the SHA-256 %s: compare that with what the server itself says of it, and write server_fingerprint = %q",
			shown.Subject.String(), shown.NotAfter.Format(time.DateOnly), is, is.String())
	}
	if is != want {
		return fmt.Errorf("the server shows another certificate than the one that is trusted: one of %q with the SHA-256 %s. Somebody may answer in its place; or it has a new one: compare it there, and write server_fingerprint = %q",
			shown.Subject.String(), is, is.String())
	}
	return nil
}

// login is as whom the gateway comes.
type login struct {
	token    any
	policy   string // by which a password is encrypted, or a token signed
	password string
	user     *identity
}

// login chooses among those that the endpoint has.
func (c *Config) login(e *ua.EndpointDescription) (l login, err error) {
	kind, name := ua.UserTokenTypeAnonymous, "without user"
	switch {
	case c.Username != "":
		kind, name = ua.UserTokenTypeUserName, "with user and password"
	case c.UserCertificate != "":
		kind, name = ua.UserTokenTypeCertificate, "with a user's certificate"
	}
	var offer *ua.UserTokenPolicy
	for _, t := range e.UserIdentityTokens {
		// One policy is spoken here; an offer without one is by that of the channel.
		if t != nil && t.TokenType == kind && (t.SecurityPolicyURI == "" || t.SecurityPolicyURI == ua.SecurityPolicyURIBasic256Sha256 || t.SecurityPolicyURI == ua.SecurityPolicyURINone) {
			if offer == nil || offer.SecurityPolicyURI == ua.SecurityPolicyURINone {
				offer = t
			}
		}
	}
	if offer == nil {
		return l, fmt.Errorf("the server lets nobody in %s at this endpoint", name)
	}
	// Which offers there are is asked for without security: whoever is between could make a password go in the clear, and read it.
	if kind == ua.UserTokenTypeUserName && c.secure() && c.SecurityMode == modeSign && offer.SecurityPolicyURI == ua.SecurityPolicyURINone {
		return l, fmt.Errorf("the server wants the password in the clear, and security_mode = %q does not hide it: only %q does", modeSign, modeBoth)
	}
	l.policy = offer.SecurityPolicyURI
	if l.policy == "" {
		l.policy = e.SecurityPolicyURI
	}
	switch kind {
	case ua.UserTokenTypeUserName:
		l.token = &ua.UserNameIdentityToken{PolicyID: offer.PolicyID, UserName: c.Username}
		l.password, err = c.password()
	case ua.UserTokenTypeCertificate:
		if l.user, err = readIdentity(c.UserCertificate, c.UserPrivateKey); err == nil {
			l.token = &ua.X509IdentityToken{PolicyID: offer.PolicyID, CertificateData: l.user.certificate}
		}
	default:
		l.token = &ua.AnonymousIdentityToken{PolicyID: offer.PolicyID}
	}
	return l, err
}

// begin creates a session on a channel, and logs in.
func (s *session) begin(ctx context.Context, own *identity, l login) error {
	nonce := make([]byte, 32)
	if _, err := rand.Read(nonce); err != nil {
		return err
	}
	created, err := call[*ua.CreateSessionResponse](ctx, s, &ua.CreateSessionRequest{
		ClientDescription: &ua.ApplicationDescription{ApplicationURI: own.uri, ProductURI: "urn:edgechain:edgeagent",
			ApplicationName: ua.NewLocalizedText("edgeagent"), ApplicationType: ua.ApplicationTypeClient},
		EndpointURL: s.config.Endpoint, SessionName: "edgeagent " + s.config.Name, ClientNonce: nonce, ClientCertificate: own.certificate,
		RequestedSessionTimeout: float64(sessionLasts / time.Millisecond), MaxResponseMessageSize: mostMessage,
	}, s.config.Timeout)
	if err != nil {
		return fmt.Errorf("creating a session: %w%s", err, refusedCertificate(err))
	}
	if s.server != nil {
		if created.ServerSignature == nil || !bytes.Equal(created.ServerCertificate, s.server) {
			return errors.New("creating a session: the server shows another certificate than the one that is trusted")
		}
		if err := s.channel.VerifySessionSignature(created.ServerCertificate, nonce, created.ServerSignature.Signature); err != nil {
			return fmt.Errorf("creating a session: the server's signature: %w", err)
		}
	}
	activate := &ua.ActivateSessionRequest{ClientSignature: &ua.SignatureData{}, UserTokenSignature: &ua.SignatureData{}, LocaleIDs: []string{"en"}}
	if activate.ClientSignature.Signature, activate.ClientSignature.Algorithm, err = s.channel.NewSessionSignature(created.ServerCertificate, created.ServerNonce); err != nil {
		return fmt.Errorf("activating the session: %w", err)
	}
	switch token := l.token.(type) {
	case *ua.UserNameIdentityToken:
		token.Password, token.EncryptionAlgorithm, err = s.channel.EncryptUserPassword(l.policy, l.password, created.ServerCertificate, created.ServerNonce)
	case *ua.X509IdentityToken:
		activate.UserTokenSignature.Signature, activate.UserTokenSignature.Algorithm, err = s.channel.NewUserTokenSignature(l.policy, created.ServerCertificate, created.ServerNonce)
	}
	if err != nil {
		return fmt.Errorf("logging in: %w", err)
	}
	activate.UserIdentityToken = ua.NewExtensionObject(l.token)
	s.token = created.AuthenticationToken
	if _, err := call[*ua.ActivateSessionResponse](ctx, s, activate, s.config.Timeout); err != nil {
		s.token = nil
		for _, status := range []ua.StatusCode{ua.StatusBadUserAccessDenied, ua.StatusBadIdentityTokenRejected, ua.StatusBadIdentityTokenInvalid} {
			if errors.Is(err, status) {
				return fmt.Errorf("the server does not let the gateway in: are user and password, or the user's certificate, right? %w", err)
			}
		}
		return fmt.Errorf("activating the session: %w", err)
	}
	return nil
}
