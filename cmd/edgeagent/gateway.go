package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"edgechain.example/agent"
	"edgechain.example/agent/api"
	"edgechain.example/asowner"
	"edgechain.example/cmd/internal/command"
	"edgechain.example/lightchain/store"
	"edgechain.example/shellword"
)

// connect returns a client of the chain: through the running agent if there is one, else of a snapshot. close must be
// called.
func connect(c *cobra.Command) (client *api.Client, close func(), err error) {
	config, err := quietConfig(c)
	if err != nil {
		return nil, nil, err
	}
	client, rest, err := agent.Reach(c.Context(), config)
	if err != nil {
		return nil, nil, asRoot(err)
	}
	if client != nil {
		return client, func() {}, nil
	}
	reader := rest.Reader
	if b := reader.SetBack(); b != nil {
		fmt.Fprintf(c.ErrOrStderr(), "edgeagent: warning: %s\n", b)
	}
	server := &api.Server{
		Chain: reader, Status: func() api.Status { return agent.FolderStatus(config, reader) },
		Retention: func(_ context.Context, l api.Limits) (api.Retention, error) {
			return agent.RetentionOf(reader, config, l)
		},
	}
	return api.Local(server), func() { closeSnapshot(c, rest) }, nil
}

// dialAgent returns a client of the running agent for what it alone can do, of which why says the reason. An agent that is
// opening its chain answers for itself.
func dialAgent(c *cobra.Command, config *agent.Config, why string) (*api.Client, error) {
	client, err := api.Dial(c.Context(), config.API.Socket)
	if errors.Is(err, api.ErrNotRunning) {
		return nil, notRunning(err, config, why)
	}
	if err != nil {
		return nil, err
	}
	status, err := client.Status(c.Context())
	if err == nil && status.Opening == nil {
		err = config.CheckChain(status.Chain)
	}
	if err != nil {
		return nil, err
	}
	return client, nil
}

// notRunning says what to do about an agent that does not run.
func notRunning(err error, config *agent.Config, why string) error {
	if why != "" {
		why = ": " + why
	}
	return fmt.Errorf("%w%s. Nobody answers on %s (api.socket): start it (sudo systemctl start edgeagent, or edgeagent run), or name its configuration with -c",
		err, why, config.API.Socket)
}

// openChain opens the chain as it stands for a long job. close must be called.
func openChain(c *cobra.Command) (reader *store.Reader, close func(), err error) {
	config, err := quietConfig(c)
	if err != nil {
		return nil, nil, err
	}
	snapshot, err := agent.OpenSnapshot(c.Context(), config)
	if err != nil {
		return nil, nil, asRoot(err)
	}
	return snapshot.Reader, func() { closeSnapshot(c, snapshot) }, nil
}

// asRoot says how what this user may not read can be read. Root acts as the owner of the data folder then.
func asRoot(err error) error {
	if !errors.Is(err, fs.ErrPermission) || os.Geteuid() <= 0 {
		return err
	}
	return fmt.Errorf("%w; while the agent runs, the group of the data folder can, else this does it: sudo %s", err, shellword.Command(os.Args...))
}

func closeSnapshot(c *cobra.Command, s *agent.Snapshot) {
	if err := s.Close(); err != nil {
		fmt.Fprintf(c.ErrOrStderr(), "edgeagent: %v\n", err)
	}
}

// chainName says which chain was asked, for messages.
func chainName(ctx context.Context, client *api.Client) string {
	s, err := client.Status(ctx)
	if err != nil {
		return "this chain"
	}
	return s.Chain.String()
}

// createOutput opens the file that a command writes its result to; "-" and "" are standard output. A file that exists
// is not overwritten.
func createOutput(c *cobra.Command, file string) (io.WriteCloser, error) {
	if file == "" || file == "-" {
		return nopCloser{c.OutOrStdout()}, nil
	}
	data, err := dataFolder(c)
	if err != nil {
		return nil, err
	}
	return command.CreateFile(data, file)
}

// writeOutput writes bytes to a file that is not there yet. JSON tells of the file, with what else it says.
func writeOutput(c *cobra.Command, out *command.Output, file string, b []byte, says map[string]any) error {
	w, err := createOutput(c, file)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	if err := errors.Join(err, w.Close()); err != nil || file == "-" || !out.JSON() {
		return err
	}
	says["file"], says["bytes"] = file, len(b)
	return out.Print(says, nil)
}

// removeOutput removes a file that createOutput has made, where what was to be in it cannot be had.
func removeOutput(c *cobra.Command, file string) {
	if file == "" || file == "-" {
		return
	}
	if data, err := dataFolder(c); err == nil {
		_ = asowner.Named(data, file, func() error { return os.Remove(file) })
	}
}

// dataFolder returns the configured data folder.
func dataFolder(c *cobra.Command) (data string, err error) {
	config, err := callersConfig(c)
	if err != nil {
		return "", err
	}
	return config.Gateway.Data, nil
}

// callersConfig reads the configuration as who started the command, whoever it is by now.
func callersConfig(c *cobra.Command) (config *agent.Config, err error) {
	err = asowner.AsCaller(func() error {
		config, err = quietConfig(c)
		return err
	})
	return config, err
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
