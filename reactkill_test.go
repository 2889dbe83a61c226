package batpak

import (
	"bufio"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"testing"
)

// The steps that a process in a react role prints, a byte each.
const (
	stepKnown   = 'k' // at the start, for an order behind the saved position that is answered already
	stepOrdered = 'o' // an order was acknowledged
	stepCalled  = 'c' // the handler was called
)

func say(step byte) { _, _ = os.Stdout.Write([]byte{step}) }

// reactForEver appends orders and answers them, and prints each step.
func reactForEver(class Durability) func(dir string) error {
	return func(dir string) error {
		s, err := Open(dir, &Options{Durability: class, SegmentBytes: 16 << 10, foldEvents: 50})
		if err != nil {
			return err
		}
		if err := sayKnown(s); err != nil {
			return err
		}
		errs := make(chan error, 2)
		go func() { errs <- orderForEver(s) }()
		go func() {
			errs <- s.React(context.Background(), shipping(func(*Event, ordered) error { say(stepCalled); return nil }))
		}()
		return <-errs
	}
}

func orderForEver(s *Store) error {
	for n := 0; ; n++ {
		if _, err := s.Append(At([]string{"order:a", "order:b"}[n%2], "shop"), ordered{n}); err != nil {
			return err
		}
		say(stepOrdered)
	}
}

// sayKnown says how many orders were answered after the position was saved for the last time.
func sayKnown(s *Store) error {
	c, err := s.Cursor("shipping", Query{})
	if err != nil {
		return err
	}
	defer c.Close()
	p, err := c.Page(0)
	if err != nil {
		return err
	}
	for i := range p.Events {
		b := Batch{trigger: &p.Events[i], reaction: "shipping"}
		if done, _, err := s.keyed(b.key(0)); err != nil {
			return err
		} else if done != nil {
			say(stepKnown)
		}
	}
	return nil
}

// TestReactKill kills a process that appends orders and answers them, 20 times, or with BATPAK_LONG=1 200 times, in one
// directory. Each order is then answered once, by a whole batch, in the order of the orders.
func TestReactKill(t *testing.T) {
	for _, class := range []Durability{Durable, Written} {
		t.Run(class.String(), func(t *testing.T) { reactAndKill(t, class, rounds(20, 200)) })
	}
}

func reactAndKill(t *testing.T, class Durability, kills int) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	said := map[byte]int{}
	between := 0 // kills after an answer was appended and before the position was saved
	for round := range kills {
		c, out := process(t, "react "+class.String(), dir)
		known := said[stepKnown]
		after, spin := 1+random.IntN(20)*random.IntN(20), random.IntN(300_000)
		readSteps(t, round, out, said, after, func() {
			for spin > 0 {
				spin-- // a moment that is not one of those at which the process prints
			}
			if err := c.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		})
		_ = c.Wait() // killed
		if said[stepKnown] > known {
			between++
		}
	}
	s := openTest(t, dir, &Options{Durability: class})
	if err := answerAll(s, nil); err != nil {
		t.Fatal(err)
	}
	orders := mustAnswerAll(t, s)
	if orders < said[stepOrdered] || said[stepOrdered] < kills {
		t.Errorf("%d orders, %d were acknowledged", orders, said[stepOrdered])
	}
	if kills >= 100 && (between < 10 || said[stepCalled] < 10*kills) {
		t.Error("that is too few to mean anything")
	}
	t.Logf("%d kills, %d of them between an answer and the saving of the position; %d orders, %d calls of the handler", kills, between, orders, said[stepCalled])
}

// readSteps counts what the process says, until its end, and calls kill after so many steps.
func readSteps(t *testing.T, round int, out *bufio.Reader, said map[byte]int, after int, kill func()) {
	t.Helper()
	for n := 0; ; {
		step, err := out.ReadByte()
		if err != nil {
			return
		}
		if step != stepKnown && step != stepOrdered && step != stepCalled {
			rest, _ := io.ReadAll(out)
			t.Fatalf("round %d: %c%s", round, step, rest)
		}
		if said[step]++; step == stepKnown {
			continue // it has not begun
		}
		if n++; n == after {
			kill()
		}
	}
}
