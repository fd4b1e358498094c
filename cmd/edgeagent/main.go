// Command edgeagent is the gateway's program: it records what devices publish in a signed chain, and reads, proves,
// exports and verifies that chain.
//
// One file per command, and no logic: what a command does is in package agent and below.
package main

import (
	"errors"
	"io/fs"
	"net/http"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"edgechain.example/agent"
	"edgechain.example/agent/api"
	"edgechain.example/backup"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/lightchain/keyfile"
	"edgechain.example/lightchain/store"
	"edgechain.example/tomlconf"
)

// version, and built as in RFC 3339, are set when a release is built.
var version, built = "dev", ""

// buildTime returns when the program's source was committed; the zero time if nobody said.
func buildTime() time.Time {
	t, err := time.Parse(time.RFC3339, built)
	if err != nil {
		return time.Time{}
	}
	return t
}

func main() { command.Main(newRoot(), exitCode) }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "edgeagent",
		Short: "Record what devices publish, provably",
		Long: `edgeagent records what factory devices publish over MQTT: each message is on disk before it is acknowledged,
hashed into a block, and the block's header signed and chained to all before it. Later any one reading can be
proved offline.

Begin with:   edgeagent init && edgeagent run
Or just look: edgeagent demo

Exit codes: 0 ok, 1 failed, 2 usage or configuration, 3 verification failed, 4 not found, 5 locked or unreachable, 6 storage, 7 done but
for a part that is tried again, or of status: something is wrong, 78 run cannot start with its configuration.`,
		Version: version,
		Args:    command.Args(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	command.OutputFlag(root)
	flags := root.PersistentFlags()
	flags.StringP("config", "c", "", "the configuration `FILE` (default "+agent.DefaultConfigPath+")")
	flags.String("data", "", "the data `FOLDER`, instead of gateway.data: an auditor's image, for instance")
	flags.StringArray("set", nil, "set one key of the configuration, as in `block.interval=10s`; may be repeated")
	_ = root.MarkPersistentFlagDirname("data")
	_ = root.MarkPersistentFlagFilename("config", "toml")
	root.AddGroup(
		&cobra.Group{ID: "gateway", Title: "Running a gateway:"},
		&cobra.Group{ID: "chain", Title: "Reading its chain, while the agent runs or not:"})
	asking := []*cobra.Command{newReload(), newKey(), newBackup(), newRestore(), newPrune(), newNote(), newAttach(),
		newStatus(), newDevices(), newLog(), newBlocks(), newProve(), newVerify(), newExport(), newReceipts(), newTrust(), newAttachment(), newPoll(), newOPCUA()}
	timed(asking...)
	root.AddCommand(append(asking, newInit(), newRun(), newDemo(), newConfig(), newCheckConfig(), newVersion())...)
	return root
}

// exitCode maps the errors of this program's packages.
func exitCode(err error) int {
	var problems tomlconf.Problems
	var verify *store.VerifyError
	var incomplete *store.IncompleteError
	var answer *api.AnswerError
	switch {
	case errors.Is(err, agent.ErrNoFolder):
		return command.ExitFailed
	case errors.As(err, &problems), errors.Is(err, agent.ErrOtherChain),
		errors.Is(err, store.ErrExists), errors.Is(err, store.ErrMoved), errors.Is(err, keyfile.ErrExposed),
		errors.Is(err, backup.ErrNotBackup), errors.Is(err, backup.ErrOther),
		errors.Is(err, keyfile.ErrPassphraseMissing), errors.Is(err, keyfile.ErrPassphraseWrong), errors.Is(err, keyfile.ErrNotEncrypted):
		return command.ExitUsage
	case errors.As(err, &verify), errors.As(err, &incomplete), errors.Is(err, backup.ErrDamaged):
		return command.ExitVerification
	case errors.Is(err, agent.ErrNeedsInit), errors.Is(err, store.ErrNoChain), errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrNotSealed), errors.Is(err, backup.ErrNoGeneration),
		errors.Is(err, store.ErrPruned), errors.Is(err, store.ErrNotHeld), errors.Is(err, store.ErrUnsigned), errors.Is(err, fs.ErrNotExist):
		return command.ExitNotFound
	case errors.Is(err, store.ErrLocked), errors.Is(err, backup.ErrBusy), errors.Is(err, api.ErrNotRunning), errors.Is(err, fs.ErrPermission):
		return command.ExitUnreachable
	case errors.Is(err, store.ErrFailed), errors.Is(err, store.ErrVolatile), errors.Is(err, store.ErrNewer), errors.Is(err, store.ErrOlder),
		errors.Is(err, store.ErrDamaged), errors.Is(err, store.ErrNoSpace), errors.Is(err, backup.ErrFull), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EROFS):
		return command.ExitStorage
	case errors.Is(err, api.ErrOpening), errors.As(err, &answer) && answer.Code == http.StatusServiceUnavailable:
		return command.ExitUnreachable
	case errors.As(err, &answer) && answer.Code == http.StatusBadRequest:
		return command.ExitUsage
	}
	return command.ExitFailed
}
