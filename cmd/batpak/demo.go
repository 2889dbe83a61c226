package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/batpak/batpak"
	"github.com/batpak/batpak/chain"
	"github.com/batpak/batpak/examples/data"
)

const (
	flightsName     = "flights-20k.jsonl"
	maxDemoFindings = 4               // printed
	demoRoute       = "route:FAI-BRW" // Fairbanks to Utqiagvik, a few flights a month
)

// A demoJSON is what the demo found, in figures.
type demoJSON struct {
	Dir            string           `json:"dir,omitempty"` // if it was kept
	Events         int              `json:"events"`
	Import         time.Duration    `json:"import_ns"`
	ImportRate     int64            `json:"import_events_per_second"`
	WalkEnd        chain.End        `json:"walk_end"`
	Receipt        batpak.Verdict   `json:"receipt"`
	AlteredReceipt batpak.Verdict   `json:"altered_receipt"`
	Verify         reportJSON       `json:"verify"`
	Reopen         time.Duration    `json:"reopen_ns"`
	Damage         damage           `json:"damage"`
	ReadError      string           `json:"read_error"`
	Findings       []batpak.Finding `json:"findings"`
	ForgedFindings []batpak.Finding `json:"forged_findings"`
}

// A demo is a run of the demonstration.
type demo struct {
	w       io.Writer // for people
	dir     string    // of the store
	damaged string    // directory of the copy to be damaged
	data    string    // file to import; "" is the flights
	store   *batpak.Store
	route   string
	receipt batpak.Receipt // of the newest event of the route
	found   demoJSON
}

func (c *cli) demoCommand() *cobra.Command {
	var dir, data string
	var keep bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "show what batpak does, on 20,000 real flights",
		Long: `demo imports 20,000 real flights into a new store, reads them in several ways, verifies them, and then damages a copy of the
store to show how that is found. It fails if anything is not as it should be.

The store is made in a temporary directory and removed at the end, unless --dir or --keep is given.

With --json it writes one object: dir (if kept), events, import_ns, import_events_per_second, walk_end, receipt and
altered_receipt (status, reason), verify (as verify writes it), reopen_ns, damage (file, offset, seq, was, is), read_error,
findings (of the damaged copy), forged_findings (with the checksum made right again).

` + exitHelp,
		Args: arguments(cobra.NoArgs),
	}
	cmd.Flags().StringVar(&dir, "dir", "", "make the stores in this new directory, and keep them")
	cmd.Flags().StringVar(&data, "data", "", "another file of JSON lines with date, origin and destination")
	cmd.Flags().BoolVar(&keep, "keep", false, "keep the stores")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		base, remove, err := demoDir(dir, keep)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, remove()) }()
		d := &demo{w: cmd.OutOrStdout(), dir: filepath.Join(base, "store"), damaged: filepath.Join(base, "damaged"), data: data}
		if keep || dir != "" {
			d.found.Dir = base
		}
		if c.json {
			d.w = io.Discard
		}
		if err := d.run(cmd.Context()); err != nil {
			return err
		}
		if c.json {
			return writeJSON(cmd.OutOrStdout(), d.found)
		}
		return nil
	}
	return cmd
}

// demoDir makes the directory of the demo and returns what removes it.
func demoDir(dir string, keep bool) (base string, remove func() error, err error) {
	remove = func() error { return nil }
	if dir != "" {
		names, err := os.ReadDir(dir)
		if err == nil && len(names) > 0 {
			return "", nil, usagef("--dir %s is not empty", dir)
		}
		return dir, remove, os.MkdirAll(dir, 0o700)
	}
	base, err = os.MkdirTemp("", "batpak-demo-")
	if !keep {
		remove = func() error { return os.RemoveAll(base) }
	}
	return base, remove, err
}

func (d *demo) run(ctx context.Context) (err error) {
	for _, step := range []func(context.Context) error{d.importFlights, d.page, d.history, d.walk, d.verifyReceipt, d.verify, d.reopen,
		d.damage, d.forge} {
		if err = step(ctx); err != nil {
			break
		}
	}
	if err = errors.Join(err, d.close()); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	fmt.Fprintln(d.w, "\nAll of this was as it should be.")
	if d.found.Dir != "" {
		fmt.Fprintf(d.w, "Go on with: batpak ls --store %s\n       and: batpak verify --store %s\n", d.dir, d.damaged)
	}
	return nil
}

// close closes the store if it is open.
func (d *demo) close() error {
	store := d.store
	if d.store = nil; store == nil {
		return nil
	}
	return store.Close()
}

// title begins a step.
func (d *demo) title(format string, args ...any) {
	fmt.Fprintf(d.w, "\n== "+format+"\n", args...)
}

// importFlights imports the data with durable commits.
func (d *demo) importFlights(context.Context) error {
	flags := importFlags{entity: "route:{{.origin}}-{{.destination}}", scope: "origin", kind: "0xF001", time: "date", batch: defaultBatch}
	im, err := flags.importer()
	if err != nil {
		return err
	}
	im.progress = &progress{}
	if d.store, err = batpak.Open(d.dir, nil); err != nil {
		return err
	}
	fmt.Fprintln(d.w, "== Import 20,000 real flights of early 2001: the entity is the route, the scope the airport of departure")
	im.store, im.accepted = d.store, d.keepReceipt
	begin := time.Now()
	if err := d.importInto(im); err != nil {
		return err
	}
	took := time.Since(begin)
	d.found.Events, d.found.Import, d.found.ImportRate = im.appended, took, perSecond(im.appended, took)
	fmt.Fprintf(d.w, "%s in %s: %s events/s, in commits of %d, each durable before the next\n", plural(im.appended, "event"), short(took),
		grouped(d.found.ImportRate), defaultBatch)
	return nil
}

// keepReceipt keeps the newest receipt of the route. With data of the caller's, the route is that of the first event.
func (d *demo) keepReceipt(receipts []batpak.Receipt) {
	if d.route == "" && d.data == "" {
		d.route = demoRoute
	}
	for _, r := range receipts {
		if d.route == "" {
			d.route = r.Entity
		}
		if r.Entity == d.route {
			d.receipt = r
		}
	}
}

func (d *demo) importInto(im *importer) error {
	if d.data != "" {
		return im.file(d.data, sourceName(d.data), nil)
	}
	src := &source{path: flightsName, name: flightsName}
	if err := src.read(bytes.NewReader(data.Flights), true); err != nil {
		return err
	}
	return im.source(src)
}

// page lists the first events.
func (d *demo) page(context.Context) error {
	d.title("The first events, in the order in which they were committed")
	p, err := d.store.Page(batpak.Query{Limit: 4})
	if err != nil {
		return err
	}
	var rows [][]string
	for i := range p.Events {
		e := &p.Events[i]
		rows = append(rows, []string{fmt.Sprint(e.Seq), e.ID.String(), e.Entity, fmt.Sprint(e.Clock), payloadText(e, 88)})
	}
	t := &table{w: d.w, right: 1, titles: []string{"seq", "id", "entity", "clock", "payload"}}
	if err := t.rows(rows); err != nil {
		return err
	}
	_, err = fmt.Fprintf(d.w, "the page ends at event %d, where the next one begins\n", p.Next)
	return err
}

// history lists the events of one route, as a stream of its own.
func (d *demo) history(context.Context) error {
	d.title("The history of %s: its clock counts its own events", d.route)
	var rows [][]string
	for e, err := range d.store.Query(batpak.Query{Entity: d.route}) {
		if err != nil {
			return err
		}
		rows = append(rows, []string{fmt.Sprint(e.Clock), fmt.Sprint(e.Seq), string(e.Extensions[extensionTime]), payloadText(&e, 88)})
	}
	if len(rows) == 0 {
		return fmt.Errorf("%q has no event", d.route)
	}
	t := &table{w: d.w, right: 2, titles: []string{"clock", "seq", "departure", "payload"}}
	return t.rows(rows)
}

// walk follows the newest event of the route back.
func (d *demo) walk(context.Context) error {
	d.title("Its newest event followed back: each names the hash of the one before it")
	w, err := d.store.Walk(d.receipt.ID, 1000)
	if err != nil {
		return err
	}
	if err := new(cli).printWalk(d.w, &w); err != nil {
		return err
	}
	if d.found.WalkEnd = w.End; w.End != chain.ReachedGenesis {
		return fmt.Errorf("the walk ended with %s: %w", w.End, w.Err)
	}
	return nil
}

// verifyReceipt holds a receipt, and a changed one, against the store.
func (d *demo) verifyReceipt(context.Context) error {
	d.title("A receipt: what a caller gets for an append, and a stranger can hold against the store")
	fmt.Fprintf(d.w, "event %d, %s, hash %s…\n", d.receipt.Seq, d.receipt.Time, d.receipt.Hash.String()[:32])
	d.found.Receipt = d.store.VerifyReceipt(d.receipt)
	altered := d.receipt
	altered.Time ^= 1
	d.found.AlteredReceipt = d.store.VerifyReceipt(altered)
	fmt.Fprintf(d.w, "verdict: %s\nthe same receipt with another microsecond: %s: %s\n", d.found.Receipt.Status, d.found.AlteredReceipt.Status,
		d.found.AlteredReceipt.Reason)
	if !d.found.Receipt.OK() || d.found.AlteredReceipt.OK() {
		return errors.New("a verdict is wrong")
	}
	return nil
}

// verify verifies everything.
func (d *demo) verify(ctx context.Context) error {
	d.title("Verify everything from the files")
	r, err := d.store.Verify(ctx, nil)
	if err != nil {
		return err
	}
	d.found.Verify = newReportJSON(&r)
	if err := new(cli).printReport(d.w, &r); err != nil {
		return err
	}
	return reportError(&r)
}

// reopen closes the store and opens it again.
func (d *demo) reopen(context.Context) error {
	d.title("Close the store and open it again")
	if err := d.close(); err != nil {
		return err
	}
	begin := time.Now()
	store, err := batpak.Open(d.dir, nil)
	if err != nil {
		return err
	}
	d.store, d.found.Reopen = store, time.Since(begin)
	fmt.Fprintf(d.w, "opened in %s; the newest event is %d\n", short(d.found.Reopen), d.store.Visible())
	if int(d.store.Visible()) != d.found.Events {
		return errors.New("events are missing")
	}
	return nil
}

// damage changes a byte in a copy, reads the event and verifies.
func (d *demo) damage(ctx context.Context) error {
	e, err := d.store.Get(d.receipt.ID)
	if err != nil {
		return err
	}
	if err := d.close(); err != nil {
		return err
	}
	d.title("Copy the store and flip one bit in the payload of event %d of the copy", e.Seq)
	if err := os.CopyFS(d.damaged, os.DirFS(d.dir)); err != nil {
		return err
	}
	if d.found.Damage, err = inflict(d.damaged, &e); err != nil {
		return err
	}
	fmt.Fprintf(d.w, "%s offset %d: %#02x is now %#02x\n", d.found.Damage.File, d.found.Damage.Offset, d.found.Damage.Was, d.found.Damage.Is)
	if err := d.readDamaged(e.Seq); err != nil {
		return err
	}
	d.found.Findings, err = d.verifyDamaged(ctx)
	return err
}

// readDamaged reads the damaged event and expects an error. If it is the newest one, opening the store gives it already.
func (d *demo) readDamaged(seq batpak.Seq) error {
	store, readErr := batpak.Open(d.damaged, nil)
	if readErr == nil {
		_, readErr = store.At(seq)
		if err := store.Close(); err != nil {
			return err
		}
	}
	if !errors.Is(readErr, batpak.ErrCorrupt) {
		return fmt.Errorf("reading event %d gave %v, not that it is corrupt", seq, readErr)
	}
	d.found.ReadError = readErr.Error()
	fmt.Fprintf(d.w, "reading event %d gives an error, not the event:\n  %s\n", seq, readErr)
	return nil
}

// verifyDamaged verifies the copy and expects the damage to be found where it is.
func (d *demo) verifyDamaged(ctx context.Context) ([]batpak.Finding, error) {
	r, err := batpak.VerifyDir(ctx, d.damaged, nil)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(d.w, "verify finds, in %s:\n", short(r.Took))
	located := false
	for i := range r.Findings {
		f := &r.Findings[i]
		if i < maxDemoFindings {
			printFinding(d.w, f)
		}
		located = located || f.File == d.found.Damage.File && f.Seq == d.found.Damage.Seq && f.Offset <= d.found.Damage.Offset
	}
	if more := len(r.Findings) - maxDemoFindings; more > 0 {
		fmt.Fprintf(d.w, "and %s more\n", plural(more, "finding"))
	}
	if !located {
		return nil, fmt.Errorf("the damage of event %d was not found", d.found.Damage.Seq)
	}
	return r.Findings, nil
}

// forge makes the checksum of the damaged commit right, as someone would who wants to hide the change.
func (d *demo) forge(ctx context.Context) (err error) {
	d.title("Make the checksum around that byte right again")
	if err := forgeChecksum(d.damaged, d.found.Damage); err != nil {
		return err
	}
	d.found.ForgedFindings, err = d.verifyDamaged(ctx)
	return err
}
