package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/batpak/batpak"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"batpak": main})
}

// TestScripts runs testdata/script. Besides the usual commands there are:
//
//	exits CODE COMMAND...  runs a command and checks its exit code
//	field NAME VAR         sets a variable to a field of the JSON object on the last stdout
//	hold DIR, release      opens the store in this process, which is another one than batpak's, and closes it
//	damage DIR SEQ         flips a bit in the payload of an event
//	forge DIR              makes the checksum around the last damage right
//	numbers N FILE         writes N lines {"n":1}, {"n":2}, …
//	long MIB FILE          writes a line of JSON that is so many MiB long
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Values[stateKey{}] = &state{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "field": field, "hold": hold, "release": release, "damage": damageStore, "forge": forgeStore,
			"numbers": writeNumbers, "long": writeLong,
		},
	})
}

// state is what the commands of one script share.
type state struct {
	held   *batpak.Store
	damage damage
}

type stateKey struct{}

func stateOf(ts *testscript.TestScript) *state { return ts.Value(stateKey{}).(*state) }

func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func field(ts *testscript.TestScript, _ bool, args []string) {
	var object map[string]any
	dec := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	dec.UseNumber()
	ts.Check(dec.Decode(&object))
	v, ok := object[args[0]]
	if !ok {
		ts.Fatalf("no field %q", args[0])
	}
	ts.Setenv(args[1], fmt.Sprint(v))
}

func hold(ts *testscript.TestScript, _ bool, args []string) {
	s, err := batpak.Open(ts.MkAbs(args[0]), nil)
	ts.Check(err)
	stateOf(ts).held = s
	ts.Defer(func() { s.Close() }) // a second Close does nothing
}

func release(ts *testscript.TestScript, _ bool, _ []string) { ts.Check(stateOf(ts).held.Close()) }

func damageStore(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	seq, err := strconv.Atoi(args[1])
	ts.Check(err)
	r, err := batpak.OpenReader(dir, nil)
	ts.Check(err)
	defer r.Close()
	e, err := r.At(batpak.Seq(seq))
	ts.Check(err)
	stateOf(ts).damage, err = inflict(dir, &e)
	ts.Check(err)
}

func forgeStore(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(forgeChecksum(ts.MkAbs(args[0]), stateOf(ts).damage))
}

func writeNumbers(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), numbers(1, n), 0o600))
}

// numbers returns the lines from first through last.
func numbers(first, last int) []byte {
	var b []byte
	for i := first; i <= last; i++ {
		b = fmt.Appendf(b, "{\"n\":%d}\n", i)
	}
	return b
}

func writeLong(ts *testscript.TestScript, _ bool, args []string) {
	mib, err := strconv.Atoi(args[0])
	ts.Check(err)
	line := `{"n":"` + strings.Repeat("x", mib<<20-len(`{"n":""}`)) + `"}`
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(line+"\n"), 0o600))
}
