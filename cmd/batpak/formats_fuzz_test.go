package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/batpak/batpak"
	"github.com/batpak/batpak/chain"
	"github.com/batpak/batpak/event"
)

// fuzzDir returns a new directory, in memory where the system has such a place.
func fuzzDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "batpak")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// totalAllocated returns how many bytes were allocated so far.
func totalAllocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// sampleReceipt is a receipt that agrees with itself.
func sampleReceipt() batpak.Receipt {
	r := batpak.Receipt{Store: batpak.StoreID{1}, Seq: 2, Entity: "a:é", Scope: "s", Lane: 3, Clock: 2, Kind: 0xF001,
		Time: 1_700_000_000_000_000, Hash: batpak.Hash{2}, Content: batpak.Hash{3}, Prev: batpak.Hash{4}, Durability: batpak.Durable}
	r.ID = event.NewID(r.Time, r.Seq, 7)
	return r
}

// writeReceipts returns receipts as "append --json" writes them or, with plain, as a program does.
func writeReceipts(t testing.TB, plain bool, rs ...batpak.Receipt) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, r := range rs {
		var v any = newReceiptJSON(r)
		if plain {
			v = r
		}
		if err := writeJSON(&b, v); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// FuzzReceipts reads any bytes as a file of receipts: those that are read are the same when they are written, in both forms,
// and read again; else the file is an integrity failure, and the error names it and the receipt.
func FuzzReceipts(f *testing.F) {
	r := sampleReceipt()
	f.Add(writeReceipts(f, false, r, r))
	f.Add(writeReceipts(f, true, r))
	f.Add([]byte(`{"seq":1,"time":"2023-11-14T22:13:20Z","extra":1}`))
	f.Add([]byte(`{"time":null}{"time":1e3}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		rs, err := readReceipts("-", bytes.NewReader(b))
		if err != nil {
			if exitCode(err) != exitIntegrity || !strings.HasPrefix(err.Error(), "-: receipt ") {
				t.Errorf("%v, exit code %d", err, exitCode(err))
			}
			return
		}
		if len(rs) == 0 {
			t.Error("no receipt and no error")
		}
		rs = slices.DeleteFunc(rs, func(r batpak.Receipt) bool { // what nobody writes
			return r.Durability != batpak.Durable && r.Durability != batpak.Written || !chain.VerifyReceipt(r).OK()
		})
		checkReceipts(t, rs)
	})
}

// checkReceipts writes and reads receipts.
func checkReceipts(t *testing.T, rs []batpak.Receipt) {
	t.Helper()
	for _, plain := range []bool{false, true} {
		b := writeReceipts(t, plain, rs...)
		if len(rs) == 0 {
			return
		}
		if again, err := readReceipts("-", bytes.NewReader(b)); err != nil || !slices.Equal(again, rs) {
			t.Errorf("%s came back as %+v, %v", b, again, err)
		}
	}
}

// FuzzReceiptsFields writes receipts with any fields, as far as an event can have them, and reads them.
func FuzzReceiptsFields(f *testing.F) {
	f.Add(uint64(1), int64(1), "a", "s", uint32(0), uint64(1), uint16(1), []byte{})
	seq, us := uint64(event.MaxSeq), int64(event.MaxTimestamp)
	f.Add(seq, us, "a\u2028<é>", "\"\\", uint32(1<<32-1), uint64(1<<63-1), uint16(0xFFFF), []byte("h"))
	f.Add(uint64(7), int64(253_402_300_800_000_000), "a", "s", uint32(0), uint64(1), uint16(1), []byte{}) // the year 10000
	f.Fuzz(func(t *testing.T, seq uint64, us int64, entity, scope string, lane uint32, clock uint64, kind uint16, hash []byte) {
		r := sampleReceipt()
		r.Seq, r.Time, r.Entity, r.Scope, r.Lane = batpak.Seq(seq)&event.MaxSeq, batpak.Timestamp(us), entity, scope, batpak.Lane(lane)
		r.Clock, r.Kind = batpak.Clock(clock), batpak.Kind(kind)
		copy(r.Hash[:], hash)
		if r.Time < 1 || r.Time > event.MaxTimestamp || r.Coordinate().Validate() != nil {
			return
		}
		r.ID = event.NewID(r.Time, r.Seq, 7)
		checkReceipts(t, []batpak.Receipt{r, sampleReceipt()})
	})
}

// queryCommand returns what has the flags of a query.
func queryCommand() (*cobra.Command, *queryFlags) {
	cmd, f := &cobra.Command{Use: "ls", SilenceErrors: true, SilenceUsage: true}, &queryFlags{}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return withCode(exitUsage, err) })
	f.add(cmd, 20, "")
	return cmd, f
}

// FuzzQueryFlags gives any arguments, one a line. What is accepted is a valid query, and the flags that ask for it
// in full ask for the same.
func FuzzQueryFlags(f *testing.F) {
	f.Add("--entity\na\n--kind=0xF001\n--after\n3\n--since\n2001-03-31")
	f.Add("--category\n16\n--through\n18446744073709551616")
	f.Add("--lane=0\n--category=0\n--until=2001-03-31T22:27:00.5+01:30\n--limit\n0")
	f.Add("--correlation\n7ZZZZZZZZZZZZZZZZZZZZZZZZZ\n--clock-after\n1\n--clock-through\n0x10")
	f.Add("--until\n0001-01-01")
	f.Add("--through\n18446744073709551615\n--clock-through=9223372036854775808\n--after\n9223372036854775807")
	f.Fuzz(func(t *testing.T, lines string) {
		cmd, flags := queryCommand()
		if cmd.ParseFlags(strings.Split(lines, "\n")) != nil {
			return
		}
		q, err := flags.query(cmd)
		if err != nil {
			if exitCode(err) != exitUsage || err.Error() == "" {
				t.Errorf("%q: %v, exit code %d", lines, err, exitCode(err))
			}
			return
		}
		if err := q.Validate(); err != nil || flags.until != "" && q.Until.IsZero() {
			t.Errorf("%q asks for %+v: %v", lines, q, err)
		}
		if again, err := asked(t, queryArgs(&q)); err != nil || !sameQuery(&q, &again) {
			t.Errorf("%q asks for %+v, and its flags for %+v, %v", lines, q, again, err)
		}
	})
}

// FuzzQueryFields asks for any values.
func FuzzQueryFields(f *testing.F) {
	one, most, early, late := uint64(1), uint64(1<<64-1), int64(-1<<50), int64(1<<50)
	f.Add("a", "b", "s", uint16(1), uint8(7), uint32(5), one, one+1, one, one+1, int64(0), int64(1_700_000_000_000_001), 0)
	f.Add("--after", "", "=", uint16(0xFFFF), uint8(255), uint32(1<<32-1), one, most-1, one, most, early, late, 1<<40)
	f.Fuzz(func(t *testing.T, entity, prefix, scope string, kind uint16, flags uint8, lane uint32, after, through, clockAfter,
		clockThrough uint64, since, until int64, limit int) {
		q := batpak.Query{Entity: entity, Prefix: prefix, Scope: scope, Kind: batpak.Kind(kind), After: batpak.Seq(after),
			Through: batpak.Seq(through), ClockAfter: batpak.Clock(clockAfter), ClockThrough: batpak.Clock(clockThrough), Limit: limit}
		if flags&1 != 0 {
			q.Lane = new(batpak.Lane(lane))
		}
		if flags&2 != 0 {
			q.Category = new(batpak.Category(flags >> 3))
		}
		if flags&4 != 0 {
			q.Since, q.Until = time.UnixMicro(since).UTC(), time.UnixMicro(until).UTC()
		}
		if y := q.Since.Year(); y < 0 || y > 9999 || q.Until.Year() < 0 || q.Until.Year() > 9999 {
			return // RFC 3339 has no other years
		}
		again, err := asked(t, queryArgs(&q))
		want := q.Validate()
		if (err == nil) != (want == nil) || err == nil && !sameQuery(&q, &again) || err != nil && exitCode(err) != exitUsage {
			t.Errorf("%+v became %+v: %v, and that it is valid: %v", q, again, err, want)
		}
	})
}

// queryArgs returns the flags that ask for q.
func queryArgs(q *batpak.Query) []string {
	args := []string{"--entity=" + q.Entity, "--prefix=" + q.Prefix, "--scope=" + q.Scope, "--kind=" + q.Kind.String(),
		fmt.Sprint("--after=", q.After), fmt.Sprint("--through=", q.Through), fmt.Sprint("--clock-after=", q.ClockAfter),
		fmt.Sprint("--clock-through=", q.ClockThrough), fmt.Sprint("--limit=", q.Limit)}
	if q.Lane != nil {
		args = append(args, fmt.Sprint("--lane=", *q.Lane))
	}
	if q.Category != nil {
		args = append(args, fmt.Sprint("--category=", *q.Category))
	}
	if !q.Correlation.IsZero() {
		args = append(args, "--correlation="+q.Correlation.String())
	}
	if !q.Since.IsZero() {
		args = append(args, "--since="+q.Since.Format(time.RFC3339Nano))
	}
	if !q.Until.IsZero() {
		args = append(args, "--until="+q.Until.Format(time.RFC3339Nano))
	}
	return args
}

// asked returns the query that the flags ask for.
func asked(t *testing.T, args []string) (batpak.Query, error) {
	t.Helper()
	cmd, flags := queryCommand()
	if err := cmd.ParseFlags(args); err != nil {
		return batpak.Query{}, err
	}
	return flags.query(cmd)
}

func sameQuery(a, b *batpak.Query) bool {
	x, y := *a, *b
	same := x.Since.Equal(y.Since) && x.Until.Equal(y.Until) && samePointer(x.Lane, y.Lane) && samePointer(x.Category, y.Category)
	x.Since, x.Until, y.Since, y.Until = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	x.Lane, x.Category, y.Lane, y.Category = nil, nil, nil, nil
	return same && x == y
}

func samePointer[T comparable](a, b *T) bool {
	return (a == nil) == (b == nil) && (a == nil || *a == *b)
}

// mappings are flags of import.
var mappings = []importFlags{
	{entity: "route:{{.origin}}-{{.destination}}", scope: "{{.origin}}", kind: "0xF001", batch: 2},
	{entity: "entity", scope: "scope", kind: "kind", time: "time", key: "key", batch: 3},
	{entity: "{{.a.b}}", scope: "{{lower .s}}", kind: "{{.k}}", time: "{{.t}}", batch: 1, raw: true},
	{entity: `{{index .list 0}}`, scope: `{{replace .s "/" "-"}}`, kind: "61441", key: "{{.s}}{{len .list}}", batch: 500},
	{entity: `{{range .list}}{{.}}:{{end}}`, scope: `{{if .yes}}y{{else}}n{{end}}`, kind: "0x1000", batch: 4, raw: true},
}

// FuzzImport imports any lines with several mappings. What was committed is what the lines say, and importing again appends
// nothing and ends in the same way; an error names the line, which no commit holds.
func FuzzImport(f *testing.F) {
	f.Add([]byte(`{"origin":"A","destination":"B","n":1}`+"\n\n"+`{"origin":"C","destination":"D"}`), uint8(0))
	f.Add([]byte(`{"entity":"e","scope":1,"kind":"0xF001","time":true,"key":"k"}`+"\r\n"+
		`{"entity":"e","scope":1,"kind":"0xF002","time":2.5,"key":"k"}`), uint8(1))
	f.Add([]byte(`{"a":{"b":"x"},"s":"S","k":"0x1001","t":null}`+"\n"+`{"a":1}`), uint8(2))
	f.Add([]byte(`{"list":[1,"b"],"s":"a/b"}`+"\n"+`{"list":[],"s":"a"}`), uint8(3))
	f.Add([]byte(`{"list":["a"],"yes":false}`+"\n"+`{"list":["<no value>"],"yes":null}`+"\n[]"), uint8(4))
	f.Add([]byte(`{"origin":"|","destination":"B"}`), uint8(0))
	f.Add([]byte(`{"origin":"A","destination":18446744073709551616}{}`), uint8(0))
	f.Fuzz(func(t *testing.T, lines []byte, which uint8) {
		if len(lines) > 1<<12 {
			return
		}
		flags := mappings[int(which)%len(mappings)]
		dir := fuzzDir(t)
		first, err := importLines(t, dir, flags, lines)
		checkImported(t, dir, flags, lines, first.appended)
		if err != nil {
			checkRefused(t, flags, lines, err)
		}
		second, again := importLines(t, dir, flags, lines)
		if second.appended != 0 || second.known != first.appended+first.known || fmt.Sprint(again) != fmt.Sprint(err) {
			t.Errorf("%d appended, %d known, %v; then %d, %d, %v", first.appended, first.known, err, second.appended, second.known, again)
		}
	})
}

// checkRefused checks that an error names the line that is wrong: by itself it is refused in the same words, unless it
// is so only beside others.
func checkRefused(t *testing.T, flags importFlags, lines []byte, err error) {
	t.Helper()
	number, rest, _ := strings.Cut(strings.TrimPrefix(err.Error(), "file:"), ": ")
	n, parseErr := strconv.Atoi(number)
	each := bytes.Split(lines, []byte("\n"))
	if parseErr != nil || n < 1 || n > len(each) {
		t.Fatalf("%v, of %d lines", err, len(each))
	}
	keys := errors.Is(err, batpak.ErrIdempotencyMismatch) || errors.Is(err, batpak.ErrIdempotencyPartial)
	if keys || strings.Contains(rest, "earlier lines") {
		return
	}
	if _, alone := importLines(t, fuzzDir(t), flags, each[n-1]); fmt.Sprint(alone) != "file:1: "+rest {
		t.Errorf("%v, and alone: %v", err, alone)
	}
}

// importLines imports the lines of a file into the store in dir.
func importLines(t *testing.T, dir string, flags importFlags, lines []byte) (*importer, error) {
	t.Helper()
	im, err := flags.importer()
	if err != nil {
		t.Fatal(err)
	}
	im.progress = &progress{}
	src, err := openSource("-", "file", bytes.NewReader(lines))
	if err != nil {
		t.Fatal(err)
	}
	src.path = "file"
	var failed error
	if err := im.into(dir, &batpak.Options{Durability: batpak.Written, MemoryIndex: true}, func() error {
		failed = im.source(src)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return im, failed
}

// checkImported holds the events of a store against the lines that they were made of.
func checkImported(t *testing.T, dir string, flags importFlags, lines []byte, count int) {
	t.Helper()
	r, err := batpak.OpenReader(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	each := bytes.Split(lines, []byte("\n"))
	n := 0
	for e, err := range r.Query(batpak.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		line := 0
		if flags.key == "" {
			if _, err := fmt.Sscanf(e.Key, "file:%d", &line); err != nil || line < 1 || line > len(each) {
				t.Fatalf("event %d has key %q", e.Seq, e.Key)
			}
			checkLine(t, flags, &e, bytes.TrimSpace(each[line-1]))
		}
	}
	if n != count {
		t.Errorf("%d events, %d were appended", n, count)
	}
}

// checkLine checks the payload of an event against its line.
func checkLine(t *testing.T, flags importFlags, e *batpak.Event, line []byte) {
	t.Helper()
	want := line
	if !flags.raw {
		var err error
		if want, err = encodeJSON(line); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(e.Payload, want) {
		t.Errorf("event %d is %q of line %q", e.Seq, e.Payload, line)
	}
}

// FuzzTemplate takes any text for a template, or the name of a field, and evaluates it for any object. Templates that
// repeat or call themselves are left out: they run as long as whoever wrote them wants.
func FuzzTemplate(f *testing.F) {
	f.Add("{{.a}}", `{"a":1.5}`)
	f.Add("{{.a.b}}", `{"a":null}`)
	f.Add("{{index .a 5}}", `{"a":[]}`)
	f.Add("{{slice .a 2 1}}", `{"a":"é"}`)
	f.Add("a", `{"a":{}}`)
	f.Add("{{call .a}}", `{"a":"x"}`)
	f.Add("{{", `{}`)
	f.Fuzz(func(t *testing.T, value, line string) {
		for _, word := range []string{"range", "template", "block", "define", "printf"} {
			if strings.Contains(value, word) {
				return
			}
		}
		if value == "" {
			return
		}
		x, err := newText("entity", value)
		if err != nil {
			if exitCode(err) != exitUsage || !strings.HasPrefix(err.Error(), "--entity: ") {
				t.Errorf("%q: %v", value, err)
			}
			return
		}
		v, err := decodeJSON([]byte(line))
		object, ok := v.(map[string]any)
		if err != nil || !ok {
			return
		}
		first, err := x.of(object)
		if err != nil && !strings.HasPrefix(err.Error(), "--entity: ") {
			t.Errorf("%q: %v", value, err)
		}
		if second, again := x.of(object); second != first || (again == nil) != (err == nil) {
			t.Errorf("%q is %q, %v, and then %q, %v", value, first, err, second, again)
		}
	})
}

// FuzzAppend runs the command with any arguments: the event is what they say, and the receipt that is printed is good; or the
// exit code says that they are wrong, and nothing is there.
func FuzzAppend(f *testing.F) {
	f.Add("a", "s", "0xF001", "", []byte("payload"), uint8(0))
	f.Add("a:é", "s", "61441", "key", []byte(`{"a":[1,2.5]}`), uint8(1))
	f.Add("a|b", "s", "0xD001", "key", []byte(`[1e400]`), uint8(1))
	f.Add("a", "s", "0x10000", "", []byte{0xFF}, uint8(2))
	f.Add("--", "-h", "1", strings.Repeat("k", 257), []byte{}, uint8(3))
	f.Fuzz(func(t *testing.T, entity, scope, kind, key string, data []byte, how uint8) {
		dir := fuzzDir(t)
		args := []string{"append", "--json", "--store=" + dir, "--entity=" + entity, "--scope=" + scope, "--kind=" + kind,
			"--key=" + key}
		if how&1 != 0 {
			args = append(args, "--json-data")
		}
		var out bytes.Buffer
		var in io.Reader = strings.NewReader("of no use")
		if how&2 != 0 {
			in = bytes.NewReader(data)
		} else {
			args = append(args, "--data="+string(data))
		}
		cmd := new(cli).root()
		cmd.SetArgs(args)
		cmd.SetIn(in)
		cmd.SetOut(&out)
		err := cmd.Execute()
		if err != nil {
			if code := exitCode(err); code != exitFailed && code != exitUsage || out.Len() > 0 || err.Error() == "" {
				t.Errorf("%v, exit code %d, %q", err, exitCode(err), out.Bytes())
			}
			return
		}
		rs, err := readReceipts("-", &out)
		if err != nil || len(rs) != 1 {
			t.Fatalf("%d receipts, %v", len(rs), err)
		}
		if how&1 != 0 {
			if data, err = encodeJSON(data); err != nil {
				t.Fatal(err)
			}
		}
		checkAppended(t, dir, rs[0], data, batpak.At(entity, scope), key)
	})
}

// checkAppended checks the one event of a store.
func checkAppended(t *testing.T, dir string, receipt batpak.Receipt, data []byte, at batpak.Coordinate, key string) {
	t.Helper()
	r, err := batpak.OpenReader(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	e, err := r.At(1)
	if err != nil || !bytes.Equal(e.Payload, data) || e.Coordinate() != at || e.Key != key || r.Visible() != 1 {
		t.Errorf("event %+v, %v", e, err)
	}
	if v := r.VerifyReceipt(receipt); !v.OK() {
		t.Errorf("receipt %+v: %+v", receipt, v)
	}
}

// FuzzPayloadJSON shows any payload: as JSON it is valid, what cannot be JSON comes back from its other form, and what
// people see is no wider than asked for.
func FuzzPayloadJSON(f *testing.F) {
	f.Add([]byte(`{"a":1}`), uint16(0))
	f.Add([]byte{0xA1, 0x61, 'a', 0xC2, 0x49, 1, 0, 0, 0, 0, 0, 0, 0, 0}, uint16(1))
	f.Add([]byte{0x82, 0xF9, 0x7E, 0, 0xC1, 0x1A, 0x7F, 0xFF, 0xFF, 0xFF}, uint16(1))
	f.Add([]byte("text\x1b[2J"), uint16(0))
	f.Fuzz(func(t *testing.T, payload []byte, version uint16) {
		e := batpak.Event{Payload: payload}
		e.PayloadVersion, e.PayloadLength = version, uint32(len(payload))
		before := totalAllocated()
		shown, ok := payloadJSON(&e)
		if n := totalAllocated() - before; n > 64<<10+2048*uint64(len(payload)) {
			t.Errorf("%d bytes allocated for %d", n, len(payload))
		}
		if ok && !json.Valid(shown) {
			t.Fatalf("%x is shown as %s", payload, shown)
		}
		var b bytes.Buffer
		if err := writeJSON(&b, newEventJSON(&e)); err != nil {
			t.Fatal(err)
		}
		var back eventJSON
		err := json.Unmarshal(b.Bytes(), &back)
		if err != nil || back.Payload == nil && !bytes.Equal(back.PayloadBase64, payload) || bytes.Count(b.Bytes(), []byte("\n")) != 1 {
			t.Errorf("%x: %s: %v", payload, b.Bytes(), err)
		}
		if s := payloadText(&e, 80); utf8.RuneCountInString(s) > 80 || !utf8.ValidString(s) {
			t.Errorf("%x: %q", payload, s)
		}
	})
}

// FuzzSource reads any bytes as lines: they are the lines that there are, but for blank ones, each with its number.
func FuzzSource(f *testing.F) {
	f.Add([]byte("a\r\n\n b \nc"), uint16(16))
	f.Add(bytes.Repeat([]byte("long "), 20), uint16(16))
	f.Fuzz(func(t *testing.T, b []byte, buffer uint16) {
		src := &source{path: "file"}
		if err := src.read(&slow{b, int(buffer)%100 + 1}, false); err != nil {
			t.Fatal(err)
		}
		for i, want := range bytes.Split(b, []byte("\n")) {
			if want = bytes.TrimSpace(want); len(want) == 0 {
				continue
			}
			if line, err := src.next(); err != nil || !bytes.Equal(line, want) || src.line != i+1 {
				t.Fatalf("line %d is %q where line %d is %q, %v", src.line, line, i+1, want, err)
			}
		}
		if line, err := src.next(); !errors.Is(err, io.EOF) {
			t.Errorf("behind the end: %q, %v", line, err)
		}
	})
}

// A slow reader gives so many bytes at a time.
type slow struct {
	b    []byte
	most int
}

func (s *slow) Read(b []byte) (n int, err error) {
	if len(s.b) == 0 {
		return 0, io.EOF
	}
	n = copy(b[:min(len(b), s.most)], s.b)
	s.b = s.b[n:]
	return n, nil
}
