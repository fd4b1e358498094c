package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"edgechain.example/agent/api"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/tomlconf"
)

func newPrune() *cobra.Command {
	c := &cobra.Command{
		Use:     "prune",
		GroupID: "gateway",
		Short:   "Delete the payloads that are beyond the limits of [retention], or show which they are",
		Long: `prune lets the running agent delete at once the payloads of the oldest blocks that are beyond the limits of [retention],
which it otherwise does by itself as soon as it is worth while. Headers stay; an entry agent:prune says what went. Only
what aggregators have countersigned is deleted, unless the configuration says otherwise.

A deleted entry can be shown later by a proof that was made before, and by nothing else:

    edgeagent prune --dry-run
    edgeagent export --to NUMBER --proofs FOLDER --file entries.csv
    edgeagent prune

--dry-run deletes nothing, and works without a running agent. It goes by the configuration as it stands in the files
now, so limits can be tried before they are set: edgeagent prune --dry-run --set retention.max_age=90d`,
		Args: command.Args(cobra.NoArgs),
	}
	dry := c.Flags().Bool("dry-run", false, "only show what would be deleted")
	c.RunE = func(c *cobra.Command, _ []string) error {
		config, err := quietConfig(c)
		if err != nil {
			return err
		}
		out, err := command.NewOutput(c)
		if err != nil {
			return err
		}
		limits := config.Retention.Limits()
		if *dry {
			client, done, err := connect(c)
			if err != nil {
				return err
			}
			defer done()
			r, err := client.Retention(c.Context(), limits)
			if err != nil {
				return err
			}
			return out.Print(r, func(w io.Writer) { writeRetention(w, &r, "would go") })
		}
		client, err := dialAgent(c, config, "only it deletes, since it alone may write the entry that says so; --dry-run shows what it would")
		if err != nil {
			return err
		}
		r, err := client.Prune(c.Context(), limits)
		if err != nil {
			return err
		}
		return out.Print(r, func(w io.Writer) { writeRetention(w, &r, "went") })
	}
	return c
}

func writeRetention(w io.Writer, r *api.Retention, verb string) {
	var limits []string
	if r.Limits.MaxAge > 0 {
		limits = append(limits, "older than "+days(r.Limits.MaxAge))
	}
	if r.Limits.MaxSize > 0 {
		limits = append(limits, "beyond "+tomlconf.Size(r.Limits.MaxSize).String())
	}
	if len(limits) == 0 {
		fmt.Fprintln(w, "[retention] sets no limit: everything is kept")
		return
	}
	receipted := fmt.Sprintf("if countersigned by %d of the aggregators, as all up to block %d is", r.Limits.Quorum, r.Receipted)
	if r.Limits.DeleteUnreceiptedEvidence {
		receipted = "countersigned or not"
	}
	fmt.Fprintf(w, "limits     what is %s, %s\n", strings.Join(limits, " or "), receipted)
	fmt.Fprintf(w, "store      %s; payloads are held from block %d on\n", size(r.Bytes), r.Oldest)
	if r.Goes == nil {
		fmt.Fprintf(w, "%-10s nothing\n", verb)
	} else {
		fmt.Fprintf(w, "%-10s %s\n", verb, stretchText(r.Goes))
		fmt.Fprintf(w, "because    of %s\n", strings.Join(r.Why, " and "))
	}
	if r.Ageless {
		fmt.Fprintln(w, "age        of what is not countersigned is not known: this machine's clock is not synchronised")
	}
	if r.HeldBack != nil {
		fmt.Fprintf(w, "held back  %s\n           beyond the limits too, but not countersigned by enough aggregators\n", stretchText(r.HeldBack))
	}
	for i := range r.Kept {
		fmt.Fprintf(w, "kept       %s\n           %s\n", stretchText(&r.Kept[i].Stretch), keptText(&r.Kept[i]))
	}
}

func stretchText(s *api.Stretch) string {
	entries := "no entries"
	if s.NextEntry > s.FirstEntry {
		entries = fmt.Sprintf("entries %d to %d", s.FirstEntry, s.NextEntry-1) // as export --from and --to take them
	}
	return fmt.Sprintf("blocks %d to %d, %s, sealed %s to %s, about %s",
		s.From, s.To, entries, command.Instant(s.Since), command.Instant(s.Until), size(s.Bytes))
}

// days writes seconds in days where they are whole ones, else in hours.
func days(seconds int64) string {
	if day := int64(24 * time.Hour / time.Second); seconds%day == 0 {
		return fmt.Sprintf("%dd", seconds/day)
	}
	return fmt.Sprintf("%gh", (time.Duration(seconds) * time.Second).Hours())
}
