package event

import "testing"

// BenchmarkHeader encodes and decodes a header as most events have it. Nothing is hashed.
func BenchmarkHeader(b *testing.B) {
	h := Header{Seq: 123_456, ID: NewID(1_700_000_000_000_000, 123_456, 77), Entity: "entity:00042", Scope: "scope:42", Clock: 123, Kind: 0xF001,
		Time: 1_700_000_000_000_000, PayloadLength: 256, Content: Hash{1, 2}, Prev: Hash{3, 4}}
	h.Correlation = h.ID
	encoded := AppendHeader(nil, &h)
	b.Run("encode", func(b *testing.B) {
		scratch := make([]byte, 0, 512)
		for b.Loop() {
			scratch = AppendHeader(scratch[:0], &h)
		}
		b.SetBytes(int64(len(encoded)))
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := DecodeHeader(encoded); err != nil {
				b.Fatal(err)
			}
		}
		b.SetBytes(int64(len(encoded)))
	})
}
