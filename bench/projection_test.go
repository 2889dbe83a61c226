package main

import (
	"testing"

	"github.com/batpak/batpak"
)

// BenchmarkProjection is about a stream of 100 000 events of 256 B. An iteration of scan and of scratch reads all of them,
// verified, warm; the second decodes each payload and folds it, without a snapshot. Their rates are to be compared. An
// iteration of resume reads a snapshot and folds 10 events behind it.
func BenchmarkProjection(b *testing.B) {
	dir := b.TempDir()
	s := hotOpen(b, dir, batpak.Options{Durability: batpak.Written})
	if err := loadReadings(s, readings); err != nil {
		b.Fatal(err)
	}
	b.Run("scan", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := scanReadings(s); err != nil {
				b.Fatal(err)
			}
		}
		perSecond(b, b.N*readings)
	})
	b.Run("scratch", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := foldReadings(s); err != nil {
				b.Fatal(err)
			}
		}
		perSecond(b, b.N*readings)
	})
	if _, err := snapshotReadings(s); err != nil {
		b.Fatal(err)
	}
	b.Run("resume", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := resumeReadings(s); err != nil {
				b.Fatal(err)
			}
		}
	})
}
