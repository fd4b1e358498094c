package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"edgechain.example/aggregator/api"
	"edgechain.example/aggregator/headlog"
	"edgechain.example/asowner"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/tomlconf"
)

func newLog() *cobra.Command {
	c := &cobra.Command{
		Use:     "log",
		GroupID: "gateways",
		Short:   "The aggregator's transparency log: one tree over the heads of all gateways",
		Long: `Each head that is countersigned becomes a leaf of one tree, whose root is signed as a checkpoint: the log of heads, which
transparency.origin in the configuration begins. Whoever keeps a checkpoint can tell later whether the tree only grew.`,
	}
	c.AddCommand(newLogShow(), newLogProve(), newLogExport(), newLogCheck())
	return c
}

func newLogShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Print the log's origin and key, and its newest checkpoint",
		Args:  command.Args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			return with(c, func(asked *api.Client, out *command.Output) error {
				h, err := asked.Heads(c.Context())
				if err != nil {
					return err
				}
				return out.Print(h, func(w io.Writer) { writeHeads(w, &h) })
			})
		},
	}
}

func writeHeads(w io.Writer, h *api.Heads) {
	line(w, "origin", h.Origin)
	line(w, "key", h.Key)
	line(w, "checkpoint", h.Absent)
	if h.Absent == "" {
		line(w, "size", strconv.FormatUint(h.Size, 10))
		line(w, "root", h.Root)
		line(w, "time", second(h.Time))
	}
	if h.Live != nil {
		line(w, "finding", h.Live.Finding)
		writeLogStanding(w, h.Live)
	}
}

// writeLogStanding says what is to be said of a running aggregator's log besides.
func writeLogStanding(w io.Writer, s *api.LogStanding) {
	line(w, "log", fmt.Sprintf("%d heads wait to get into it", s.Pending))
	if s.Trouble != "" {
		line(w, "WARNING", fmt.Sprintf("NOTHING IS APPENDED to the log of heads since %s: %s", second(s.Since), s.Trouble))
	}
	if s.Deaf != "" {
		line(w, "WARNING", "nobody is answered: "+s.Deaf)
	}
}

func newLogProve() *cobra.Command {
	c := &cobra.Command{
		Use:   "prove CHAIN [HEIGHT]",
		Short: "Print, or write to a file, the proof that a head stands in the log",
		Long: `prove writes a .tlog-proof of C2SP of the gateway's newest head in the log, or of its first one at HEIGHT or above: each head
fixes all headers below it. The proof is checked before it is given out. Which head it is of is said on standard error.`,
		Args: command.Args(cobra.RangeArgs(1, 2)),
	}
	file := c.Flags().StringP("file", "f", "", "the `FILE`, by custom *.tlog-proof (default standard output)")
	c.RunE = func(c *cobra.Command, args []string) error {
		var height *uint64
		if len(args) == 2 {
			n, err := strconv.ParseUint(args[1], 10, 63)
			if err != nil {
				return command.Failf(command.ExitUsage, "HEIGHT %q: expected a whole number, 0 or more", args[1])
			}
			height = &n
		}
		return with(c, func(asked *api.Client, out *command.Output) error {
			p, err := asked.TlogProof(c.Context(), args[0], height)
			if err != nil {
				return err
			}
			if out.JSON() && *file == "" {
				return out.Print(p, nil)
			}
			if !out.JSON() {
				fmt.Fprintf(c.ErrOrStderr(), "header %d of %s, hash %s: leaf %d\n", p.Height, p.Chain, p.Hash, p.Index)
			}
			return writeResult(c, out, *file, []byte(p.Proof))
		})
	}
	return c
}

func newLogExport() *cobra.Command {
	return &cobra.Command{
		Use:   "export FOLDER",
		Short: "Write the log as files that any web server can serve",
		Long: `export writes the newest checkpoint and the tiles of its tree, and the headers where transparency.entries is set, as C2SP's
tlog-tiles names them. Into a folder of before it writes what is new, and refuses one whose checkpoint the log does not
continue.`,
		Args: command.Args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			return with(c, func(asked *api.Client, out *command.Output) error {
				h, err := asked.Heads(c.Context())
				if err != nil {
					return err
				}
				key, err := headlog.ParseKey(h.Key)
				if err != nil {
					return err
				}
				config, err := quietConfig(c)
				if err != nil {
					return err
				}
				to := headlog.Folder{Dir: args[0], As: func(do func() error) error {
					return command.Unwritten(args[0], asowner.Named(config.Aggregator.Data, args[0], do))
				}}
				newest, written, err := headlog.Export(c.Context(), asked.Served(), key, to)
				if err != nil {
					return err
				}
				return out.Print(map[string]any{"folder": args[0], "origin": newest.Origin, "size": newest.Size, "files": written}, func(w io.Writer) {
					fmt.Fprintf(w, "%s: %d leaves, %d files written\n", args[0], newest.Size, written)
				})
			})
		},
	}
}

func newLogCheck() *cobra.Command {
	c := &cobra.Command{
		Use:   "check [URL KEY]",
		Short: "Compute the whole tree anew and compare, or check a log that is served somewhere",
		Long: `check without words computes the aggregator's own tree from its leaves, and compares it with all that is stored and with each
checkpoint that was ever signed.

With URL and KEY, as the log's operator shows the key, it checks a log that is served: its signature, that its tiles make its
root, and, with --kept, that its tree begins with the one of the checkpoint in that file, which is replaced by the newest
afterwards. The first time the file is made. Where it does not, what the log shows goes into FILE.other. It needs no
configuration, and may run anywhere.

It ends with 3 where something does not verify.`,
		Args: command.Args(func(c *cobra.Command, args []string) error {
			if len(args) != 0 && len(args) != 2 {
				return fmt.Errorf("expected nothing, or URL and KEY, not %d words", len(args))
			}
			return nil
		}),
	}
	kept := c.Flags().String("kept", "", "the `FILE` with the newest checkpoint that was checked before")
	all := c.Flags().Bool("all", false, "of a log that is served, read every tile, and not only those that the root and the growth are made of")
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 2 {
			return checkServed(c, args[0], args[1], *kept, *all)
		}
		if *kept != "" || *all {
			return command.Failf(command.ExitUsage, "--kept and --all are for a log that is served: name its URL and KEY")
		}
		return with(c, func(asked *api.Client, out *command.Output) error {
			r, err := asked.CheckHeads(c.Context())
			if err != nil {
				return err
			}
			if !r.Verified {
				return command.Failf(command.ExitVerification, "%s: %s", r.Origin, r.Error)
			}
			return out.Print(r, func(w io.Writer) {
				fmt.Fprintf(w, "%s: %d leaves make the root %s; %d checkpoints are of this tree\n", r.Origin, r.Size, r.Root, r.Checkpoints)
			})
		})
	}
	return c
}

// servedPatience is how long one file of a served log may take.
const servedPatience = time.Minute

func checkServed(c *cobra.Command, address, text, kept string, all bool) error {
	out, err := command.NewOutput(c)
	if err != nil {
		return err
	}
	if u, err := url.Parse(address); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return command.Failf(command.ExitUsage, "URL %q: expected http:// or https://, and all before /checkpoint", address)
	}
	key, err := headlog.ParseKey(text)
	if err != nil {
		return command.Fail(command.ExitUsage, err)
	}
	var earlier []byte
	if kept != "" {
		if earlier, err = tomlconf.ReadFile(kept, headlog.MaxNote); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	fetch := headlog.From(&http.Client{Timeout: servedPatience}, address)
	newest, signed, err := headlog.CheckServed(c.Context(), fetch, key, earlier, all)
	var unreached *url.Error
	if errors.As(err, &unreached) {
		return command.Fail(command.ExitUnreachable, err)
	}
	switch {
	case kept == "":
	case err == nil:
		err = command.Unwritten(kept, headlog.Keep(kept, signed))
	case errors.Is(err, headlog.ErrInvalid) && signed != nil: // it may never be shown again
		other := kept + ".other"
		if unkept := headlog.Keep(other, signed); unkept != nil {
			err = fmt.Errorf("%w; what it shows now could not be written to %s: %w:\n%s", err, other, unkept, signed)
		} else {
			err = fmt.Errorf("%w; what it shows now is kept in %s", err, other)
		}
	}
	if err != nil {
		return err
	}
	told := map[string]any{"origin": newest.Origin, "size": newest.Size, "root": newest.RootText(), "verified": true, "compared": earlier != nil}
	return out.Print(told, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %d leaves, root %s\n", newest.Origin, newest.Size, newest.RootText())
		if earlier != nil {
			fmt.Fprintf(w, "It continues the checkpoint in %s.\n", kept)
		} else {
			fmt.Fprintln(w, "There was no earlier checkpoint to compare with.")
		}
	})
}
