package main

import (
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"edgechain.example/agent/api"
	"edgechain.example/asowner"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
)

func newExport() *cobra.Command {
	c := &cobra.Command{
		Use:     "export",
		GroupID: "chain",
		Short:   "Write a range of entries as CSV or JSON lines, with their proofs, or as a bundle",
		Long: `export writes entries for other programs: a row a reading in CSV, a line an entry in JSON lines. With --proofs each
entry's proof is written beside it. Where entries are lost a row says so, and export ends with exit code 3; what retention has
deleted is no loss. With --bundle all entries of a run of blocks go into one file which shows, as one
entry's proof cannot, that none between two numbers is missing; edgeverify checks it.`,
		Args: command.Args(cobra.NoArgs),
	}
	var s selection
	s.flags(c)
	format := c.Flags().String("format", "", "csv or jsonl (default: as the file's name ends, else csv, and jsonl with --output json)")
	file := c.Flags().StringP("file", "o", "", "write to this `FILE`, which must not exist (default standard output)")
	from := c.Flags().Uint64("from", 0, "the first `NUMBER`")
	to := c.Flags().Uint64("to", 0, "the last `NUMBER`, which is exported too (default the newest)")
	proofs := c.Flags().String("proofs", "", "write the proof of each entry into this `FOLDER`, which is made if it is not there")
	bundle := c.Flags().String("bundle", "", "write all entries of the blocks `FROM-TO` as one bundle, which shows that none is missing")
	quorum := c.Flags().Int("quorum", 1, "as in prove")
	c.MarkFlagsMutuallyExclusive("bundle", "format")
	c.MarkFlagsMutuallyExclusive("bundle", "proofs")
	c.RunE = func(c *cobra.Command, _ []string) error {
		out, err := command.NewOutput(c)
		if err != nil {
			return err
		}
		if *bundle != "" {
			return exportBundle(c, out, *bundle, *file, *quorum)
		}
		toFile := *file != "" && *file != "-"
		if out.JSON() && !toFile && *format == "" {
			*format = "jsonl"
		}
		asCSV, err := isCSV(*format, *file)
		if err != nil {
			return err
		}
		values, err := s.values(c)
		if err != nil {
			return err
		}
		if err := inOrder(c, *from, *to); err != nil {
			return err
		}
		values.Set("from", strconv.FormatUint(*from, 10))
		bounded := setTo(c, values, *to)
		chain, done, err := openChain(c)
		if err != nil {
			return err
		}
		defer done()
		client := api.Local(&api.Server{Chain: chain, Status: func() api.Status { return api.Status{Chain: chain.Chain()} }})
		if err := s.known(c, client); err != nil {
			return err
		}
		w, err := createOutput(c, *file)
		if err != nil {
			return err
		}
		data, err := proofFolder(c, *proofs)
		if err != nil {
			removeOutput(c, *file) // nothing is in it
			return errors.Join(err, w.Close())
		}
		rows, err := newRows(w, asCSV)
		if err != nil {
			return err
		}
		progress := command.NewProgress(os.Stderr)
		defer progress.Done()
		count, unsealed := 0, 0
		var lost losses
		if b := chain.SetBack(); b != nil && b.Count > 0 && (!bounded || *to >= b.First) {
			lost.above = b
		}
		oldest, _, err := chain.Oldest()
		if err != nil {
			oldest = 0 // none is held
		}
		for e, err := range client.Entries(c.Context(), values) {
			if err != nil {
				return err
			}
			if count == 0 && *from < oldest && e.Number >= oldest { // no row tells of what retention deleted from the oldest on
				fmt.Fprintf(c.ErrOrStderr(), "edgeagent: entries below %d are not held any more (edgeagent log --source agent:prune)\n", oldest)
			}
			if e.Gone != "" && e.Why != api.Pruned {
				lost.add(&e)
			}
			if err := rows.write(&e); err != nil {
				return err
			}
			if *proofs != "" && e.Gone == "" {
				switch err := writeProof(chain, data, *proofs, e.Number, *quorum); {
				case errors.Is(err, store.ErrNotSealed):
					unsealed++
				case err != nil:
					return errors.Join(fmt.Errorf("not all is written: what there is ends at entry %d, which has no proof: %w", e.Number, err), rows.flush(), w.Close())
				}
			}
			count++
			progress.Show("%d entries", count)
		}
		if err := errors.Join(c.Context().Err(), rows.flush(), w.Close()); err != nil {
			return err
		}
		progress.Done()
		if unsealed > 0 {
			fmt.Fprintf(c.ErrOrStderr(), "edgeagent: %d entries have no proof yet: their block is not sealed\n", unsealed)
		}
		if out.JSON() && toFile {
			if err := out.Print(map[string]any{"file": *file, "entries": count, "without_proof": unsealed}, nil); err != nil {
				return err
			}
		}
		return lost.err()
	}
	return c
}

// losses counts what is missing among what is exported, and was not deleted by retention.
type losses struct {
	places  int            // rows that say so
	entries uint64         // as far as they are known
	first   string         // the first row's words
	above   *store.SetBack // what no row can stand for, since the database ends below it; nil: nothing
}

func (l *losses) add(e *api.Entry) {
	if l.places++; l.places == 1 {
		l.first = e.Gone
	}
	l.entries += e.Count
}

// err fails the command, when all that is there was written.
func (l *losses) err() error {
	const written = "what is there is written, but "
	var below, above error
	switch l.places {
	case 0:
	case 1:
		below = command.Failf(command.ExitVerification, written+"not all that was recorded is there: %s (edgeagent log --source agent:damage)", l.first)
	default:
		below = command.Failf(command.ExitVerification, written+"at least %d entries that were recorded are not there, in %d places: a row stands for each (edgeagent log --source agent:damage)", l.entries, l.places)
	}
	if l.above != nil {
		above = command.Failf(command.ExitVerification, written+"not all that was sealed is there: %s", l.above)
	}
	return errors.Join(below, above)
}

// exportBundle writes the bundle of the blocks that text names, as in 100-200.
func exportBundle(c *cobra.Command, out *command.Output, text, file string, quorum int) error {
	low, high, found := strings.Cut(text, "-")
	if !found {
		high = low
	}
	from, errFrom := strconv.ParseUint(low, 10, 63)
	to, errTo := strconv.ParseUint(high, 10, 63)
	if errFrom != nil || errTo != nil || from > to {
		return command.Failf(command.ExitUsage, "--bundle %q: expected heights of blocks, as in 100-200", text)
	}
	chain, done, err := openChain(c)
	if err != nil {
		return err
	}
	defer done()
	if file == "" {
		file = bundleFile(chain.Chain(), from, to)
	}
	if err := writeBundle(c, chain, file, from, to, quorum); err != nil || file == "-" || !out.JSON() {
		return err
	}
	return out.Print(map[string]any{"bundle": file, "chain": chain.Chain(), "from": from, "to": to}, nil)
}

// bundleFile is what a bundle's file is called by default.
func bundleFile(chain lightchain.ChainID, from, to uint64) string {
	return fmt.Sprintf("%s-%d-%d.edgebundle", chain.String()[:8], from, to)
}

// writeBundle writes a bundle to a file that is not there yet. Where it fails no file is left.
func writeBundle(c *cobra.Command, chain *store.Reader, file string, from, to uint64, quorum int) error {
	w, err := createOutput(c, file)
	if err != nil {
		return err
	}
	progress := command.NewProgress(os.Stderr)
	defer progress.Done()
	err = chain.Bundle(c.Context(), w, from, to, quorum, func(height uint64) { progress.Show("block %d of %d", height, to) })
	if err := errors.Join(err, w.Close()); err != nil {
		removeOutput(c, file) // half a bundle proves nothing
		return err
	}
	if file != "-" {
		fmt.Fprintf(c.ErrOrStderr(), "%s: all entries of blocks %d to %d\n", file, from, to)
	}
	return nil
}

// proofFolder makes the folder for proofs, where one is named, and returns the data folder.
func proofFolder(c *cobra.Command, folder string) (data string, err error) {
	if folder == "" {
		return "", nil
	}
	if data, err = dataFolder(c); err != nil {
		return "", err
	}
	return data, command.Unwritten(folder, asowner.Named(data, folder, func() error { return os.MkdirAll(folder, 0o755) }))
}

func writeProof(chain *store.Reader, data, dir string, number uint64, quorum int) error {
	proof, err := chain.Prove(number, quorum)
	if err != nil {
		return err
	}
	b, err := proof.Append(nil)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, fmt.Sprintf("%d.edgeproof", number))
	return command.Unwritten(file, asowner.Named(data, dir, func() error { return os.WriteFile(file, b, 0o644) }))
}

// rows writes entries in one of the two formats.
type rows struct {
	csv  *csv.Writer
	json *json.Encoder
}

// isCSV reports whether the format is CSV, where it is not named by the file's name.
func isCSV(format, file string) (bool, error) {
	switch ext := filepath.Ext(file); {
	case format == "csv":
		return true, nil
	case format == "jsonl":
		return false, nil
	case format == "":
		return ext != ".jsonl" && ext != ".json" && ext != ".ndjson", nil
	}
	return false, command.Failf(command.ExitUsage, "--format %q: expected csv or jsonl", format)
}

func newRows(w io.Writer, asCSV bool) (*rows, error) {
	if !asCSV {
		return &rows{json: json.NewEncoder(w)}, nil
	}
	r := &rows{csv: csv.NewWriter(w)}
	return r, r.csv.Write([]string{"number", "height", "received", "source", "flags", "device", "name", "value", "unit", "measured", "quality", "payload_base64"})
}

// write writes an entry: in CSV a row a reading, the payload in the first only.
func (r *rows) write(e *api.Entry) error {
	if r.json != nil {
		return r.json.Encode(e)
	}
	if e.Gone != "" {
		number := ""
		if e.Count > 0 {
			number = strconv.FormatUint(e.Number, 10)
		}
		return r.csv.Write([]string{number, "", "", e.Gone, "gone", "", "", "", "", "", "", ""})
	}
	height := ""
	if e.Sealed {
		height = strconv.FormatUint(e.Height, 10)
	}
	payload := base64.StdEncoding.EncodeToString(e.Payload)
	readings := e.Readings
	if len(readings) == 0 {
		readings = []api.Reading{{}}
	}
	for _, m := range readings {
		measured := ""
		if !m.Time.IsZero() {
			measured = command.UTC(m.Time)
		}
		value := string(m.Value)
		var text string
		if json.Unmarshal(m.Value, &text) == nil {
			value = text
		}
		err := r.csv.Write([]string{strconv.FormatUint(e.Number, 10), height, command.UTC(e.Received), e.Source, strings.Join(e.Flags, " "),
			m.Device, m.Name, value, m.Unit, measured, strings.Join(m.Quality, " "), payload})
		if err != nil {
			return err
		}
		payload = ""
	}
	return nil
}

func (r *rows) flush() error {
	if r.csv == nil {
		return nil
	}
	r.csv.Flush()
	return r.csv.Error()
}
