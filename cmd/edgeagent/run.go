package main

import (
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"edgechain.example/agent"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/lightchain/store"
)

func newRun() *cobra.Command {
	c := &cobra.Command{
		Use:     "run",
		GroupID: "gateway",
		Short:   "Record until told to stop",
		Long: `run records until SIGTERM or SIGINT: then it takes nothing more, commits and acknowledges what it took, and seals the
last block. A second one of these ends it at once; what was acknowledged is on disk. SIGHUP, or edgeagent reload, reads
the configuration again. Where its configuration keeps it from starting it ends with 78: no restart would mend that.`,
		Args: command.Args(cobra.NoArgs),
	}
	begin := c.Flags().Bool("init", false, "begin a chain if there is none; never where the configuration names one or its card is not mounted")
	c.RunE = func(c *cobra.Command, _ []string) error {
		config, err := loadConfig(c)
		if err != nil {
			return command.Starting(err)
		}
		log, setLevel := command.NewLog(c, config.Log.Format)
		inForce := func(config *agent.Config) {
			setLevel(config.Log.Level)
			limitMemory(config)
		}
		inForce(config)
		hangup := make(chan os.Signal, 1)
		signal.Notify(hangup, syscall.SIGHUP)
		err = agent.New(config, agent.Options{
			Version: version, Built: buildTime(), Log: log, Init: *begin, ChainFile: chainFile(c),
			Fatal:  exitOnStorageFailure(log),
			Ready:  func(a *agent.Agent) { log.Info("ready", "chain", a.Chain()) },
			Load:   func() (*agent.Config, error) { return loadConfig(c) },
			Hangup: hangup, Reloaded: inForce,
		}).Run(c.Context())
		return command.Starting(err, agent.ErrOtherChain, agent.ErrUnusable, store.ErrMoved)
	}
	return c
}

// limitMemory lets the garbage collector work harder before the heap outgrows what a small board has to spare: a soft
// limit, above what the configuration lets be in flight and be kept. GOMEMLIMIT, where it is set, says otherwise.
func limitMemory(config *agent.Config) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit(config))
	}
}

// memoryLimit returns the limit in bytes. Memtables take their room from the cache.
func memoryLimit(config *agent.Config) int64 {
	const rest = 24 << 20 // with the cache as it is where nobody sets one
	usual := agent.DefaultConfig().Store.Cache
	return rest + int64(config.Ingest.MaxBytes) + int64(max(0, config.Store.Cache-usual)) + config.Broker.KeptMemory()
}

// chainFile returns the file beside the configuration that the chain's name is written to when a chain is begun.
func chainFile(c *cobra.Command) string {
	file, err := c.Flags().GetString("config")
	if err != nil || file == "" {
		file = agent.DefaultConfigPath
		if _, err := os.Stat(file); err != nil {
			return ""
		}
	}
	return filepath.Join(filepath.Dir(file), "chain")
}

// exitOnStorageFailure ends the process at once: what is on disk is unknown until the next start has looked, so not
// one more acknowledgement may go out.
func exitOnStorageFailure(log *slog.Logger) func(error) {
	return func(err error) {
		log.Error("failed to write to the store; nothing more is acknowledged, the next start finds out what is on disk", "err", err)
		os.Exit(command.ExitStorage)
	}
}
