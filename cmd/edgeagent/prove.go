package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"edgechain.example/agent/api"
	"edgechain.example/asowner"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/cmd/internal/moment"
	"edgechain.example/cmd/internal/verifypage"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/lighttime"
	"edgechain.example/lightchain/store"
	"edgechain.example/shellword"
	"edgechain.example/tomlconf"
)

func newProve() *cobra.Command {
	c := &cobra.Command{
		Use:     "prove [NUMBER]",
		GroupID: "chain",
		Short:   "Write the proof of one entry",
		Long: `prove writes a proof that one entry stands in the chain: a file of a few kilobytes that edgeverify checks offline.
The entry is named by its number, as the log shows it, or as the reading of a device and name that was measured last at a time or
before; the command says which one that is:

    edgeagent prove 1042
    edgeagent prove --device press-07 --name temperature --at "yesterday 14:00"
    edgeagent prove --device press-07 --name temperature --at 2026-03-01T08:00:00Z

Or it is the largest, the least or the last reading of a time, with --max, --min or --last; readings that are marked bad are passed over,
and so is for --max and --min what is no number, or a whole one of 2^63 or more, which is kept as a text. Of several that are the same it is the earliest. Such a proof does not show that
no larger one was left out: a bundle of the blocks of that time does, which shows the readings of all devices in them. --complete
writes that, too:

    edgeagent prove --device press-07 --name temperature --max --since yesterday --until today

For somebody who has a browser and no edgeverify, --html writes a page that holds the proof and checks it. A page that came with a
proof says nothing about itself: who must be sure opens a verify.html of his own, and gives it that file.`,
		Args: command.Args(cobra.MaximumNArgs(1)),
	}
	device := c.Flags().String("device", "", "the `DEVICE` that measured")
	name := c.Flags().String("name", "", "the `NAME` of what it measured")
	complete(c, "device", deviceWords)
	complete(c, "name", nameWords)
	at := c.Flags().String("at", "", "the newest reading measured at this `TIME` or before; by default the one recorded last: "+moment.Forms)
	var x extremeFlags
	x.add(c)
	file := c.Flags().StringP("file", "o", "", "write to this `FILE`; - is standard output (default <chain>-<number>.edgeproof)")
	text := c.Flags().Bool("text", false, "write PEM, to be pasted, instead of bytes")
	html := c.Flags().String("html", "", "write a page that holds the proof, and shows it in a browser, to this `FILE`, and no other; - is standard output")
	c.MarkFlagsMutuallyExclusive("html", "file")
	c.MarkFlagsMutuallyExclusive("html", "text")
	quorum := c.Flags().Int("quorum", 1, "take in the earliest receipts of so `MANY` aggregators, if there are as many")
	c.RunE = func(c *cobra.Command, args []string) error {
		out, err := command.NewOutput(c)
		if err != nil {
			return err
		}
		if err := x.check(args, *device, *name, *at); err != nil {
			return err
		}
		client, done, err := connect(c)
		if err != nil {
			return err
		}
		defer done()
		var chosen *choice
		if x.of() != nil {
			chosen, err = x.find(c, client, *device, *name)
		} else {
			chosen, err = chosenEntry(c, client, args, *device, *name, *at)
		}
		if err != nil {
			return err
		}
		number := chosen.number
		proof, err := client.Proof(c.Context(), number, *quorum)
		if errors.Is(err, store.ErrPruned) {
			return prunedError(c, client, number, err)
		}
		if err != nil {
			return unprovable(c, client, err)
		}
		chain, entry, err := checked(proof)
		if err != nil {
			return err
		}
		shown := chosen.proved(&entry)
		path, written := *file, proof
		switch name := fmt.Sprintf("%s-%d.edgeproof", chain.String()[:8], number); {
		case *html != "":
			path = *html
			if written, err = verifypage.Enclose(name, proof); err != nil {
				return err
			}
		case path == "":
			path = name
		}
		if *text {
			written = lightchain.EncodeText(proof)
		}
		data, err := dataFolder(c)
		if err != nil {
			return err
		}
		if path != "-" {
			if err := asowner.Named(data, path, func() error { return replaceable(path, *html != "") }); err != nil {
				return command.Unwritten(path, err)
			}
		}
		bundle, err := x.bundle(c, chosen.extreme, path, *quorum)
		if err != nil {
			return err
		}
		if path == "-" {
			writeProved(c.ErrOrStderr(), shown)
			chosen.extreme.write(c.ErrOrStderr())
			_, err := c.OutOrStdout().Write(written)
			return err
		}
		err = asowner.Named(data, path, func() error {
			if err := replaceable(path, *html != ""); err != nil {
				return err
			}
			return os.WriteFile(path, written, 0o644)
		})
		if err != nil && bundle != "" {
			return fmt.Errorf("%w (the bundle is written: %s)", command.Unwritten(path, err), bundle)
		} else if err != nil {
			return command.Unwritten(path, err)
		}
		answer := map[string]any{"file": path, "number": number, "chain": chain, "bytes": len(written), "received": lighttime.Instant(entry.Received), "readings": shown}
		if chosen.extreme != nil {
			answer["extreme"] = chosen.extreme
		}
		if bundle != "" {
			answer["bundle"] = bundle
		}
		return out.Print(answer, func(w io.Writer) {
			what := "proof"
			if *html != "" {
				what = "page with the proof"
			}
			fmt.Fprintf(w, "%s: %s of entry %d, %d bytes\n", command.Printable(path), what, number, len(written))
			writeProved(w, shown)
			chosen.extreme.write(w)
			if *html != "" {
				fmt.Fprintf(w, "Who opens it is asked whom to trust: tell him the chain on another way, %s\n", chain)
				return
			}
			fmt.Fprintf(w, "Check it with: edgeverify --chain %s %s\n", chain, shellword.Path(path))
		})
	}
	return c
}

// replaceable says why a proof, or a page with one, cannot be written to a path: a file is there that is none. What is no regular file
// takes what is written, or says why not.
func replaceable(path string, html bool) error {
	there, err := tomlconf.ReadFile(path, 2*lightchain.MaxProof)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, tomlconf.ErrNotRegular) || err == nil && len(there) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if html {
		proof, found := verifypage.Enclosed(there)
		if !found {
			return errors.New("a file is there that is no page with a proof: it stays, name another one")
		}
		there = proof
	} else if text, err := lightchain.DecodeText(there); err == nil {
		there = text
	}
	if _, err := lightchain.DecodeProof(there); err != nil {
		return errors.New("a file is there that is no proof: it stays, name another one")
	}
	return nil
}

// unprovable says what to do about an entry that is not sealed, or is not there. A chain that no agent runs on stays as it is.
func unprovable(c *cobra.Command, client *api.Client, err error) error {
	notSealed := errors.Is(err, store.ErrNotSealed)
	if !notSealed && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	s, statusErr := client.Status(c.Context())
	switch {
	case statusErr != nil, s.SetBack != "": // which the error says
		return err
	case !s.Running && notSealed:
		return fmt.Errorf("%w, and no agent runs on this chain that would seal its block: start it and ask again, or if this is a copy, take a newer one", err)
	case !s.Running && s.Entries > 0:
		return fmt.Errorf("%w. This chain ends at entry %d, and no agent runs on it: if this is a copy, a newer one may hold more", err, s.Entries-1)
	case notSealed:
		return fmt.Errorf("%w: ask again once its block is sealed, which takes block.interval at most", err)
	}
	return err
}

// prunedError says where the chain tells of the deletion of an entry, and what can still show it.
func prunedError(c *cobra.Command, client *api.Client, number uint64, err error) error {
	told := ""
	for e, findErr := range client.Entries(c.Context(), url.Values{"source": {"agent:prune"}, "from": {strconv.FormatUint(number+1, 10)}}) {
		var said struct {
			NextEntry uint64 `json:"next_entry"`
		}
		if findErr != nil || json.Unmarshal(e.Payload, &said) != nil {
			break
		}
		if said.NextEntry > number {
			told = fmt.Sprintf(", as entry %d says, of %s", e.Number, command.Instant(e.Received))
			break
		}
	}
	return fmt.Errorf("%w%s; only a proof or a bundle that was made before can still show it (edgeagent export --proofs, or --bundle)", err, told)
}

// checked checks a proof before it is handed out, and returns the chain and the entry that it is of.
func checked(proof []byte) (chain lightchain.ChainID, entry lightchain.Entry, err error) {
	p, err := lightchain.DecodeProof(proof)
	if err != nil {
		return chain, entry, err
	}
	chain = p.Keys[0].ChainID()
	if _, err = p.Verify(&lightchain.Trust{Chains: []lightchain.ChainID{chain}}); err != nil {
		return chain, entry, fmt.Errorf("the proof that was made does not verify: %w", err)
	}
	entry, err = lightchain.DecodeEntry(p.Entry)
	return chain, entry, err
}

// chosenEntry returns the entry that the command names.
func chosenEntry(c *cobra.Command, client *api.Client, args []string, device, name, at string) (*choice, error) {
	byReading := device != "" || name != "" || at != ""
	switch {
	case len(args) == 1 && byReading:
		return nil, command.Failf(command.ExitUsage, "name the entry by its number, or by --device, --name and --at; not both")
	case len(args) == 1:
		n, err := strconv.ParseUint(args[0], 10, 63)
		if err != nil {
			return nil, command.Failf(command.ExitUsage, "%q is not the number of an entry", args[0])
		}
		return &choice{number: n}, nil
	case !byReading:
		return nil, command.Failf(command.ExitUsage, "which entry? Name its number, or --device, --name and --at")
	}
	s := selection{device: device, name: name}
	values, err := s.values(c)
	if err != nil {
		return nil, err
	}
	var asked *int64
	if at != "" {
		t, err := command.Moment(c, "at", at)
		if err != nil {
			return nil, err
		}
		ns := t.UnixNano()
		asked = &ns
	}
	if err := s.known(c, client); err != nil {
		return nil, err
	}
	chosen := &choice{asked: asked, device: device, name: name}
	if asked == nil {
		chosen.number, err = newestOf(c, client, values)
	} else {
		chosen.number, err = newestAt(c, client, values, *asked)
	}
	return chosen, err
}
