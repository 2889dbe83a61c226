package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/batpak/batpak"
)

// A reportJSON is the outcome of a verification as the command writes it.
type reportJSON struct {
	OK bool `json:"ok"`
	batpak.Report
	EventsPerSecond int64 `json:"events_per_second"`
	BytesPerSecond  int64 `json:"bytes_per_second"`
}

func newReportJSON(r *batpak.Report) reportJSON {
	return reportJSON{r.OK(), *r, perSecond(r.Events, r.Took), perSecond(r.Bytes, r.Took)}
}

func (c *cli) verifyCommand() *cobra.Command {
	var opts batpak.VerifyOptions
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "verify every stored byte",
		Long: `verify reads the whole log and recomputes every hash and link in it. It changes nothing and does not need the store to be
usable: it goes on behind damage and lists all it finds. What it cannot see by itself is a log whose end was cut off and
whose other files were changed to agree; receipts kept elsewhere show that.

With --json it writes one object: ok, store, links_only, events, commits, segments, streams, bytes, last (seq of the newest
event), link (of the newest commit: it covers every event), provable (ranges of events, first to last, that are whole and linked), findings, more_findings (not listed), took_ns,
events_per_second, bytes_per_second. Fields of a finding: file, offset, seq, id, check, expected, found.

` + exitHelp,
		Args: arguments(cobra.NoArgs),
	}
	cmd.Flags().BoolVar(&opts.LinksOnly, "links-only", false, "do not hash payloads: verify headers, streams and commits")
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
		report, err := verifyDir(cmd.Context(), dir, &opts)
		p.clear()
		if err != nil {
			return err
		}
		if err := buffered(cmd.OutOrStdout(), func(w io.Writer) error { return c.printReport(w, &report) }); err != nil {
			return err
		}
		return reportError(&report)
	}
	return cmd
}

// verifyDir verifies a store. If something is found it reads the log once more and keeps what is still there: the end of a
// log that another process is writing to may look torn for a moment.
func verifyDir(ctx context.Context, dir string, opts *batpak.VerifyOptions) (batpak.Report, error) {
	first, err := batpak.VerifyDir(ctx, dir, opts)
	if err != nil || first.OK() {
		return first, unverifiable(err)
	}
	second, err := batpak.VerifyDir(ctx, dir, opts)
	if err != nil {
		return first, unverifiable(err)
	}
	if first.More == 0 {
		second.Findings = keepFound(second.Findings, first.Findings)
	}
	return second, nil
}

// keepFound returns those of the findings that are also among the earlier ones.
func keepFound(findings, earlier []batpak.Finding) []batpak.Finding {
	seen := map[batpak.Finding]bool{}
	for _, f := range earlier {
		seen[f] = true
	}
	kept := findings[:0]
	for _, f := range findings {
		if seen[f] {
			kept = append(kept, f)
		}
	}
	return kept
}

// unverifiable gives an error of reading its exit code.
func unverifiable(err error) error {
	if err == nil || errors.Is(err, batpak.ErrCorrupt) {
		return err
	}
	return withCode(exitUnverifiable, err)
}

// reportError returns an error for a report with findings.
func reportError(r *batpak.Report) error {
	if r.OK() {
		return nil
	}
	return withCode(exitIntegrity, fmt.Errorf("verification failed: %s", plural(len(r.Findings)+r.More, "finding")))
}

func (c *cli) printReport(w io.Writer, r *batpak.Report) error {
	if c.json {
		return writeJSON(w, newReportJSON(r))
	}
	for i := range r.Findings {
		printFinding(w, &r.Findings[i])
	}
	if r.More > 0 {
		fmt.Fprintf(w, "and %s more\n", plural(r.More, "finding"))
	}
	what := "every hash and link"
	if r.LinksOnly {
		what = "headers and links, not payloads"
	}
	fmt.Fprintf(w, "checked %s: %s in %s, %s, %s, %s\n", what, plural(r.Events, "event"), plural(r.Streams, "stream"), plural(r.Commits, "commit"),
		plural(r.Segments, "segment"), size(r.Bytes))
	fmt.Fprintf(w, "took %s: %s events/s, %s/s\n", short(r.Took), grouped(perSecond(r.Events, r.Took)), size(perSecond(r.Bytes, r.Took)))
	if r.OK() {
		_, err := fmt.Fprintf(w, "nothing is wrong up to event %d; link of the newest commit: %s\n", r.Last, r.Link)
		return err
	}
	_, err := fmt.Fprintf(w, "%s\n", plural(len(r.Findings)+r.More, "finding"))
	return err
}

// printFinding writes a finding over a few lines.
func printFinding(w io.Writer, f *batpak.Finding) {
	fmt.Fprintf(w, "%s offset %d", f.File, f.Offset)
	if f.Seq > 0 {
		fmt.Fprintf(w, ": event %d", f.Seq)
	}
	if !f.ID.IsZero() {
		fmt.Fprintf(w, " %s", f.ID)
	}
	fmt.Fprintf(w, ": %s is wrong\n", f.Check)
	if f.Expected != "" || f.Found != "" {
		fmt.Fprintf(w, "  expected  %s\n  found     %s\n", f.Expected, f.Found)
	}
}
