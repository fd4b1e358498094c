package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"

	"edgechain.example/agent"
	"edgechain.example/asowner"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/lightchain"
	"edgechain.example/lightchain/store"
)

func newInit() *cobra.Command {
	c := &cobra.Command{
		Use:     "init",
		GroupID: "gateway",
		Short:   "Make the gateway's key and begin its chain",
		Long: `init makes the gateway's Ed25519 key, begins its chain and prints the chain's name: 52 characters that say for good
which history is meant. Write them down where the gateway cannot change them, for instance into an auditor's trust file.`,
		Args: command.Args(cobra.NoArgs),
	}
	continues := c.Flags().Bool("continue", false, "begin a new chain that names the present one, which moves aside: the way out where an aggregator knows another end of it")
	c.RunE = func(c *cobra.Command, _ []string) error {
		config, err := warnedConfig(c, agent.BeginningKeys())
		if err != nil {
			return err
		}
		if err := asowner.Become(config.Gateway.Data); err != nil {
			return err
		}
		out, err := command.NewOutput(c)
		if err != nil {
			return err
		}
		log, setLevel := command.NewLog(c, config.Log.Format)
		setLevel("warn") // what was begun is this command's answer
		begin := agent.Init
		if *continues {
			begin = agent.Continue
		}
		genesis, err := begin(config, log)
		if errors.Is(err, store.ErrExists) {
			return fmt.Errorf("%w: edgeagent run goes on with it. To begin another one, name another folder with gateway.data or --data, or let the new one name this one: edgeagent init --continue", err)
		}
		if errors.Is(err, fs.ErrPermission) && !errors.Is(err, agent.ErrNoFolder) {
			return command.Failf(command.ExitFailed, "%w: begin it as root (sudo), or name a data folder of your own with gateway.data or --data", err)
		}
		if err != nil {
			return err
		}
		name := ""
		if n := genesis.Header.Genesis.Name; n != nil {
			name = *n
		}
		key := lightchain.FormatPublicKey(*genesis.Header.NextKey)
		return out.Print(map[string]any{"chain": genesis.ChainID(), "gateway": name, "key": key, "data": config.Gateway.Data}, func(w io.Writer) {
			fmt.Fprintf(w, "chain   %s\ngateway %s\nkey     %s\ndata    %s\n", genesis.ChainID(), command.Printable(name), key, config.Gateway.Data)
		})
	}
	return c
}
