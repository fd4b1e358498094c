package opcua

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"edgechain.example/durable"
	"edgechain.example/tomlconf"
)

// identity is a certificate and its key.
type identity struct {
	certificate []byte // DER
	key         *rsa.PrivateKey
	uri         string // of the application, as the certificate has it
}

// The files of the gateway's own certificate, in the folder that [Options] names.
const (
	certificateFile = "cert.pem"
	keyFile         = "key.pem"
)

// OwnFiles returns the files of the gateway's own certificate and key in a folder.
func OwnFiles(folder string) []string {
	return []string{filepath.Join(folder, certificateFile), filepath.Join(folder, keyFile)}
}

const (
	keyBits = 2048 // the least that Basic256Sha256 takes
	lasts   = 20 * 365 * 24 * time.Hour
)

// ownIdentity returns the certificate that the configuration names, or the gateway's own, which is made when it is needed first.
func ownIdentity(c *Config, o *Options) (*identity, error) {
	if c.Certificate != "" {
		return readIdentity(c.Certificate, c.PrivateKey)
	}
	certificate, key := filepath.Join(o.Folder, certificateFile), filepath.Join(o.Folder, keyFile)
	i, err := readIdentity(certificate, key)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeIdentity(o, certificate, key); err != nil {
			return nil, fmt.Errorf("making the gateway's certificate: %w", err)
		}
		return readIdentity(certificate, key)
	}
	return i, err
}

func readIdentity(certificate, key string) (*identity, error) {
	der, err := readCertificate(certificate)
	if err != nil {
		return nil, err
	}
	text, err := tomlconf.ReadFile(key, mostFile)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s: expected an RSA key in PEM", key)
	}
	private, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		any, wrong := x509.ParsePKCS8PrivateKey(block.Bytes)
		var isRSA bool
		if private, isRSA = any.(*rsa.PrivateKey); wrong != nil || !isRSA {
			return nil, fmt.Errorf("%s: expected an RSA key in PEM, PKCS #1 or PKCS #8, without a passphrase", key)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", certificate, err)
	}
	if public, isRSA := parsed.PublicKey.(*rsa.PublicKey); !isRSA || !public.Equal(private.Public()) {
		return nil, fmt.Errorf("%s is not the key of %s", key, certificate)
	}
	i := &identity{certificate: der, key: private}
	if len(parsed.URIs) > 0 {
		i.uri = parsed.URIs[0].String()
	}
	return i, nil
}

// readCertificate reads a certificate, in PEM or DER.
func readCertificate(file string) ([]byte, error) {
	b, err := tomlconf.ReadFile(file, mostFile)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(b); block != nil {
		b = block.Bytes
	}
	if _, err := x509.ParseCertificate(b); err != nil {
		return nil, fmt.Errorf("%s: expected a certificate, in PEM or DER: %w", file, err)
	}
	return b, nil
}

// makeIdentity makes a certificate that signs itself. The key is there first: a certificate without a key would be of no use, and
// is not made anew.
func makeIdentity(o *Options, certificate, key string) error {
	private, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	uri, err := url.Parse("urn:edgechain:edgeagent:" + url.PathEscape(o.Gateway))
	if err != nil {
		return err
	}
	now := time.Now()
	if floor := o.TimeFloor; floor != nil && floor().After(now) { // a board without a clock starts in 1970
		now = floor()
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "edgeagent " + o.Gateway, Organization: []string{"Edgechain"}},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(lasts), URIs: []*url.URL{uri}, BasicConstraintsValid: true,
		// OPC UA Part 6, table 55: ApplicationInstanceCertificate
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment | x509.KeyUsageKeyEncipherment | x509.KeyUsageDataEncipherment | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if host, err := os.Hostname(); err == nil {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(key), 0o700); err != nil {
		return err
	}
	if err := writePEM(key, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(private), 0o600); err != nil {
		return err
	}
	return writePEM(certificate, "CERTIFICATE", der, 0o644)
}

// writePEM puts a file in its place whole, or not at all.
func writePEM(file, kind string, der []byte, mode fs.FileMode) error {
	return durable.Replace(file, mode, func(w io.Writer) error { return pem.Encode(w, &pem.Block{Type: kind, Bytes: der}) })
}
