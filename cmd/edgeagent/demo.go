package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"edgechain.example/agent"
	"edgechain.example/agent/api"
	"edgechain.example/agent/demo"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
)

func newDemo() *cobra.Command {
	c := &cobra.Command{
		Use:     "demo",
		GroupID: "gateway",
		Short:   "Run a gateway with four simulated devices, then prove and check one reading",
		Long: `demo starts a gateway in a temporary folder, with its embedded broker on a free port and blocks sealed every second.
Four simulated devices publish over MQTT in four dialects, and the machine's own sensors are read. It shows what
arrives until Ctrl-C, or for the time that --for or the variable DEMO says. Then it proves one reading, checks the
proof with edgeverify, changes one byte of it, and verifies the whole chain. With --aggregator the gateway also syncs
its headers, through its own broker, to an aggregator that somebody else runs, and the proof carries a receipt.`,
		Args: command.Args(cobra.NoArgs),
	}
	length := command.Duration(c, "for", 0, "how long to show, such as 20s (default $DEMO, else until Ctrl-C)")
	listen := c.Flags().String("listen", "127.0.0.1:0", "where the embedded broker listens")
	aggregator := c.Flags().String("aggregator", "", "the `LINE` of an aggregator, as edgeaggregator key show prints it for a trust file")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if text := os.Getenv("DEMO"); *length == 0 && text != "" {
			d, err := time.ParseDuration(text)
			if err != nil {
				return command.Failf(command.ExitUsage, "DEMO=%q: expected a time such as 20s", text)
			}
			*length = d
		}
		verifier, err := findVerifier()
		if err != nil {
			return err
		}
		dir, err := os.MkdirTemp("", "edgechain-demo-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		out, err := command.NewOutput(c)
		if err != nil {
			return err
		}
		w := out.Writer()
		if out.JSON() { // what it shows is for people
			w = c.ErrOrStderr()
		}
		d := &demonstration{w: w, dir: dir, verifier: verifier, length: *length, listen: *listen, trust: new(lightchain.Trust)}
		if *aggregator != "" {
			if d.trust, err = lightchain.ParseTrust([]byte(*aggregator)); err != nil {
				return command.Failf(command.ExitUsage, "--aggregator: %w", err)
			}
			d.trust.Quorum = 1
		}
		if err := d.run(c.Context()); err != nil || !out.JSON() {
			return err
		}
		return out.Print(map[string]any{"ok": true, "chain": d.trust.Chains[0]}, nil)
	}
	return c
}

// findVerifier finds the second program, beside this one or on the path.
func findVerifier() (string, error) {
	self, err := os.Executable()
	if err == nil {
		if beside := filepath.Join(filepath.Dir(self), "edgeverify"); executable(beside) {
			return beside, nil
		}
	}
	path, err := exec.LookPath("edgeverify")
	if err != nil {
		return "", errors.New("edgeverify is neither beside this program nor on the path: build it with `make build`")
	}
	return path, nil
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// demonstration is one run of the demo.
type demonstration struct {
	w        io.Writer
	dir      string
	verifier string
	length   time.Duration
	listen   string
	trust    *lightchain.Trust // the aggregators, and once it is known the chain
}

func (d *demonstration) say(format string, args ...any) { fmt.Fprintf(d.w, format+"\n", args...) }

func (d *demonstration) run(ctx context.Context) error {
	config := demo.Gateway(filepath.Join(d.dir, "data"), d.listen, d.trust.Aggregators)
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	recording, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ready, ended := make(chan struct{}), make(chan error, 1)
	gateway := agent.New(config, agent.Options{
		Version: version, Log: log, Init: true, Fatal: exitOnStorageFailure(log),
		Ready: func(*agent.Agent) { close(ready) },
	})
	go func() { ended <- gateway.Run(recording) }()
	select {
	case <-ready:
	case err := <-ended:
		return err
	}
	client, err := api.Dial(ctx, config.API.Socket)
	if err != nil {
		return err
	}
	if s, err := client.Status(ctx); err != nil {
		return err
	} else if i := slices.IndexFunc(s.Live.Sources, func(s api.Source) bool { return s.State == api.SourceFailing }); i >= 0 {
		return fmt.Errorf("source %s: %s", s.Live.Sources[i].Name, s.Live.Sources[i].Text()) // a demonstration does not wait for a port
	}
	if err := d.show(ctx, client); err != nil {
		return err
	}
	proof, err := d.prove(client)
	if err != nil {
		return err
	}
	stop()
	if err := <-ended; err != nil {
		return err
	}
	if err := d.check(proof); err != nil {
		return err
	}
	return d.verify(config)
}

// show lets the devices publish, and prints what arrives and what is sealed.
func (d *demonstration) show(ctx context.Context, client *api.Client) error {
	if d.length > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.length)
		defer cancel()
	}
	status, err := client.Status(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	broker := ""
	for _, s := range status.Live.Sources {
		if s.Name == "broker" {
			broker = s.Detail
		}
	}
	d.say("Gateway %q begins chain %s.", status.Gateway, status.Chain)
	d.say("Devices publish to its broker at %s; you may too: mosquitto_pub -h 127.0.0.1 -p %s -t demo/you -m 42 -q 1", broker, portOf(broker))
	if d.length == 0 {
		d.say("Ctrl-C ends the recording and proves one reading.")
	}
	d.say("")
	devices := make(chan error, 1)
	go func() {
		devices <- demo.Run(ctx, "tcp://"+broker, slog.New(slog.DiscardHandler))
	}()
	shown := time.Now()
	for e, err := range client.Entries(ctx, url.Values{"follow": {"true"}}) {
		if err != nil && ctx.Err() == nil {
			return err
		}
		for _, r := range e.Readings {
			d.say("  %6d  %-16s %-14s %s %s", e.Number, r.Device, r.Name, valueText(r.Value), r.Unit)
		}
		if now := time.Now(); now.Sub(shown) > 5*time.Second {
			shown = now
			if s, err := client.Status(ctx); err == nil {
				d.say("-- block %d sealed, %d entries, head %s%s", s.Height, s.Entries, s.Head.String()[:16], receipted(&s))
			}
		}
	}
	return <-devices
}

// receipted says how far the aggregators have countersigned.
func receipted(s *api.Status) string {
	var text strings.Builder
	for _, u := range s.Live.Upstreams {
		for _, g := range u.Aggregators {
			if g.Receipted != nil {
				fmt.Fprintf(&text, ", countersigned by %s up to block %d", g.Name, *g.Receipted)
			}
		}
	}
	return text.String()
}

func portOf(address string) string {
	if u, err := url.Parse("tcp://" + address); err == nil {
		return u.Port()
	}
	return "1883"
}

// prove writes the proof of the newest reading of the press that is sealed, and receipted if anybody does that.
func (d *demonstration) prove(client *api.Client) (file string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute) // which a slow machine may need to begin
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	number := uint64(0)
	for found := false; ; {
		if !found {
			number, found, err = newestPress(ctx, client)
			if err != nil {
				return "", err
			}
		}
		if found {
			proof, err := client.Proof(ctx, number, 1)
			switch {
			case errors.Is(err, store.ErrNotSealed): // its block is sealed within the second
			case err != nil:
				return "", err
			default:
				chain, _, err := checked(proof)
				if err != nil {
					return "", err
				}
				d.trust.Chains = []lightchain.ChainID{chain}
				if _, err := lightchain.Verify(proof, d.trust); err == nil {
					file = filepath.Join(d.dir, "press-07-"+strconv.FormatUint(number, 10)+".edgeproof")
					d.say("\nOne reading of press-07, entry %d, is proved in %d bytes. The proof goes to edgeverify, which knows this and nothing else:\n", number, len(proof))
					d.say("%s", d.trust.Format())
					return file, os.WriteFile(file, proof, 0o644)
				}
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return "", errors.New("no reading of press-07 was sealed and receipted: let the demo run for a few seconds")
		}
	}
}

// newestPress returns the number of the newest entry with the press's temperature.
func newestPress(ctx context.Context, client *api.Client) (number uint64, found bool, err error) {
	for e, err := range client.Entries(ctx, url.Values{"device": {"press-07"}, "name": {"temperature"}, "reverse": {"true"}, "limit": {"1"}}) {
		return e.Number, err == nil, err
	}
	return 0, false, nil
}

// check lets edgeverify judge the proof, and then the same proof with one byte changed.
func (d *demonstration) check(file string) error {
	trust := filepath.Join(d.dir, "auditor.trust")
	if err := os.WriteFile(trust, d.trust.Format(), 0o644); err != nil {
		return err
	}
	judge := func(file string) (string, error) {
		out, err := exec.Command(d.verifier, "--trust", trust, file).CombinedOutput()
		return string(out), err
	}
	out, err := judge(file)
	d.say("%s", out)
	if err != nil {
		return fmt.Errorf("the proof was refused: %w", err)
	}
	proof, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	at := bytes.Index(proof, []byte(`"temperature":`)) + len(`"temperature":`)
	proof[at] ^= 1 // another digit
	forged := filepath.Join(d.dir, "forged.edgeproof")
	if err := os.WriteFile(forged, proof, 0o644); err != nil {
		return err
	}
	d.say("The same proof with byte %d changed, the first digit of the temperature:\n", at)
	out, err = judge(forged)
	d.say("%s", out)
	if err == nil {
		return errors.New("a forged proof was accepted")
	}
	return nil
}

// verify checks the whole chain, now that nobody records.
func (d *demonstration) verify(config *agent.Config) error {
	chain, err := store.OpenReader(config.ChainDir(), store.Options{})
	if err != nil {
		return err
	}
	defer chain.Close()
	summary, err := chain.Verify(context.Background(), nil)
	if err != nil {
		return err
	}
	d.say("The whole chain verifies: %d headers, %d entries.", summary.Heights, summary.Entries)
	return nil
}
