package log

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/batpak/batpak/event"
)

var update = flag.Bool("update", false, "write testdata/operations.txt")

// TestOperations prints the file operations of opening, appending, rolling, sealing and closing, and compares them with
// testdata/operations.txt, so that a change of the durability order is a diff. The filler writes when it is told to.
func TestOperations(t *testing.T) {
	var out strings.Builder
	d := newDisk()
	d.hook = func(op operation) *fault {
		by := ""
		if byFiller() {
			by = " (filler)"
		}
		fmt.Fprintf(&out, "  %s%s\n", op, by)
		return nil
	}
	step := func(name string) { fmt.Fprintf(&out, "%s\n", name) }
	var l *Log
	reopen := func() {
		l, _, _ = open(t, d, testOptions())
		l.fill.limit = 0 // do not wake it
	}
	fill := func() {
		l.fill.limit = testOptions().SegmentBytes
		l.fill.extend()
		l.fill.limit = 0
	}
	add := func(size int) {
		l.mu.Lock()
		c := sampleCommit(l.next, 1, 0, size)
		l.mu.Unlock()
		if _, _, err := l.Append(&c); err != nil {
			t.Fatal(err)
		}
	}
	do := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	step("open a new log")
	reopen()
	step("append and sync")
	add(100)
	do(l.Sync(1))
	step("fill")
	fill()
	step("append and flush")
	add(100)
	do(l.Flush())
	step("sync")
	do(l.Sync(2))
	step("sync again")
	do(l.Sync(2))
	step("append what does not fit: seal and roll")
	add(1900)
	step("close")
	do(l.Close())
	step("open")
	reopen()
	step("roll a segment without zeros")
	add(100)
	do(l.Sync(4))
	step("end of the process after a torn write; open")
	abandon(l)
	n := d.names[SegmentName(event.Seq(4))]
	n.data = append(n.data, "torn"...)
	reopen()
	step("close")
	do(l.Close())

	const golden = "testdata/operations.txt"
	if *update {
		do(os.MkdirAll("testdata", 0o755))
		do(os.WriteFile(golden, []byte(out.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("operations are now\n%s\nwant\n%s", out.String(), want)
	}
}
