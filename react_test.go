package batpak

import (
	"context"
	"errors"
	"testing"

	"github.com/batpak/batpak/event"
)

type ordered struct {
	Number int `cbor:"number"`
}

func (ordered) EventType() Type { return Type{Kind: 0x3001, Name: "ordered", Version: 1} }

type shipped struct {
	Number int `cbor:"number"`
	Part   int `cbor:"part"`
}

func (shipped) EventType() Type { return Type{Kind: 0x3002, Name: "shipped", Version: 1} }

// shipping answers each order with two parcels.
func shipping() Reaction {
	return Reaction{Name: "shipping", Handlers: []event.Handler[*Batch]{
		event.On(func(b *Batch, e Event, p ordered) error {
			b.Append(At("parcel:"+e.Entity, "out"), shipped{p.Number, 1})
			b.Propose(Proposal{At: At("parcel:"+e.Entity, "out"), Payload: shipped{p.Number, 2}, Cause: CauseItem(0)})
			return nil
		}),
	}}
}

func TestReact(t *testing.T) {
	s, err := Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 100 {
		if _, err := s.Append(At("order:a", "shop"), ordered{i}); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.React(ctx, shipping()) }()
		if err := s.Wait(t.Context(), WatermarkVisible, 300); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	n := 0
	for p, err := range event.Each[shipped](s.Query(Query{Prefix: "parcel"})) {
		if err != nil {
			t.Fatal(err)
		}
		if p.Value.Number != n/2 || p.Value.Part != n%2+1 || p.Causation.IsZero() {
			t.Errorf("reaction %d is %+v", n, p.Value)
		}
		n++
	}
	if n != 200 {
		t.Errorf("%d reactions", n)
	}
	st, err := s.Stats()
	if err != nil || len(st.Cursors) != 1 || st.Cursors[0].Name != "shipping" {
		t.Errorf("%+v, %v", st.Cursors, err)
	}
}
