//go:build !race

package batpak

import "testing"

// TestAllocations: a commit of one event allocates its receipt, and a scan what the loop body may keep of each event, its payload
// and its names. Whatever else is allocated now and then, in the background too, is less than one in ten. The race detector
// makes pools forget.
func TestAllocations(t *testing.T) {
	const events = 60_000
	s := openTest(t, t.TempDir(), &Options{Durability: Written})
	ps := benchProposals(1 << 14)
	i := 0
	commit := func() {
		mustCommit(t, s, ps[i%len(ps)])
		i++
	}
	for range events / 2 {
		commit()
	}
	perCommit := testing.AllocsPerRun(1, func() {
		for range events / 4 {
			commit()
		}
	}) / (events / 4)
	if perCommit > 1.1 {
		t.Errorf("%.3f allocations a commit, want the receipt alone", perCommit)
	}
	perEvent := testing.AllocsPerRun(1, func() {
		for _, err := range s.Query(Query{}) {
			if err != nil {
				t.Fatal(err)
			}
		}
	}) / float64(i)
	if perEvent > 2.1 {
		t.Errorf("%.3f allocations for each event of a scan, want those of its payload and its names", perEvent)
	}
	t.Logf("%.3f a commit, %.3f an event of a scan", perCommit, perEvent)
}
