package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/batpak/batpak"
)

// A target is a store that is being soaked.
type target struct {
	number  int
	dir     string
	limit   int64 // when the log has so many bytes the next store begins
	planner planner
	store   batpak.StoreID // zero until it is known

	ledger  *ledger
	shown   batpak.Durability // that events have which can be seen
	keyed   []receipt         // of durable commits with keys, the newest
	lives   int
	reader  *process      // nil if there is none
	readers int           // that there have been
	pending *damage       // what was done to the files since they were opened successfully
	tries   int           // of opening since
	opening string        // what kind of opening the next one is, for the figures
	checked time.Time     // when the last full check ended
	took    time.Duration // by the last full check

	verified int // events that were acknowledged and have been found by a full check
}

// Names of followers, for the ledger and for people.
const (
	innerFollower = "the follower in the writer"
	readerProcess = "the reader"
)

// Kinds of opening, for the figures.
const (
	openNew     = "new store"
	openClosed  = "after a close"
	openKilled  = "after a kill"
	openIndex   = "after damage to the index"
	openTail    = "after damage to the tail"
	openRebuilt = "index rebuilt"
)

// logLimits are the sizes of log that stores get, in turn.
var logLimits = []int64{128 << 20, 512 << 20, 32 << 20}

func newTarget(dir string, number int, seed uint64) *target {
	return &target{
		number: number, dir: filepath.Join(dir, fmt.Sprintf("store-%d", number)), limit: logLimits[(number-1)%len(logLimits)],
		planner: planner{seed + uint64(number)}, ledger: newLedger(), shown: batpak.Durable, opening: openNew, checked: time.Now(),
	}
}

// logBytes returns the length of all segments.
func (t *target) logBytes() (sum int64) {
	paths, _ := filepath.Glob(filepath.Join(t.dir, "log", "*.seg")) // the pattern is good
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			sum += info.Size()
		}
	}
	return sum
}

// remember keeps the receipt of a durable commit with keys.
func (t *target) remember(name commitName, marks []mark) {
	for i := range marks {
		if marks[i].Durability != batpak.Durable {
			return
		}
	}
	if t.keyed = append(t.keyed, receipt{name, marks}); len(t.keyed) > 100 {
		t.keyed = t.keyed[1:]
	}
}

// begin takes note of a life that is about to begin. What was only written can be seen from when it opens such a store
// until a later one has opened it as a durable one: if that is killed before, LOCK still lets a reader see it.
func (t *target) begin(l *life) {
	if l.Durability == batpak.Written {
		t.shown = batpak.Written
	}
}

// open takes what the writer found when it opened the store.
func (t *target) open(l *life, o *opening) (lost int, err error) {
	damage := t.pending
	if damage == nil {
		damage = &undamaged
	}
	if t.store != (batpak.StoreID{}) && t.store != o.Store {
		return 0, fmt.Errorf("the store is %s, but it was %s", o.Store, t.store)
	}
	if damage.mustTear && t.tries == 1 && o.Report.TornFile == "" {
		return 0, fmt.Errorf("%s, but no torn tail was reported", damage.kind)
	}
	t.store, t.pending, t.tries, t.shown = o.Store, nil, 0, l.Durability
	if lost, err = t.ledger.open(o.Visible, damage.mayLose); err != nil {
		err = fmt.Errorf("%w (the damage was: %s; the opening: %+v)", err, damage.kind, o.Report)
	}
	return lost, err
}

// undamaged stands for no damage.
var undamaged = damage{kind: "nothing"}
