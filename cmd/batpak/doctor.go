package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/batpak/batpak"
)

func (c *cli) doctorCommand() *cobra.Command {
	var opts batpak.VerifyOptions
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "say what is wrong with a store, and what can be done",
		Long: `doctor reads the whole store and says what is wrong, where, what is provable before and after it, whether the store opens,
and what repair would do. It changes nothing. Of a store that another process writes to it does not look at the index, and the
end of the log may look torn or damaged: ask again when it is closed. While it looks at the index, no process can open the
store for writing.

With --json it writes one object: store, identity (what is wrong with STORE), log (as verify writes it, with provable: the
ranges of events, first to last, that are whole and linked), index (why index.bolt cannot be used), indexed, refused (why the
store does not open), torn (bytes that opening cuts off), repair (identity, index, cut, after, reason, removed: file, offset
and bytes of each part, events: how many whole ones among them, witness).

` + exitHelp,
		Args: arguments(cobra.NoArgs),
	}
	cmd.Flags().IntVar(&opts.MaxFindings, "max-findings", batpak.DefaultMaxFindings, "list at most so many findings")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := c.dir()
		if err != nil {
			return err
		}
		if opts.MaxFindings < 1 {
			return usagef("--max-findings %d is not positive", opts.MaxFindings)
		}
		if err := exists(dir, exitUnverifiable); err != nil {
			return err
		}
		p := newProgress(cmd.ErrOrStderr())
		opts.Progress = p.verified
		d, err := batpak.Diagnose(cmd.Context(), dir, &opts)
		p.clear()
		if err != nil {
			return unverifiable(err)
		}
		if err := buffered(cmd.OutOrStdout(), func(w io.Writer) error { return c.printDiagnosis(w, d) }); err != nil || d.OK() {
			return err
		}
		return withCode(exitIntegrity, fmt.Errorf("something is wrong with the store"))
	}
	return cmd
}

func (c *cli) printDiagnosis(w io.Writer, d *batpak.Diagnosis) error {
	if c.json {
		return writeJSON(w, d)
	}
	fmt.Fprintf(w, "store %s\n", d.Store)
	if d.Identity != "" {
		fmt.Fprintf(w, "STORE is damaged: %s\n", d.Identity)
	}
	printLogState(w, &d.Log)
	if d.Index == "" {
		fmt.Fprintf(w, "index: whole, up to event %d\n", d.Indexed)
	} else {
		fmt.Fprintf(w, "index: not looked at, or to be built anew when the store is opened: %s\n", d.Index)
	}
	if d.Torn > 0 {
		fmt.Fprintf(w, "the end of the log is torn: opening cuts off %s that were never acknowledged as durable\n", size(d.Torn))
	}
	switch {
	case d.Refused != "":
		fmt.Fprintf(w, "the store does not open: %s\n", d.Refused)
		printPlan(w, &d.Repair)
	case d.OK():
		fmt.Fprintln(w, "the store opens; nothing is wrong")
	default:
		fmt.Fprintln(w, "the store opens; what is damaged gives an error when it is read, the rest is as it was. Repair would change nothing:")
		fmt.Fprintln(w, "bring the damaged segments back from a copy, or keep the store as it is")
	}
	return nil
}

// printLogState writes the findings, and between what they are.
func printLogState(w io.Writer, r *batpak.Report) {
	fmt.Fprintf(w, "log: %s in %s, %s\n", plural(r.Events, "event"), plural(r.Segments, "segment"), plural(len(r.Findings)+r.More, "finding"))
	for i := range r.Findings {
		printFinding(w, &r.Findings[i])
	}
	if r.More > 0 {
		fmt.Fprintf(w, "and %s more\n", plural(r.More, "finding"))
	}
	if len(r.Findings) == 0 {
		return
	}
	for i, p := range r.Provable {
		note := "whole and linked among themselves"
		if i == 0 && p.First == 1 {
			note = "provable from the beginning of the log"
		}
		fmt.Fprintf(w, "events %d to %d: %s\n", p.First, p.Last, note)
	}
}

// printPlan says what repair would do.
func printPlan(w io.Writer, p *batpak.Plan) {
	if p.Empty() {
		fmt.Fprintln(w, "repair cannot help")
		return
	}
	fmt.Fprintln(w, "repair would")
	if p.Identity {
		fmt.Fprintln(w, "  write STORE again, with the id that the segments have")
	}
	if p.Cut {
		fmt.Fprintf(w, "  end the log after event %d and keep copies of what is behind it:\n", p.After)
		for _, part := range p.Removed {
			fmt.Fprintf(w, "    %s from offset %d, %s\n", part.File, part.Offset, size(part.Bytes))
		}
		fmt.Fprintf(w, "  that takes %s out of the store that are whole\n", plural(p.Events, "event"))
		if p.Witness > 0 {
			fmt.Fprintf(w, "  events up to %d were durable: those behind %d are lost unless a copy of the store has them\n", p.Witness, p.After)
		}
	}
	if p.Index {
		fmt.Fprintln(w, "  set index.bolt aside; opening builds it anew")
	}
	fmt.Fprintln(w, "  append an event that says what was done")
}
