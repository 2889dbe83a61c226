package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/batpak/batpak"
	"github.com/batpak/batpak/chain"
)

const receiptHelp = `Fields of a receipt: store, seq, id, entity, scope, lane, clock, kind, time, content, prev, hash, durability.`

// A receiptJSON is a receipt with its time in text. It is read with its time as a number too, as a program that encodes a
// batpak.Receipt writes it.
type receiptJSON struct {
	batpak.Receipt
	Time instant `json:"time"`
}

func newReceiptJSON(r batpak.Receipt) receiptJSON { return receiptJSON{r, instant(r.Time)} }

func (j receiptJSON) receipt() batpak.Receipt {
	r := j.Receipt
	r.Time = batpak.Timestamp(j.Time)
	return r
}

// printReceipt writes a receipt for people.
func printReceipt(w io.Writer, r *batpak.Receipt) {
	f := fields{w}
	f.add("store", r.Store)
	f.add("seq", r.Seq)
	f.add("id", r.ID)
	f.add("time", r.Time)
	f.add("entity", r.Entity)
	f.add("scope", r.Scope)
	f.add("stream", fmt.Sprintf("lane %d, clock %d", r.Lane, r.Clock))
	f.add("kind", r.Kind)
	f.add("content", r.Content)
	f.add("prev", r.Prev)
	f.add("hash", r.Hash)
	f.add("durability", r.Durability)
}

// A verdictJSON is the outcome of verifying a receipt.
type verdictJSON struct {
	batpak.Verdict
	Error string         `json:"error,omitempty"`
	Store batpak.StoreID `json:"store"`
	Seq   batpak.Seq     `json:"seq"`
	ID    batpak.ID      `json:"id"`
}

func (c *cli) receiptCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "receipt FILE|-",
		Short: "verify receipts against the store",
		Long: `receipt reads receipts as "append --json" writes them, or as a program that encodes a batpak.Receipt does, one after another,
and holds each against what the store has. An invalid receipt, or a file that is not a receipt, is an integrity failure.

` + receiptHelp + `
With --json it writes one object per receipt: status ("unsigned accepted" or "invalid"), reason (why it is invalid), error
(what reading the event gave, if it cannot be read), store, seq, id.

` + exitHelp,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			receipts, err := readReceipts(args[0], cmd.InOrStdin())
			if err != nil {
				return err
			}
			r, err := c.reader(exitUnverifiable)
			if err != nil {
				return unverifiable(err)
			}
			defer r.Close()
			return c.verifyReceipts(cmd.OutOrStdout(), r, receipts)
		},
	}
}

// readReceipts reads all receipts of a file.
func readReceipts(name string, stdin io.Reader) ([]batpak.Receipt, error) {
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, withCode(exitUnverifiable, err)
		}
		defer f.Close()
		stdin = f
	}
	var receipts []batpak.Receipt
	for dec := json.NewDecoder(stdin); ; {
		dec.DisallowUnknownFields()
		var j receiptJSON
		err := dec.Decode(&j)
		switch {
		case errors.Is(err, io.EOF) && len(receipts) > 0:
			return receipts, nil
		case err != nil:
			return nil, withCode(exitIntegrity, fmt.Errorf("%s: receipt %d cannot be read: %w", name, len(receipts)+1, err))
		}
		receipts = append(receipts, j.receipt())
	}
}

// verifyReceipts prints a verdict on each receipt. The error is of the first one that is not accepted.
func (c *cli) verifyReceipts(w io.Writer, r *batpak.Reader, receipts []batpak.Receipt) (first error) {
	for i := range receipts {
		v := r.VerifyReceipt(receipts[i])
		if err := c.printVerdict(w, &receipts[i], v); err != nil {
			return err
		}
		if err := verdictError(&receipts[i], v); first == nil {
			first = err
		}
	}
	return first
}

func (c *cli) printVerdict(w io.Writer, r *batpak.Receipt, v batpak.Verdict) error {
	if c.json {
		j := verdictJSON{Verdict: v, Store: r.Store, Seq: r.Seq, ID: r.ID}
		if v.Err != nil {
			j.Error = v.Err.Error()
		}
		return writeJSON(w, j)
	}
	reason := ""
	if v.Reason != "" {
		reason = ": " + string(v.Reason)
	}
	_, err := fmt.Fprintf(w, "event %d %s: %s%s\n", r.Seq, r.ID, v.Status, reason)
	return err
}

// verdictError returns an error for a receipt that is not accepted.
func verdictError(r *batpak.Receipt, v batpak.Verdict) error {
	if v.OK() {
		return nil
	}
	err := fmt.Errorf("receipt of event %d: %s", r.Seq, v.Reason)
	if v.Err != nil {
		err = fmt.Errorf("%w: %w", err, v.Err)
	}
	if v.Reason == chain.UnreadableEvent && !errors.Is(v.Err, batpak.ErrCorrupt) {
		return withCode(exitUnverifiable, err)
	}
	return withCode(exitIntegrity, err)
}
