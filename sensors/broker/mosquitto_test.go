package broker

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"edgechain.example/build/testenv"
)

// mosquittoFiles writes a password_file with Mosquitto's own program, each user's password being the name twice, and an acl_file.
func mosquittoFiles(t *testing.T, acl string) (passwords, rules string) {
	t.Helper()
	testenv.Need(t, "mosquitto_passwd")
	dir := t.TempDir()
	passwords, rules = filepath.Join(dir, "passwd"), filepath.Join(dir, "acl")
	for i, name := range []string{"root", "press", "node-red", "nobody", "käthe", "a b"} {
		args := []string{"-b", passwords, name, name + name}
		if i == 0 {
			args = append([]string{"-c"}, args...)
		}
		if out, err := exec.Command("mosquitto_passwd", args...).CombinedOutput(); err != nil {
			t.Fatalf("mosquitto_passwd: %v\n%s", err, out)
		}
	}
	// As Mosquitto 1.6 made it.
	old, err := os.OpenFile(passwords, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintln(old, " blanks : $6$c2FsdHNhbHRzYWx0$dXDgPHJ0FqOpjWq5kiu6WCkt+gHPgK4H5FQBVU9B8E1QkFr/bukmOplrU52mq4VATGDm/k8l6+GH+KZcUl4/LA==\nold:$6$c2FsdHNhbHRzYWx0$dXDgPHJ0FqOpjWq5kiu6WCkt+gHPgK4H5FQBVU9B8E1QkFr/bukmOplrU52mq4VATGDm/k8l6+GH+KZcUl4/LA==")
	if err == nil {
		err = old.Close()
	}
	if err == nil {
		err = os.WriteFile(rules, []byte(acl), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return passwords, rules
}

// acl has what acl_files have: rules of the anonymous, of users, for all; denials before and behind what they take away.
const acl = `# comes first: those without a name
topic read public/#
topic write public/in
pattern read done/#

user root
topic readwrite #
topic readwrite $SYS/#
topic readwrite done/#

user press
topic readwrite plant/press/#
topic deny plant/press/secret
topic read plant/+/state
topic plant/shared
  topic   write   plant/a b/c
topic write $aws/press

user node-red
topic read #
topic deny plant/press/secret/#
topic write own/%u/x
topic write dev/node-red/forbidden

user käthe
topic readwrite werk/käthe/#

user ghost
topic readwrite #

pattern readwrite dev/%u/#
pattern write client/%c/x
pattern deny dev/+/forbidden
pattern read $SYS/%u/#
`

// What people have for Mosquitto means the same here: who comes in, what they may publish, and what they hear. The real one is
// asked the same.
func TestMosquittosFilesMeanWhatTheyMeanThere(t *testing.T) {
	passwords, rules := mosquittoFiles(t, acl)
	real := testenv.Mosquitto(t, fmt.Sprintf("password_file %s\nacl_file %s", passwords, rules))
	ours := start(t, autoDisk(t, 0), func(c *Config) { c.Passwords, c.ACL = passwords, rules })

	clients := []struct{ user, password, id string }{
		{"press", "presspress", "c1"}, {"press", "wrong", "c1"}, {"press", "", "c1"}, {"node-red", "node-rednode-red", "press"},
		{"nobody", "nobodynobody", "c2"}, {"käthe", "käthekäthe", "c3"}, {"a b", "a ba b", "c4"}, {"old", "oldold", "c5"}, {"old", "oldold1", "c5"}, {"blanks", "oldold", "c9"}, {" blanks ", "oldold", "c9"},
		{"ghost", "ghostghost", "c6"}, {"", "", "c7"}, {"PRESS", "presspress", "c8"},
	}
	topics := []string{
		"public/x", "public/in", "plant", "plant/press", "plant/press/a", "plant/press/secret", "plant/press/secret/b", "plant/oven/state", "plant/press/state",
		"plant/shared", "plant/a b/c", "own/%u/x", "own/node-red/x", "dev/press/a", "dev/press/forbidden", "dev/node-red/forbidden", "dev/node-red", "dev//a",
		"client/c1/x", "client/c2/x", "client/press/x", "client/+/x", "werk/käthe/1", "werk/other", "elsewhere",
	}
	type answer struct {
		in               bool
		publishes, hears string
	}
	ask := func(url string) map[string]answer {
		all := make(map[string]answer)
		var mu sync.Mutex
		var heard map[string]bool // by the spy
		spy := pahoClient(t, url, func(o *paho.ClientOptions) {
			o.SetClientID("spy").SetUsername("root").SetPassword("rootroot")
			o.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { mu.Lock(); heard[m.Topic()] = true; mu.Unlock() })
		})
		finish(t, spy.Connect())
		finish(t, spy.Subscribe("#", 1, nil))
		await := func(topics map[string]bool, topic string) {
			t.Helper()
			for deadline := time.Now().Add(testenv.Patience); ; time.Sleep(time.Millisecond) {
				mu.Lock()
				there := topics[topic]
				mu.Unlock()
				if there {
					return
				}
				if time.Now().After(deadline) {
					t.Fatalf("%s is not heard", topic)
				}
			}
		}
		for n, c := range clients {
			var a answer
			mine := map[string]bool{}
			connect := func() paho.Client {
				o := paho.NewClientOptions().AddBroker(url).SetClientID(c.id).SetAutoReconnect(false).SetConnectRetry(false)
				if c.user != "" {
					o.SetUsername(c.user).SetPassword(c.password)
				}
				o.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { mu.Lock(); mine[m.Topic()] = true; mu.Unlock() })
				client := paho.NewClient(o)
				if token := client.Connect(); !token.WaitTimeout(testenv.Patience) || token.Error() != nil {
					return nil
				}
				return client
			}
			mu.Lock()
			heard = map[string]bool{}
			mu.Unlock()
			client := connect()
			if a.in = client != nil; a.in {
				finish(t, client.Subscribe("#", 1, nil))
				for _, topic := range topics {
					if strings.ContainsAny(topic, "+") {
						continue // no name of a topic
					}
					finish(t, spy.Publish(topic, 1, false, "x"))
				}
				end := fmt.Sprint("done/", n)
				finish(t, spy.Publish(end, 1, false, "x"))
				await(mine, end)
				await(heard, end)
				mu.Lock()
				delete(mine, end)
				a.hears = strings.Join(slices.Sorted(maps.Keys(mine)), " ")
				heard = map[string]bool{}
				mu.Unlock()
				client.Disconnect(0)
				for _, topic := range topics {
					if strings.ContainsAny(topic, "+") {
						continue
					}
					if client := connect(); client != nil { // one each: a broker may close it for what it refuses
						if token := client.Publish(topic, 1, false, "x"); !token.WaitTimeout(testenv.Patience) {
							t.Fatalf("publishing to %s has no end", topic)
						}
						client.Disconnect(0)
					}
				}
				finish(t, spy.Publish(end, 1, false, "x"))
				await(heard, end)
				mu.Lock()
				delete(heard, end)
				a.publishes = strings.Join(slices.Sorted(maps.Keys(heard)), " ")
				mu.Unlock()
			}
			all[fmt.Sprintf("%s/%s as %s", c.user, c.password, c.id)] = a
		}
		return all
	}
	want, got := ask("tcp://"+real.Addr), ask("tcp://"+ours.Addrs()[0].String())
	in := 0
	for who, w := range want {
		if w.in {
			in++
		}
		if got[who] != w {
			t.Errorf("%s: Mosquitto says\n  %+v\nand this broker\n  %+v", who, w, got[who])
		}
	}
	if in < 6 {
		t.Errorf("Mosquitto lets %d clients in: %+v", in, want)
	}
}

// Whoever calls himself a wildcard is let through by no pattern, as there.
func TestAWildcardForANameGetsNothingFromPatterns(t *testing.T) {
	passwords, rules := mosquittoFiles(t, acl)
	u, err := readMosquitto(passwords, rules)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]bool{"c": true, "+": false, "#": false, "a+": false, "a#b": false} {
		if got := u.allow("nobody", id, "dev/nobody/x", Publish); got != want {
			t.Errorf("client id %q: %t", id, got)
		}
	}
}

// A line that cannot be meant as it stands is an error with its number, and costs nothing else.
func TestErrorsInMosquittosFilesNameTheLine(t *testing.T) {
	good := "a:$6$c2FsdHNhbHRzYWx0$" + strings.Repeat("A", 86) + "=="
	for _, c := range []struct{ passwords, acl, want string }{
		{"\n# x\na", "", "passwd:3: expected NAME:HASH"},
		{"a:secret", "", "passwd:1: password of user a: expected a hash, $7$… or $6$…, as `mosquitto_passwd -U FILE` makes"},
		{"a:$argon2id$v=19$m=47104,t=1,p=1$c2FsdA$aGFzaA", "", "passwd:1: password of user a: an Argon2 hash"},
		{"a:$7$x$c2FsdA==$aGFzaA==", "", "passwd:1: password of user a: x iterations"},
		{"a:$7$100001$c2FsdA==$aGFzaA==", "", "passwd:1: password of user a: 100001 iterations, expected 1 to 100000"},
		{"a:$7$101$c2FsdA==$aGFzaA==", "", "passwd:1: password of user a: a salt of 4 bytes and a hash of 4"},
		{"a:$6$c2FsdA=$aGFzaA==", "", "passwd:1: password of user a: salt and hash are base64"},
		{good + "\n" + good, "", "passwd:2: user a stands here twice"},
		{strings.Replace(good, "a:", "a/b:", 1), "", "passwd:1: user name \"a/b\""},
		{strings.Replace(good, "a:", ":", 1), "", "passwd:1: user name \"\""},
		{good, "topic", "acl:1: expected a topic filter after `topic`"},
		{good, "topic a b", "acl:1: unknown access \"a\": expected `topic [read|write|readwrite|deny] FILTER`"},
		{good, "user a\ntopic read a/#/b", "acl:2: topic filter \"a/#/b\""},
		{good, "pattern write x%u", "acl:1: topic filter \"x%u\": expected %u and %c as whole levels"},
		{good, "user", "acl:1: expected `user NAME`"},
		{good, "allow publish #", "acl:1: unknown word \"allow\""},
		{good, "topic read \xff", "acl:1: not UTF-8"},
	} {
		dir := t.TempDir()
		passwords, acl := filepath.Join(dir, "passwd"), filepath.Join(dir, "acl")
		for path, text := range map[string]string{passwords: c.passwords, acl: c.acl} {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := CheckMosquitto(passwords, acl); err == nil || !strings.HasPrefix(err.Error(), filepath.Join(dir, c.want)) {
			t.Errorf("%q, %q: got error %v, want %s…", c.passwords, c.acl, err, c.want)
		}
	}
	if err := CheckMosquitto(filepath.Join(t.TempDir(), "none"), ""); err == nil {
		t.Error("a password_file that is not there is taken")
	}
}

// Without an acl_file every user may do everything, and hear the broker's own figures.
func TestWithoutAnACLFileUsersMayDoEverything(t *testing.T) {
	passwords, _ := mosquittoFiles(t, "")
	u, err := readMosquitto(passwords, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"press", ""} {
		if !u.allow(name, "c", "any/topic", Publish) || !u.allow(name, "c", "any/topic", Subscribe) || !u.allow(name, "c", "$SYS/broker/uptime", Subscribe) || u.allow(name, "c", "$SYS/x", Publish) {
			t.Errorf("user %q may not do what it may there, or more", name)
		}
	}
	if u.allow("stranger", "c", "any/topic", Publish) {
		t.Error("a name without a password may publish")
	}
}
