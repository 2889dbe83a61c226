// Package index finds events: by position, stream, entity, namespace, scope, kind, lane, correlation, idempotency key and
// time. It is derived from the log and can be built again from it at any time, so whatever is wrong with it is a
// [DamagedError] and nothing is repaired.
//
// It does not read the log. It is told of each event with [Index.Append], keeps it in memory, the tail, and writes the
// older part of the tail to a key-value store with [Index.Fold]. What is folded carries a [Position], and after opening the
// caller appends the events after it again. An event is found in the tail and in what is folded alike, from the moment
// it is appended.
//
// # What is stored
//
// Everything folded is in runs. A run holds a contiguous range of events: for each a row, which says where it is, and for
// each term the list of the events that have it (run.go, list.go). A term is a byte string: a tag and the value (terms.go).
//
//	bucket     key                             value
//	"meta"     "index"                         format, store id, position, and which runs there are (meta.go)
//	"run <n>"  be64(first seq) be64(last seq)  a run; n is the number of a slot, and there is one key in each bucket
//
// Each fold writes one run, and eight runs of one level are merged to one of the next (merge.go). So a fold writes two
// values whatever the number of streams, scopes and keys in it, and reading looks at a handful of runs: 12 after five
// million events folded 16384 at a time. A key for each event and index would cost some 20 times as much to write, because
// the keys of an entity index are spread over all its pages.
//
// Three things that one might look for are not there. There is no index of event ids: an id holds its seq. There are no
// heads: the head of a stream is the last posting of its term, and the n-th posting the event with clock n. And there is no
// dictionary of names: a name is in each run once, and numbers for names would be keys to look up and to write.
//
// # What a look-up costs
//
// A row, or the time of one, is found by its place in its run. A term is found through the directory of each run
// (directory.go), a range of kinds by binary search; the newest event that has a term, as for [Index.Head] and [Index.Key], in
// the newest runs first. Of a list one block of up to 128 postings is decoded at a time. [Index.Page] intersects lists: each
// leaps to where another is.
//
// # Checks
//
// Each value has a checksum. That of a run, which never changes, is compared when the run is first used after opening,
// so the first use costs reading the run, some 20 MB for a million events. Offsets and lengths are held against their
// bounds each time all the same.
package index
