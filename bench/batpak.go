package main

import (
	"sync"
	"time"

	"github.com/batpak/batpak"
)

var batpakSystem = &system{
	name:     "batpak",
	settings: "the defaults",
	durable:  "Durable",
	written:  "Written",
	survives: true,
	verifies: true,
	open:     func(dir string, c config) (store, error) { return openBatpak(dir, c, false) },
}

// pureSystem is P, the pure-segment design: the same log with the whole index in memory.
var pureSystem = &system{
	name:     "P",
	settings: "batpak with Options.MemoryIndex: the whole index in memory, made from the log at each opening",
	durable:  "Durable",
	written:  "Written",
	survives: true,
	verifies: true,
	open:     func(dir string, c config) (store, error) { return openBatpak(dir, c, true) },
}

type batpakStore struct {
	s    *batpak.Store
	pool sync.Pool // of *[]batpak.Proposal
}

func openBatpak(dir string, c config, memory bool) (store, error) {
	o := batpak.Options{Durability: batpak.Durable, MemoryIndex: memory}
	if !c.durable {
		o.Durability = batpak.Written
	}
	s, err := batpak.Open(dir, &o)
	if err != nil {
		return nil, err
	}
	return &batpakStore{s: s, pool: sync.Pool{New: func() any { return new([]batpak.Proposal) }}}, nil
}

func (b *batpakStore) Append(es []event) error {
	proposals := b.pool.Get().(*[]batpak.Proposal)
	defer b.pool.Put(proposals)
	ps := (*proposals)[:0]
	for i := range es {
		e := &es[i]
		ps = append(ps, batpak.Proposal{At: batpak.At(e.Entity, e.Scope), Kind: batpak.Kind(e.Kind), Data: e.Payload})
	}
	*proposals = ps
	receipts, err := b.s.Commit(ps...)
	if err != nil {
		return err
	}
	for i := range receipts {
		es[i].Key = key(receipts[i].ID)
	}
	return nil
}

func (b *batpakStore) Get(k key, e *event) error {
	stored, err := b.s.Get(batpak.ID(k))
	if err == nil {
		fromBatpak(e, &stored)
	}
	return err
}

func (b *batpakStore) Query(q query, visit func(*event) error) error {
	bq := batpak.Query{Entity: q.Entity, Scope: q.Scope, Kind: batpak.Kind(q.Kind), After: batpak.Seq(q.After), Limit: q.Limit}
	if q.Until != 0 {
		bq.Since, bq.Until = time.Unix(0, q.Since), time.Unix(0, q.Until)
	}
	var e event
	for stored, err := range b.s.Query(bq) {
		if err != nil {
			return err
		}
		fromBatpak(&e, &stored)
		if err := visit(&e); err != nil {
			return err
		}
	}
	return nil
}

func fromBatpak(e *event, stored *batpak.Event) {
	e.Entity, e.Scope, e.Kind, e.Payload = stored.Entity, stored.Scope, uint16(stored.Kind), stored.Payload
	e.Key, e.Time = key(stored.ID), int64(stored.Time)*1000
}

func (b *batpakStore) Close() error { return b.s.Close() }
