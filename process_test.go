package batpak

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// The tests here start this test binary again as another process, which does what the variable says.
const roleVariable = "BATPAK_TEST_ROLE"

func TestMain(m *testing.M) {
	role, dir, _ := strings.Cut(os.Getenv(roleVariable), ":")
	if role == "" {
		os.Exit(m.Run())
	}
	roles := map[string]func(dir string) error{"append durable": appendForEver(Durable), "append written": appendForEver(Written),
		"follow": followAndPrint, "open": openOnce, "measure": openAndMeasure,
		"react durable": reactForEver(Durable), "react written": reactForEver(Written)}
	if err := roles[role](dir); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// process starts another process in a role and returns it with its output.
func process(t *testing.T, role, dir string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), roleVariable+"="+role+":"+dir)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill() // it has ended already, unless the test failed
		_ = c.Wait()
	})
	return c, bufio.NewReader(out)
}

// A member is the payload of an event that knows the size of the commit it belongs to.
type member struct {
	Caller, Commit, Index, Size int
}

func (member) EventType() Type { return Type{Kind: 0x1001, Name: "member", Version: 1} }

// appendForEver appends events from four goroutines, singly and in batches, and prints each that is acknowledged.
func appendForEver(class Durability) func(dir string) error {
	return func(dir string) error {
		s, err := Open(dir, &Options{Durability: class, SegmentBytes: 16 << 10, foldEvents: 50})
		if err != nil {
			return err
		}
		return appendAndPrint(s)
	}
}

func appendAndPrint(s *Store) error {
	var mu sync.Mutex
	errs := make(chan error)
	for caller := range 4 {
		go func() {
			for n := 0; ; n++ {
				size := 1
				if n%5 == caller {
					size = 2 + n%7
				}
				ps := make([]Proposal, size)
				for i := range ps {
					ps[i] = Proposal{At: At(fmt.Sprintf("caller:%d", (caller+i)%6), "test"), Payload: member{caller, n, i, size}}
				}
				rs, err := s.Commit(ps...)
				if err != nil {
					errs <- err
					return
				}
				mu.Lock()
				for _, r := range rs {
					fmt.Printf("ack %d %s\n", r.Seq, r.Hash)
				}
				mu.Unlock()
			}
		}()
	}
	return <-errs
}

// TestKill kills an appending process a hundred times. After each the store opens, has every event that was acknowledged,
// whole commits only, dense positions and clocks, and verifies.
func TestKill(t *testing.T) {
	for _, class := range []Durability{Durable, Written} {
		t.Run(class.String(), func(t *testing.T) { killOften(t, class) })
	}
}

func killOften(t *testing.T, class Durability) {
	rounds := 100
	if testing.Short() {
		rounds = 10
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	acked := map[Seq]string{}
	torn := 0
	for round := range rounds {
		c, out := process(t, "append "+class.String(), dir)
		killAfter := 1 + random.IntN(150)
		for n := 0; ; n++ {
			line, err := out.ReadString('\n')
			if err != nil {
				break // what is behind the last newline was not said
			}
			var seq Seq
			var hash string
			if _, err := fmt.Sscanf(line, "ack %d %s", &seq, &hash); err != nil {
				t.Fatalf("round %d: %q", round, line)
			}
			acked[seq] = hash
			if n == killAfter {
				if err := c.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = c.Wait() // killed
		if checkKilled(t, round, dir, acked) {
			torn++
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d rounds, %d events acknowledged, %d torn tails", rounds, len(acked), torn)
}

// checkKilled reopens the store, checks everything, and reports whether a torn tail was cut off.
func checkKilled(t *testing.T, round int, dir string, acked map[Seq]string) bool {
	t.Helper()
	s := openTest(t, dir, nil)
	defer closeTest(t, s)
	last, missing := Seq(0), len(acked)
	clocks := map[string]Clock{}
	var open member // the commit under way
	for e, err := range s.Query(Query{}) {
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if e.Seq != last+1 || e.Clock != clocks[e.Entity]+1 {
			t.Fatalf("round %d: event %d clock %d after event %d clock %d", round, e.Seq, e.Clock, last, clocks[e.Entity])
		}
		last, clocks[e.Entity] = e.Seq, e.Clock
		if want, ok := acked[e.Seq]; ok {
			missing--
			if hex.EncodeToString(e.Hash[:]) != want {
				t.Fatalf("round %d: event %d is not the one that was acknowledged", round, e.Seq)
			}
		}
		m, err := Decode[member](e)
		if err != nil {
			t.Fatal(err)
		}
		if m.Index > 0 && (open.Caller != m.Caller || open.Commit != m.Commit || open.Index != m.Index-1) || m.Index == 0 && open.Size != 0 {
			t.Fatalf("round %d: event %d is part %+v of a commit, after %+v", round, e.Seq, m, open)
		}
		if open = m; m.Index == m.Size-1 {
			open = member{}
		}
	}
	if open.Size != 0 || missing > 0 {
		t.Fatalf("round %d: last commit ends with %+v; %d acknowledged events are missing", round, open, missing)
	}
	rep, err := s.Verify(context.Background(), nil)
	if err != nil || !rep.OK() || Seq(rep.Events) != last {
		t.Fatalf("round %d: verify: %+v, %v", round, rep, err)
	}
	return s.opened.TornFile != ""
}

func openOnce(dir string) error {
	s, err := Open(dir, nil)
	if err != nil {
		return err
	}
	return s.Close()
}

// TestSecondWriter opens a store from another process while this one writes to it, and after.
func TestSecondWriter(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, nil)
	_, out := process(t, "open", dir)
	said, _ := io.ReadAll(out)
	host, _ := os.Hostname()
	if want := fmt.Sprintf("locked by pid %d on %s", os.Getpid(), host); !strings.Contains(string(said), want) {
		t.Errorf("the second writer said %q, not %q", said, want)
	}
	_, err := Open(dir, nil)
	var locked *LockedError
	if !errors.Is(err, ErrLocked) || !errors.As(err, &locked) || !strings.Contains(locked.Holder, fmt.Sprint(os.Getpid())) {
		t.Errorf("a second Open in this process gives %v", err)
	}
	closeTest(t, s)
	_, out = process(t, "open", dir)
	if said, _ := io.ReadAll(out); len(said) > 0 {
		t.Errorf("after Close another process said %q", said)
	}
}

func followAndPrint(dir string) error {
	r, err := OpenReader(dir, &ReaderOptions{PollInterval: time.Millisecond})
	if err != nil {
		return err
	}
	defer r.Close()
	fmt.Println("ready")
	for e, err := range r.Follow(context.Background(), Query{}) {
		if err != nil {
			return err
		}
		fmt.Println("seen", e.Seq, e.Hash)
	}
	return nil
}

// TestReaderProcess follows a live writer from another process: it sees each event once, in order, while segments roll and
// the index folds, and under both visibilities.
func TestReaderProcess(t *testing.T) {
	for _, durability := range []Durability{Durable, Written} {
		t.Run(durability.String(), func(t *testing.T) {
			dir := t.TempDir()
			s := openTest(t, dir, &Options{Durability: durability, SegmentBytes: 8 << 10, foldEvents: 64})
			hashes := make(chan Hash, 10_000)
			appendN := func(n int) {
				for i := range n {
					rs, err := s.Commit(Proposal{At: At("a", "b"), Payload: moved{X: i}}, Proposal{At: At("c", "d"), Payload: moved{Y: i}})
					if err != nil {
						t.Fatal(err)
					}
					hashes <- rs[0].Hash
					hashes <- rs[1].Hash
				}
			}
			appendN(50)
			c, out := process(t, "follow", dir)
			if line, err := out.ReadString('\n'); line != "ready\n" {
				t.Fatal(line, err)
			}
			appendN(300)
			close(hashes)
			n := Seq(0)
			for want := range hashes {
				line, err := out.ReadString('\n')
				if n++; err != nil || line != fmt.Sprintf("seen %d %s\n", n, want) {
					t.Fatalf("event %d: %q, %v", n, line, err)
				}
			}
			if err := c.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
