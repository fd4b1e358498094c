package testenv

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed" // opcua.js
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

//go:embed opcua.js
var opcuaServer string

// OPCUA is a server that speaks OPC UA: see opcua.js for what it holds.
type OPCUA struct {
	Endpoint    string
	Certificate []byte // DER
	folder      string
	modules     string
	port        int
	input       io.WriteCloser
	s           *server
}

// NewOPCUA starts a server on a free port of 127.0.0.1 that lets in the users "reader" with the password "right" and those of the
// certificates; clients and users are certificates in DER.
func NewOPCUA(t testing.TB, clients, users [][]byte) *OPCUA {
	t.Helper()
	modules, folder := Modules(t, "node-opcua-server"), t.TempDir()
	o := &OPCUA{folder: folder, modules: modules, port: FreePort(t), s: newServer(t, "node-opcua", filepath.Join(folder, "log"), syscall.SIGKILL)}
	o.Endpoint = "opc.tcp://" + address(o.port)
	o.Certificate = RSACertificate(t, "urn:edgechain:test:server", filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem"))
	trusted := filepath.Join(folder, "trusted")
	err := os.Mkdir(trusted, 0o700)
	for kind, all := range map[string][][]byte{"client": clients, "user": users} {
		for i, der := range all {
			if err == nil {
				err = os.WriteFile(filepath.Join(trusted, fmt.Sprint(kind, i)), der, 0o600)
			}
		}
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, "opcua.js"), []byte(opcuaServer), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	o.Start()
	return o
}

// Start starts a server that was stopped, and waits until it answers.
func (o *OPCUA) Start() {
	o.s.t.Helper()
	cmd := exec.Command("node", filepath.Join(o.folder, "opcua.js"), fmt.Sprint(o.port), o.folder)
	cmd.Env = append(os.Environ(), "NODE_PATH="+o.modules, "HOME="+o.folder, "XDG_CONFIG_HOME="+o.folder)
	cmd.Dir = o.folder
	input, err := cmd.StdinPipe()
	if err != nil {
		o.s.t.Fatal(err)
	}
	o.input = input
	ready := func() bool {
		log, err := os.ReadFile(o.s.log)
		if err != nil || !bytes.Contains(log, []byte("ready")) {
			return false
		}
		c, err := net.Dial("tcp", address(o.port))
		if err == nil {
			c.Close()
		}
		return err == nil
	}
	if !o.s.start(cmd, ready) {
		o.s.showLog()
		o.s.t.Fatal("node-opcua does not start")
	}
}

// Stop takes the server away.
func (o *OPCUA) Stop() { o.s.kill() }

// Set has a node take all values from one to another, one at once after the other.
func (o *OPCUA) Set(node string, from, to int) {
	o.s.t.Helper()
	if _, err := fmt.Fprintln(o.input, node, from, to); err != nil {
		o.s.t.Fatal(err)
	}
}

// RSACertificate makes a certificate that signs itself, of an application with that URI, and puts it and its key into files in PEM.
func RSACertificate(t testing.TB, uri, certificate, key string) (der []byte) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	name, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: uri}, URIs: []*url.URL{name}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(60 * 24 * time.Hour), BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment | x509.KeyUsageKeyEncipherment | x509.KeyUsageDataEncipherment | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err = x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []struct {
		file string
		b    *pem.Block
	}{{certificate, &pem.Block{Type: "CERTIFICATE", Bytes: der}}, {key, &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)}}} {
		if err := os.WriteFile(f.file, pem.EncodeToMemory(f.b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return der
}
