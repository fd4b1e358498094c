// Command edgeaggregator is the aggregation node's program: it pulls headers from gateways, checks that their history
// only grew, countersigns it, and shows what it knows of them.
//
// One file per command, and no logic: what a command does is in package aggregator and below.
package main

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/spf13/cobra"

	"edgechain.example/aggregator"
	"edgechain.example/aggregator/api"
	"edgechain.example/aggregator/headlog"
	"edgechain.example/aggregator/registry"
	"edgechain.example/backup"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/lightchain/keyfile"
	"edgechain.example/tomlconf"
)

// version is set when a release is built.
var version = "dev"

func main() { command.Main(newRoot(), exitCode) }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "edgeaggregator",
		Short: "Countersign the histories of gateways",
		Long: `edgeaggregator pulls the headers of gateways over MQTT, checks that each history only grew, stores and countersigns it.
Its receipts say when a block was there at the latest, and that there was no other history. Readings never come here.

Begin with:   edgeaggregator init && edgeaggregator run
Then:         edgeaggregator key show        what gateways and auditors need to know
              edgeaggregator gateways list   who waits for approval, and what is wrong with whom

Exit codes: 0 ok, 1 failed, 2 usage or configuration, 3 verification failed, 4 not found, 5 locked or unreachable, 6 storage,
78 run cannot start with its configuration.`,
		Version: version,
		Args:    command.Args(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	command.OutputFlag(root)
	flags := root.PersistentFlags()
	flags.StringP("config", "c", "", "the configuration `FILE` (default "+aggregator.DefaultConfigPath+")")
	flags.String("data", "", "the data `FOLDER`, instead of aggregator.data")
	flags.String("store", "", "the store's `URL`, postgres://…, instead of store.url; seen by all who may list processes")
	flags.StringArray("set", nil, "set one key of the configuration, as in `pull.mode=sparse`; may be repeated")
	_ = root.MarkPersistentFlagDirname("data")
	_ = root.MarkPersistentFlagFilename("config", "toml")
	root.AddGroup(
		&cobra.Group{ID: "node", Title: "Running an aggregator:"},
		&cobra.Group{ID: "gateways", Title: "Its gateways, while it runs or not:"})
	root.AddCommand(
		newInit(), newRun(), newConfig(), newCheckConfig(), newKey(),
		newBackup(), newRestore(), newStatus(), newGateways(), newHeaders(), newReceipt(), newForks(), newLog(), newVersion())
	return root
}

// exitCode maps the errors of this program's packages.
func exitCode(err error) int {
	var problems tomlconf.Problems
	var answer *api.AnswerError
	switch {
	case errors.As(err, &problems), errors.Is(err, keyfile.ErrExposed), errors.Is(err, keyfile.ErrPassphraseMissing),
		errors.Is(err, keyfile.ErrPassphraseWrong), errors.Is(err, keyfile.ErrNotEncrypted), errors.Is(err, aggregator.ErrExists), errors.Is(err, aggregator.ErrIdentity),
		errors.Is(err, registry.ErrUnsafe),
		errors.Is(err, backup.ErrNotBackup), errors.Is(err, backup.ErrOther):
		return command.ExitUsage
	case errors.Is(err, registry.ErrNotFound), errors.Is(err, headlog.ErrNotFound), errors.Is(err, backup.ErrNoGeneration), errors.Is(err, fs.ErrNotExist):
		return command.ExitNotFound
	case errors.Is(err, registry.ErrRunning), errors.Is(err, api.ErrNotRunning), errors.Is(err, backup.ErrBusy), errors.Is(err, fs.ErrPermission):
		return command.ExitUnreachable
	case errors.Is(err, backup.ErrDamaged), errors.Is(err, headlog.ErrInvalid):
		return command.ExitVerification
	case errors.Is(err, registry.ErrFailed), errors.Is(err, backup.ErrFull), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EROFS):
		return command.ExitStorage
	case errors.As(err, &answer) && answer.Code == 400:
		return command.ExitUsage
	}
	return command.ExitFailed
}
