// Package data holds the real events that the demo, the examples and the tests run on. README.md says where they are from.
package data

import _ "embed"

// Flights is 20 000 flights as JSON lines, compressed with gzip. It must not be changed.
//
//go:embed flights-20k.jsonl.gz
var Flights []byte
