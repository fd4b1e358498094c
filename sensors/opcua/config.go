package opcua

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode"

	"edgechain.example/lightchain"
	"edgechain.example/tomlconf"
)

// Config is what an operator says of a server. The keys are Telegraf's where it has them.
type Config struct {
	Name     string `toml:"name"`     // as in the source of its entries
	Endpoint string `toml:"endpoint"` // opc.tcp://host:port/…

	SecurityPolicy string `toml:"security_policy"` // Basic256Sha256 or None
	SecurityMode   string `toml:"security_mode"`   // SignAndEncrypt, Sign or None

	// Which certificate the server must show: one of the two.
	ServerCertificate string `toml:"server_certificate"` // a file
	ServerFingerprint string `toml:"server_fingerprint"` // SHA-256 in hexadecimal

	// The gateway's own, which a server has to trust; "": made, and kept in the data folder.
	Certificate string `toml:"certificate"`
	PrivateKey  string `toml:"private_key"`

	// As whom the gateway logs in: a user, a user's certificate, or nobody.
	Username        string          `toml:"username"`
	Password        tomlconf.Secret `toml:"password"`
	PasswordFile    string          `toml:"password_file"`
	UserCertificate string          `toml:"user_certificate"`
	UserPrivateKey  string          `toml:"user_private_key"`

	Timeout time.Duration `toml:"timeout"` // for one answer, and for the connection

	Subscribe []Subscribe `toml:"subscribe"`
}

// SetDefaults implements the contract of [tomlconf.Read].
func (c *Config) SetDefaults() {
	c.SecurityPolicy, c.SecurityMode, c.Timeout = policyBasic, modeBoth, 10*time.Second
}

// Subscribe is a group: nodes whose changes are notified together.
type Subscribe struct {
	Name     string        `toml:"name"`
	Interval time.Duration `toml:"interval"` // between two notifications
	Sampling time.Duration `toml:"sampling"` // at which the server looks; 0: the interval
	Queue    int           `toml:"queue"`    // values of a node that the server keeps between two notifications
	Device   string        `toml:"device"`   // "": the server's name
	Nodes    []NodeConfig  `toml:"nodes"`
}

// SetDefaults implements the contract of [tomlconf.Read].
func (s *Subscribe) SetDefaults() { s.Interval, s.Queue = time.Second, 10 }

// NodeConfig is one node, and what its readings are called.
type NodeConfig struct {
	ID   string `toml:"id"`   // "ns=2;s=Press.Temperature"
	Name string `toml:"name"` // "": the id
	Unit string `toml:"unit"`
}

func (s *Subscribe) device(server string) string { return cmp.Or(s.Device, server) }

// secure reports whether the channel is signed, at least.
func (c *Config) secure() bool { return c.SecurityPolicy != policyNone }

// Files returns the keys that name files.
func (c *Config) Files() []*string {
	return []*string{&c.ServerCertificate, &c.Certificate, &c.PrivateKey, &c.PasswordFile, &c.UserCertificate, &c.UserPrivateKey}
}

// password returns the password, from its file where one is named, without one line break at its end.
func (c *Config) password() (string, error) {
	if c.PasswordFile == "" {
		return string(c.Password), nil
	}
	text, err := tomlconf.ReadFile(c.PasswordFile, mostFile)
	if err != nil {
		return "", fmt.Errorf("reading the password: %w", err)
	}
	password := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if password == "" {
		return "", fmt.Errorf("reading the password: %s is empty", c.PasswordFile)
	}
	return password, nil
}

// What a configuration may hold.
const (
	mostName  = 64
	mostNodes = 10000 // of one group
	mostQueue = 10000
	mostFile  = 64 << 10 // bytes
)

const textForm = "expected at most 256 bytes without control characters"

func isText(s string) bool { return len(s) <= 256 && !strings.ContainsFunc(s, unicode.IsControl) }

func isName(s string) bool {
	return s != "" && len(s) <= mostName && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == ""
}

const nameForm = "expected 1 to 64 letters, digits, '.', '_' and '-'"

// Check refuses what cannot work, each key at its line, and warns of what is hardly meant. Names are those used before, to which
// c's is added; readings what is read already, by device and name.
func (c *Config) Check(d *tomlconf.Document, names map[string]bool, readings map[[2]string]bool) {
	switch {
	case c.Name == "":
		d.Refuse(c, `expected a name, such as name = "line-1"`)
	case !isName(c.Name):
		d.Refuse(&c.Name, nameForm)
	case names[c.Name]:
		d.Refuse(&c.Name, "expected a name that no other has")
	}
	names[c.Name] = true
	if !Available {
		d.Refuse(c, "%v", ErrLeftOut)
	}
	if c.Endpoint == "" {
		d.Refuse(c, `expected endpoint, such as endpoint = "opc.tcp://192.168.1.20:4840"`)
	} else if err := checkEndpoint(c.Endpoint); err != nil {
		d.Refuse(&c.Endpoint, "%v", err)
	}
	c.checkSecurity(d)
	c.checkUser(d)
	tomlconf.Between(d, &c.Timeout, 100*time.Millisecond, 5*time.Minute)
	if len(c.Subscribe) == 0 {
		d.Refuse(c, "expected [[opcua.subscribe]] below it: nothing would arrive")
	}
	groups := map[string]bool{}
	for i := range c.Subscribe {
		c.Subscribe[i].check(d, c.Name, groups, readings)
	}
}

func (c *Config) checkSecurity(d *tomlconf.Document) {
	tomlconf.OneOf(d, &c.SecurityPolicy, policyBasic, policyNone)
	tomlconf.OneOf(d, &c.SecurityMode, modeBoth, modeSign, modeNone)
	switch {
	case c.secure() && c.SecurityMode == modeNone:
		d.Refuse(&c.SecurityMode, "expected %q or %q: with security_policy = %q nothing else is", modeBoth, modeSign, c.SecurityPolicy)
	case !c.secure() && (c.ServerCertificate != "" || c.ServerFingerprint != ""):
		d.Refuse(&c.SecurityPolicy, "expected %q: without security no certificate is compared", policyBasic)
	case !c.secure():
		d.Warn(&c.SecurityPolicy, "anybody on the network can answer in the server's place, and read what it says")
	}
	if c.ServerCertificate != "" && c.ServerFingerprint != "" {
		d.Refuse(&c.ServerFingerprint, "expected this or server_certificate, not both")
	}
	if c.ServerFingerprint != "" {
		if _, err := parseFingerprint(c.ServerFingerprint); err != nil {
			d.Refuse(&c.ServerFingerprint, "%v", err)
		}
	}
	if (c.Certificate == "") != (c.PrivateKey == "") {
		d.Refuse(&c.PrivateKey, "expected certificate and private_key together, or neither: then the agent makes its own")
	}
	for _, file := range c.Files() {
		tomlconf.File(d, file)
	}
}

func (c *Config) checkUser(d *tomlconf.Document) {
	switch {
	case c.Password != "" && c.PasswordFile != "":
		d.Refuse(&c.PasswordFile, "expected one of password and password_file")
	case c.Username == "" && (c.Password != "" || c.PasswordFile != ""):
		d.Refuse(c, "expected username beside the password")
	case c.Username != "" && c.UserCertificate != "":
		d.Refuse(&c.UserCertificate, "expected this or username, not both")
	case (c.UserCertificate == "") != (c.UserPrivateKey == ""):
		d.Refuse(&c.UserPrivateKey, "expected user_certificate and user_private_key together")
	}
	if c.Username != "" && !c.secure() {
		d.Warn(&c.Username, "the password may cross the network in the clear; security_policy = %q would protect it", policyBasic)
	}
}

// parseFingerprint reads a SHA-256 as people write it.
func parseFingerprint(text string) (f lightchain.Hash, err error) {
	b, err := hex.DecodeString(strings.NewReplacer(":", "", " ", "").Replace(text))
	if err != nil || len(b) != len(f) {
		return f, fmt.Errorf("expected the SHA-256 of the server's certificate, 64 hexadecimal digits; the error of a connection without it shows the one that the server has")
	}
	return lightchain.Hash(b), nil
}

func (s *Subscribe) check(d *tomlconf.Document, server string, groups map[string]bool, readings map[[2]string]bool) {
	switch {
	case s.Name == "":
		d.Refuse(s, `expected a name, such as name = "press"`)
	case !isName(s.Name):
		d.Refuse(&s.Name, nameForm)
	case groups[s.Name]:
		d.Refuse(&s.Name, "expected a name that no other subscription of %q has", server)
	}
	groups[s.Name] = true
	tomlconf.Between(d, &s.Interval, 10*time.Millisecond, time.Hour)
	tomlconf.Between(d, &s.Sampling, 0, time.Hour)
	tomlconf.Between(d, &s.Queue, 1, mostQueue)
	if !isText(s.Device) {
		d.Refuse(&s.Device, textForm)
	}
	if len(s.Nodes) == 0 {
		d.Refuse(s, `expected nodes, such as nodes = [{ id = "ns=2;s=Press.Temperature", name = "temperature" }]; edgeagent opcua browse lists them`)
	}
	if len(s.Nodes) > mostNodes {
		d.Refuse(&s.Nodes[mostNodes], "expected at most %d in one subscription", mostNodes)
	}
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if n.ID == "" {
			d.Refuse(n, `expected id, such as id = "ns=2;s=Press.Temperature"`)
			continue
		}
		if err := checkNodeID(n.ID); err != nil {
			d.Refuse(&n.ID, "%v", err)
		}
		if !isText(n.Name) {
			d.Refuse(&n.Name, textForm)
		}
		if !isText(n.Unit) {
			d.Refuse(&n.Unit, textForm)
		}
		reading := [2]string{s.device(server), cmp.Or(n.Name, n.ID)}
		if readings[reading] {
			d.Refuse(n, "expected a name that no other reading of %q has: two series would become one", reading[0])
		}
		readings[reading] = true
	}
}
