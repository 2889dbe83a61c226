// Package log keeps commits in append-only segment files. It knows bytes and positions: what a record means is for its
// callers, who hand it the link of each commit and check links when they read.
//
// A log is the directory "log" of a store, with one file per segment, named by the seq of the first event in it, in 20
// decimal digits: "log/00000000000000000001.seg". The newest segment is active; the others are sealed: they end with
// their last commit and never change. All integers are little-endian, checksums are CRC-32C (Castagnoli).
//
//	segment   header, then commits without gaps, then, in the active segment only, zeros
//
//	header    offset  0  magic "BATPAKSG"
//	                  8  u32  format, 1
//	                 12  u32  checksum of the 72 bytes of the header with this field zero
//	                 16  16 bytes store id
//	                 32  u64  seq of the first event
//	                 40  32 bytes link of the commit before this segment; for the first one the store's genesis link
//
//	commit    offset  0  u32  length: the bytes that follow the checksum, 52 + those of the records
//	                  4  u32  checksum of those bytes
//	                  8  u64  seq of the first event
//	                 16  u32  count of records, from 1
//	                 20  u64  durable watermark when this was encoded
//	                 28  32 bytes link
//	                 60  records
//
//	record    offset  0  u32  length of the header
//	                  4  u32  length of the payload
//	                  8  header, payload
//
// A commit is the unit of atomicity: it is there, with its checksum right, or it is not. A segment's header carries the
// link before it, so that the segments form one chain.
//
// # Writing
//
// The active segment is filled with zeros ahead of the write position, because fdatasync of bytes that change no length
// and no allocation costs half. [Log.Append] encodes into a buffer; [Log.Flush] hands the buffer to the OS, what is short by copying it to
// the zeros, which are mapped; [Log.Sync]
// makes it durable, one caller doing so for all who wait. A commit becomes true at one line, marked in log.go. After the
// first failure to write or sync the log stays broken: every later call that would write or sync returns that error, and
// reopening recovers.
//
// What a crash can leave, and what [Open] does:
//
//	append     a commit torn at its sectors, or missing before a whole one: cut off if nothing says it was durable
//	roll       an old segment with zeros behind its end, or "next.tmp": both removed; a new segment is complete once named
//	zero-fill  a longer file: nothing
//	open       what was read is written and synced again, and cutting off repeated, until they are durable
//	close      zeros not yet cut off: nothing
package log
