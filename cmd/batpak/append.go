package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/batpak/batpak"
	"github.com/batpak/batpak/event"
)

// appendFlags are the flags of append.
type appendFlags struct {
	entity, scope, kind, key string
	lane                     uint32
	expectEmpty              bool
	expectClock              uint64
	data, dataFile           string
	jsonData                 bool
}

func (c *cli) appendCommand() *cobra.Command {
	var f appendFlags
	cmd := &cobra.Command{
		Use:   "append",
		Short: "append one event",
		Long: `append appends one event, waits until it would survive a power cut, and prints its receipt. The payload is the text of --data,
the bytes of --data-file, or else what stdin has; it is stored as it is, or with --json-data, as CBOR. A store that does not
exist is made.

With a key that was used before for the same event, nothing is appended and the receipt is that of then; with one that was
used for another, or if an expectation does not hold, the exit code is 4.

With --json it writes the receipt as one object, which "batpak receipt" reads.
` + receiptHelp + "\n\n" + exitHelp,
		Args: arguments(cobra.NoArgs),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.entity, "entity", "", "what the event is about (required)")
	flags.StringVar(&f.scope, "scope", "", "in which context (required)")
	flags.StringVar(&f.kind, "kind", "", "kind, as 0xF001 (required)")
	flags.Uint32Var(&f.lane, "lane", 0, "lane of the entity")
	flags.StringVar(&f.key, "key", "", "idempotency key")
	flags.BoolVar(&f.expectEmpty, "expect-empty", false, "only if the stream has no event")
	flags.Uint64Var(&f.expectClock, "expect-clock", 0, "only if the newest event of the stream has this clock")
	flags.StringVar(&f.data, "data", "", "the payload")
	flags.StringVar(&f.dataFile, "data-file", "", "a file with the payload")
	flags.BoolVar(&f.jsonData, "json-data", false, "the payload is a JSON object or array, to be stored as CBOR")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := c.dir()
		if err != nil {
			return err
		}
		p, err := f.proposal(cmd)
		if err != nil {
			return err
		}
		return c.append(cmd.OutOrStdout(), dir, p)
	}
	return cmd
}

// append commits one proposal and prints the receipt.
func (c *cli) append(w io.Writer, dir string, p batpak.Proposal) (err error) {
	s, err := batpak.Open(dir, nil)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := s.Close(); err == nil {
			err = closeErr
		}
	}()
	before := s.Frontier().Accepted
	receipts, err := s.Commit(p)
	if err != nil {
		return unwrapItem(err)
	}
	r := &receipts[0]
	if c.json {
		return writeJSON(w, newReceiptJSON(*r))
	}
	printReceipt(w, r)
	if r.Seq <= before {
		fmt.Fprintln(w, "nothing was appended: the key belongs to this event")
	}
	return nil
}

// proposal returns what the flags ask for.
func (f *appendFlags) proposal(cmd *cobra.Command) (p batpak.Proposal, err error) {
	if f.entity == "" || f.scope == "" || f.kind == "" {
		return p, usagef("--entity, --scope and --kind are needed")
	}
	changed := cmd.Flags().Changed
	if f.expectEmpty && changed("expect-clock") {
		return p, usagef("--expect-empty and --expect-clock exclude each other")
	}
	p = batpak.Proposal{At: batpak.At(f.entity, f.scope), Lane: batpak.Lane(f.lane), Key: f.key}
	if p.Kind, err = event.ParseKind(f.kind); err != nil {
		return p, withCode(exitUsage, err)
	}
	switch {
	case f.expectEmpty:
		p.Expect = batpak.Empty()
	case changed("expect-clock"):
		p.Expect = batpak.AtClock(batpak.Clock(f.expectClock))
	}
	if p.Data, err = f.payload(cmd); err != nil || !f.jsonData {
		return p, err
	}
	p.Data, err = encodeJSON(p.Data)
	if err != nil {
		err = fmt.Errorf("--json-data: %w", err)
	}
	return p, err
}

// payload returns the bytes given, or a little more than the store takes.
func (f *appendFlags) payload(cmd *cobra.Command) ([]byte, error) {
	data, file := cmd.Flags().Changed("data"), cmd.Flags().Changed("data-file")
	switch {
	case data && file:
		return nil, usagef("--data and --data-file exclude each other")
	case data:
		return []byte(f.data), nil
	case file:
		r, err := os.Open(f.dataFile)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return readPayload(r)
	}
	return readPayload(cmd.InOrStdin())
}

func readPayload(r io.Reader) ([]byte, error) {
	return io.ReadAll(io.LimitReader(r, batpak.DefaultMaxPayload+1))
}
