package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/batpak/batpak"
	"github.com/batpak/batpak/event"
)

func (c *cli) getCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "get ID|SEQ",
		Short: "show one event",
		Long:  "get shows the event with an id, or at a position.\n\nWith --json it writes one event.\n" + eventHelp + "\n\n" + exitHelp,
		Args:  arguments(cobra.ExactArgs(1)),
		RunE: c.reading(func(cmd *cobra.Command, args []string, r *batpak.Reader) error {
			e, err := find(r, args[0])
			if err != nil {
				return err
			}
			if c.json {
				return writeJSON(cmd.OutOrStdout(), newEventJSON(&e))
			}
			printEvent(cmd.OutOrStdout(), &e)
			return nil
		}),
	}
}

// find returns the event that an argument names by its id, which has 26 characters, or its seq.
func find(r *batpak.Reader, name string) (batpak.Event, error) {
	if id, err := event.ParseID(name); err == nil {
		return r.Get(id)
	}
	seq, err := strconv.ParseUint(name, 10, 64)
	if err != nil {
		return batpak.Event{}, withCode(exitUsage, fmt.Errorf("%q is neither an id nor a seq", name))
	}
	return r.At(batpak.Seq(seq))
}
