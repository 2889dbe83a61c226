// Command soak uses a store as hard as it can for as long as it is told to, in real processes on a real disk, kills them,
// damages files, and checks all the time that the store keeps what it promised. It is for hours at night and for ten minutes
// before a release; the tests run three kills of it.
//
//	go run ./internal/soak -for 10m
//	go run ./internal/soak -for 8h -writers 16 -dir /mnt/disk -report 5m
//
// It exits with 0 when nothing was found, 1 when something was (the files then stay, and the last line says where), 2 for wrong
// flags. The seed decides what is appended and what is done to the store; when a kill hits, chance decides too, so the same
// seed gives another run of the same kind. At any time there is one store, of 1.5 GiB at most.
//
// # What happens
//
// A writer process opens the store and several callers append to it: single events, batches, commits with conditions and with
// idempotency keys, most waiting until they are durable, some until they are written. Each receipt is reported to the
// command once Commit has returned. A follower in the writer and one in a reader process, which goes on across the lives of
// the writer, report what they see. Some lives let what is only written be seen; segments are 64 KiB to 4 MiB.
//
// The command ends the writer with kill -9, mostly after milliseconds, now and then after half a minute, sometimes while it is
// opening the store; one life in eight or so it closes the store, half of them while callers append. After a kill it may do
// one of these to the files:
//
//	index deleted, flipped, truncated    index.bolt is removed, has some bytes changed, is cut off
//	index older                          index.bolt is an earlier copy
//	garbage appended                     random bytes behind the last commit
//	last commit flipped                  bytes of the last commit changed
//	sector unwritten                     a sector of the tail is zero
//	tail cut off                         the segment ends within the tail
//	unacknowledged commit flipped        bytes of another commit of the tail changed: no power cut does that, so the store
//	                                     may be refused, and then is whole when the change is undone
//
// The tail here is what lies behind every commit of which anybody has said that it is durable: a receipt, a follower, LOCK,
// the index, a later commit. So nothing durable is touched, and what was only written may be lost, with the last four. Before
// those the reader is killed if it may have seen some of it, as a power cut would.
//
// When the log has 32, 128 or 512 MiB the store is checked, removed, and the next one begun.
//
// # What is checked
//
// Whoever reports an event reports its hash and id, and all must agree for ever. After each opening everything that was
// durable is there, and what was only written too unless it may be lost. Followers see each event once and in order; nothing
// that a store shows as durable is above the watermark in LOCK.
// Repeated keys give the receipts of then, conditions that do not hold fail and those that hold do not. Full checks, after
// a close, verify all files from outside, read every event and compare it with what the seed says it must be: payload,
// coordinate, key, cause, extensions, dense positions and clocks, whole commits, none of them twice, and each receipt. The
// writer verifies its index before such a close. A process that closed the store has no more goroutines and files than
// before it opened it.
//
// # What the numbers mean
//
//	rounds                    lives of the writer
//	kills, clean closes       how they ended
//	damages                   by kind, as above; where there was nothing to damage nothing is counted
//	refused, then undone      openings that were rightly refused
//	torn tails reported       by Open; those without damage come of kills in the middle of a write
//	index rebuilds reported   by Open: a deleted index is made again without being called damaged
//	events acknowledged       whose receipts were reported: verified at last, by a full check, or lost as they may be
//	keyed commits repeated    of earlier lives
//	events by follower        each compared with its receipt, if there is one; across lives of the follower
//	opening                   how long Open took, by what came before it; waiting for processors included
//	goroutines, RSS, files    of processes at least two seconds old, measured four times a second: medians of the first
//	                          15 %, the middle 20 % and the last 15 % of the time, and the most there ever was. RSS without
//	                          files is what the promise BOUNDED is about: mapped pages of the index are the system's to take back
//	reader memory per event   the index of a reader is in memory: what it has without files, divided by the events it had then
//
// It is a finding too if a writer has more than 512 MiB of memory without files, or in the last part of the time twice as much
// and 64 MiB more than in the first, or any process more than 128 open files or 20 goroutines besides the callers. A system
// without /proc has no figures of memory and files, and the summary says so.
package main
