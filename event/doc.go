// Package event defines the values that every part of batpak speaks in: coordinates, kinds, ids, headers, events,
// queries and the error classes. It knows nothing of files, indexes or hashing, and imports no other package of batpak.
//
// An [Event] is an immutable fact: a [Header] and a payload. Its [Coordinate] says what it is about (the entity) and in
// which context (the scope); the events of one entity and [Lane] form a stream, numbered by [Clock]; all events of a
// store are numbered by [Seq] in the order in which they were committed.
//
// Payloads are opaque bytes. A type that implements [Payload] is stored as canonical CBOR ([Marshal]) and read back with
// [Decode]. Headers have one encoding too ([AppendHeader], [DecodeHeader]), because their bytes are what is hashed.
package event
