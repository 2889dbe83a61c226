package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/batpak/batpak"
)

func (c *cli) repairCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "repair",
		Short: "make a store open again that is refused",
		Long: `repair makes a store open again that opening refuses: it says what doctor says, asks, copies what it is going to remove into
a directory under removed/ in the store, ends the log after the last provable event, and appends an event of kind 0x0010 that
says what was done. If there is a whole copy of the store, bring the damaged files back from that instead: what repair
removes is lost to the store. It does nothing to a store that opens, and needs the store for itself.

With --json, which needs --yes, it writes one object: diagnosis (as doctor writes it), done, copies (the directory), recorded
(receipts of the events that say so).

` + exitHelp,
		Args: arguments(cobra.NoArgs),
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := c.dir()
		if err != nil {
			return err
		}
		if c.json && !yes {
			return usagef("--json asks nothing: give --yes too")
		}
		if err := exists(dir, exitNotFound); err != nil {
			return err
		}
		p := newProgress(cmd.ErrOrStderr())
		approve := func(d *batpak.Diagnosis) bool {
			p.clear()
			if yes && c.json {
				return true
			}
			_ = c.printDiagnosis(cmd.OutOrStdout(), d) // the question follows, and no answer means no
			return yes || ask(cmd.InOrStdin(), cmd.OutOrStdout())
		}
		r, err := batpak.Repair(cmd.Context(), dir, approve, &batpak.VerifyOptions{Progress: p.verified})
		p.clear()
		if err := errors.Join(err, c.printRepair(cmd.OutOrStdout(), r)); err != nil {
			return err
		}
		if r.Diagnosis.Refused != "" && !r.Done {
			return withCode(exitIntegrity, errors.New("the store was not repaired"))
		}
		return nil
	}
	return cmd
}

// ask reads one line and reports whether it says yes.
func ask(in io.Reader, out io.Writer) bool {
	fmt.Fprint(out, "go on? Type yes: ")
	line, _ := bufio.NewReader(in).ReadString('\n') // without a line the answer is no
	fmt.Fprintln(out)
	return strings.TrimSpace(line) == "yes"
}

func (c *cli) printRepair(w io.Writer, r *batpak.RepairReport) error {
	if r == nil {
		return nil
	}
	if c.json {
		return writeJSON(w, r)
	}
	switch {
	case r.Done:
		fmt.Fprintf(w, "done; what was removed lies in %s\n", r.Copies)
	case r.Diagnosis == nil || r.Diagnosis.Refused != "":
		fmt.Fprintln(w, "nothing was changed")
	default:
		fmt.Fprintln(w, "the store opens: there is nothing to repair")
	}
	for _, receipt := range r.Recorded {
		fmt.Fprintf(w, "event %d says so\n", receipt.Seq)
	}
	return nil
}
