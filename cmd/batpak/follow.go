package main

import (
	"context"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/batpak/batpak"
)

func (c *cli) followCommand() *cobra.Command {
	var f queryFlags
	cmd := &cobra.Command{
		Use:   "follow",
		Short: "list events as they come",
		Long: `follow lists the events that the flags select, those that are there and then those to come, each once and in order, until it
is interrupted, which is no failure, or --limit events were seen. To see only what comes from now on, give the newest seq as
--after.

` + queryHelp + "\n\nWith --json it writes one event per line.\n" + eventHelp + "\n\n" + exitHelp,
		Args: arguments(cobra.NoArgs),
	}
	f.add(cmd, 0, "end after so many events (0: never)")
	cmd.RunE = c.reading(func(cmd *cobra.Command, _ []string, r *batpak.Reader) error {
		q, err := f.query(cmd)
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		return c.follow(ctx, cmd, r, q)
	})
	return cmd
}

// follow writes events until ctx is done.
func (c *cli) follow(ctx context.Context, cmd *cobra.Command, r *batpak.Reader, q batpak.Query) error {
	t := &table{w: cmd.OutOrStdout(), right: 1}
	for e, err := range r.Follow(ctx, q) {
		if err != nil && ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := c.writeEvent(t, &e); err != nil {
			return err
		}
	}
	return nil
}
