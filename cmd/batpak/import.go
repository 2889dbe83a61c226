package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/batpak/batpak"
)

// importFlags are the flags of import.
type importFlags struct {
	entity, scope, kind, time, key string
	source, durability             string
	batch                          int
	raw                            bool
}

const defaultBatch = 500

// An importJSON is the outcome of an import.
type importJSON struct {
	Lines           int           `json:"lines"`
	Appended        int           `json:"appended"`
	AlreadyThere    int           `json:"already_there"`
	Took            time.Duration `json:"took_ns"`
	EventsPerSecond int64         `json:"events_per_second"`
}

func (c *cli) importCommand() *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use:   "import FILE...",
		Short: "append one event per line of JSON",
		Long: `import reads files of JSON objects, one per line (compressed if the name ends in .gz; - is stdin), and appends an event for
each. A store that does not exist is made.

  batpak import --store s --entity 'route:{{.origin}}-{{.destination}}' --scope '{{.origin}}' --kind 0xF001 flights.jsonl

` + templateHelp + `

The object is stored as CBOR: integers stay integers of any size, other numbers become 64-bit floats. With --raw the line is
stored as it is. --time is stored beside it as the extension import.time; the event's own time is that of its commit.

Every event gets an idempotency key, by default the file's name without directory and .gz, a colon and the line's number. So
an import can be repeated: it appends what is missing and nothing twice, also after it was killed. If a line was changed
since, nothing of its batch is appended and the exit code is 4. A line that cannot be imported ends the import: what was
committed before stays, nothing of its batch is appended. Only a batch of which a part is there already, since an earlier run
had other batches, is committed line by line.

With --json it writes one object: lines (read, without blank ones), appended, already_there, took_ns, events_per_second.

` + exitHelp,
		Args: arguments(cobra.MinimumNArgs(1)),
	}
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return c.runImport(cmd, &f, args) }
	return cmd
}

func (f *importFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.entity, "entity", "", "entity of the events: template, field or text (required)")
	flags.StringVar(&f.scope, "scope", "", "scope of the events: template, field or text (required)")
	flags.StringVar(&f.kind, "kind", "", "kind of the events: template, field or text, as 0xF001 (required)")
	flags.StringVar(&f.time, "time", "", "time to store beside the payload: template, field or text")
	flags.StringVar(&f.key, "key", "", "idempotency key: template, field or text")
	flags.StringVar(&f.source, "source", "", "name in idempotency keys instead of the file's")
	flags.StringVar(&f.durability, "durability", "durable", "what a batch waits for: durable (survives a power cut) or written (survives the process)")
	flags.IntVar(&f.batch, "batch", defaultBatch, "events per commit")
	flags.BoolVar(&f.raw, "raw", false, "store the line itself, not CBOR")
}

// importer returns an importer as the flags say, without a store.
func (f *importFlags) importer() (*importer, error) {
	if f.entity == "" || f.scope == "" || f.kind == "" {
		return nil, usagef("--entity, --scope and --kind are needed")
	}
	if f.batch < 1 || f.batch > batpak.MaxBatch {
		return nil, usagef("--batch %d is not in 1 to %d", f.batch, batpak.MaxBatch)
	}
	im := &importer{batch: f.batch, raw: f.raw}
	for _, t := range []struct {
		to          **text
		flag, value string
	}{{&im.entity, "entity", f.entity}, {&im.scope, "scope", f.scope}, {&im.kind, "kind", f.kind}, {&im.time, "time", f.time}, {&im.key, "key", f.key}} {
		if t.value == "" {
			continue
		}
		var err error
		if *t.to, err = newText(t.flag, t.value); err != nil {
			return nil, err
		}
	}
	return im, nil
}

// names returns the name in idempotency keys of each file.
func (f *importFlags) names(paths []string) (map[string]string, error) {
	if f.source != "" && len(paths) > 1 {
		return nil, usagef("--source names one file, not %d", len(paths))
	}
	names, taken := map[string]string{}, map[string]string{}
	for _, path := range paths {
		name := sourceName(path)
		if f.source != "" {
			name = f.source
		}
		if other, ok := taken[name]; ok && f.key == "" {
			return nil, usagef("%s and %s have the same name in idempotency keys: import them one by one with --source", other, path)
		}
		names[path], taken[name] = name, path
	}
	return names, nil
}

func (c *cli) runImport(cmd *cobra.Command, f *importFlags, paths []string) error {
	begin := time.Now()
	dir, err := c.dir()
	if err != nil {
		return err
	}
	im, err := f.importer()
	if err != nil {
		return err
	}
	var opts batpak.Options
	if err := opts.Durability.UnmarshalText([]byte(f.durability)); err != nil {
		return usagef("--durability %q is neither durable nor written", f.durability)
	}
	names, err := f.names(paths)
	if err != nil {
		return err
	}
	im.progress = newProgress(cmd.ErrOrStderr())
	err = im.into(dir, &opts, func() error {
		for _, path := range paths {
			if err := im.file(path, names[path], cmd.InOrStdin()); err != nil {
				return err
			}
		}
		return nil
	})
	im.progress.clear()
	if err != nil {
		return fmt.Errorf("%w; %s before this", err, im.done())
	}
	return c.printImport(cmd.OutOrStdout(), im, time.Since(begin))
}

func (c *cli) printImport(w io.Writer, im *importer, took time.Duration) error {
	rate := perSecond(im.lines, took)
	if c.json {
		return writeJSON(w, importJSON{im.lines, im.appended, im.known, took, rate})
	}
	_, err := fmt.Fprintf(w, "%s in %s, %s events/s\n", im.done(), short(took), grouped(rate))
	return err
}

// into opens the store and closes it when do has returned.
func (im *importer) into(dir string, opts *batpak.Options, do func() error) (err error) {
	if im.store, err = batpak.Open(filepath.Clean(dir), opts); err != nil {
		return err
	}
	return errors.Join(do(), im.store.Close())
}
