package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/batpak/batpak"
)

func TestPrint(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{grouped(0), "0"}, {grouped(999), "999"}, {grouped(1000), "1,000"}, {grouped(-123456), "-123,456"}, {grouped(1234567), "1,234,567"},
		{plural(1, "event"), "1 event"}, {plural(2000, "event"), "2,000 events"},
		{size(9999), "9999 bytes"}, {size(10_000), "10.0 kB"}, {size(5_300_000), "5.3 MB"}, {size(64 << 30), "68.72 GB"},
		{short(1234567 * time.Nanosecond).String(), "1.23ms"}, {short(83456 * time.Millisecond).String(), "1m23.5s"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s, want %s", tt.got, tt.want)
		}
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	tab := &table{w: &b, right: 1, titles: []string{"n", "name", "x"}}
	if err := tab.rows([][]string{{"1", "ä", "y"}, {"10", "abcdef", "z"}}); err != nil {
		t.Fatal(err)
	}
	if want := " n  name    x\n 1  ä       y\n10  abcdef  z\n"; b.String() != want {
		t.Errorf("\n%s\nwant\n%s", b.String(), want)
	}
}

// TestKeepFound checks that what is found once, at the end of a log that grows, is not held against it.
func TestKeepFound(t *testing.T) {
	a, b := batpak.Finding{Seq: 1, Check: "content hash"}, batpak.Finding{Seq: 9, Check: "zeros behind the last commit"}
	if got := keepFound([]batpak.Finding{a}, []batpak.Finding{a, b}); len(got) != 1 || got[0] != a {
		t.Error(got)
	}
	if got := keepFound([]batpak.Finding{b}, []batpak.Finding{a}); len(got) != 0 {
		t.Error(got)
	}
}

// TestCutOffGzip checks that the error of a file that ends early is that of reading, not that its last line is no JSON.
func TestCutOffGzip(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(numbers(1, 1000)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "cut.jsonl.gz")
	if err := os.WriteFile(path, b.Bytes()[:b.Len()/2], 0o600); err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	code := run(context.Background(), []string{"import", "--store", filepath.Join(dir, "s"), "--entity", "e", "--scope", "s", "--kind", "0xF001", path},
		nil, &strings.Builder{}, &stderr)
	if code != exitFailed || !strings.Contains(stderr.String(), ": unexpected EOF; 0 appended") {
		t.Errorf("%d: %s", code, stderr.String())
	}
}

func TestExitCode(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, 0}, {errors.New("x"), 1}, {usagef("x"), 2}, {batpak.ErrNotFound, 3}, {batpak.ErrConflict, 4}, {&batpak.MismatchError{}, 4},
		{&batpak.CorruptError{}, 10}, {&batpak.LockedError{}, 1}, {withCode(exitUnverifiable, batpak.ErrNotFound), 11},
		{unverifiable(&batpak.CorruptError{}), 10}, {unverifiable(os.ErrPermission), 11},
	} {
		if got := exitCode(tt.err); got != tt.want {
			t.Errorf("%v: %d, want %d", tt.err, got, tt.want)
		}
	}
}
